"""Records on ECG paper: what lies where in millimetres, and what writes it as SVG, PDF and PNG."""
