"""Models against benchmarks: what is to be run, running it, and one table of what came of it."""
