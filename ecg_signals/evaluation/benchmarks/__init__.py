"""What models are compared on: labels or values of a public data set's records, and which of them train and test."""
