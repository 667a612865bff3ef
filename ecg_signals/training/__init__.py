"""The training loop, what it stores and restores, when it validates, and what ends it."""
