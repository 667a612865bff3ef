"""fairseq-signals' import paths of classifiers."""
