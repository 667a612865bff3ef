"""wav2vec 2.0's pretraining around the transformer encoder: masking, negatives, quantised targets."""
