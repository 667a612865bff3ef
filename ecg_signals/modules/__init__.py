"""Layers that several models share; what one family alone uses stays in its folder. Nothing here is registered."""
