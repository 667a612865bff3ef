"""JEPA: an encoder sees few patches, a predictor guesses what an average of the encoder makes of the others."""
