"""Reading (without executing anything), writing, resuming and converting checkpoints; how a model starts from one."""
