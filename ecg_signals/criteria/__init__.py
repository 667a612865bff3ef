"""One loss per file: (model, batch) -> a sum and its divisor. Scores of whole subsets are metrics, not losses."""
