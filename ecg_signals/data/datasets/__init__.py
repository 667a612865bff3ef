"""Registered datasets, one per file: what an item is, how items make a batch, and how they are drawn."""
