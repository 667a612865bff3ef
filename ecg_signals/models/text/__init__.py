"""Models of an ECG and a text: pretraining on reports, and questions about one ECG or two."""
