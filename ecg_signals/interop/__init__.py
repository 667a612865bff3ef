"""One wing per published project: how its checkpoints are recognised, read and written.

Nothing outside a wing names its project, but its models, criteria and recipes.
"""
