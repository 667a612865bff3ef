"""A model over data: one loop, what is kept of its answers, how they are scored, and what is written about them."""
