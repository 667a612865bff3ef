"""Text beside the signal: tokens, masks of words, questions and answers."""
