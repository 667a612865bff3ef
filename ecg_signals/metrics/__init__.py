"""Registered metrics, bootstrap intervals and running sums, from plain arrays. Models and losses are unknown here."""
