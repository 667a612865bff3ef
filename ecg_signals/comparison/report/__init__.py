"""What ecg-eval found, as one HTML page."""
