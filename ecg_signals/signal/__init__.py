"""NumPy functions on one record: leads, rates, filters, windows, and the contract that says which make a model's input.

Files and models are unknown here.
"""
