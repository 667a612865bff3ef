"""A trained model on single records: windows, probabilities, plots, exported files. Nothing here trains."""
