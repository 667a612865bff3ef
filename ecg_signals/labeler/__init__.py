"""Report texts -> labels with probabilities: free-text patterns and a graph of entities, as ECG-FM does it."""
