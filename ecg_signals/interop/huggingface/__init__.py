"""Hugging Face folders: config, weights, model card, and the classes that transformers loads them by."""
