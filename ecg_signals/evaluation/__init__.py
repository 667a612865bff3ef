"""A model over a split: one pass, its logs and scores; used by training, validation and inference alike."""
