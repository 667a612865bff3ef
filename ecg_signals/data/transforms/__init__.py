"""Registered augmentations of training items, one per file; each draws from the generator it is given alone."""
