"""Import paths that scripts written for fairseq-signals use."""
