"""One public dataset, or one's own files -> records, segments, labels, splits and manifests."""
