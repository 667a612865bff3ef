"""ECG-JEPA: the input of its published weights. Its models do not stand here."""
