"""Manifests and packed files -> items -> batches that resume at any item. Models are unknown here."""
