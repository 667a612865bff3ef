"""A task owns the splits and builds dataset, model and criterion by name. It never runs the backward pass."""
