"""The registered steps of input contracts. What a name computes never changes: stored models go by it."""
