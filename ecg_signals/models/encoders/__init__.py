"""Signal -> features: encoders that any head can stand on. They read no files and know no loss."""
