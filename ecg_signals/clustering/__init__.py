"""HuBERT's targets: features of frames, k-means, and the clusters of every frame."""
