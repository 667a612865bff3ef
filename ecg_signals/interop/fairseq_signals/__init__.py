"""fairseq-signals: its layout, the input of its published weights, its names, and its options that do nothing here."""
