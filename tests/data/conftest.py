"""The fixture of small stored segments."""

from data_helpers import segments

__all__ = ["segments"]
