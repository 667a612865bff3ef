"""Masked autoencoders of ECG tokens: ST-MEM, MTAE, MLAE. Files of their project are read in interop/st_mem."""
