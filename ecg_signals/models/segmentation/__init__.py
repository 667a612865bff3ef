"""Models that say of every sample which wave it belongs to."""
