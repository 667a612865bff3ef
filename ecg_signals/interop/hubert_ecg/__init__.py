"""HuBERT-ECG: its layouts, the input of its published weights, and what it calls options and weights."""
