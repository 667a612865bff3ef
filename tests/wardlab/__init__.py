"""A plugin with one of every kind: a made-up ward, its recorder's files, and a family of models trained on them."""
