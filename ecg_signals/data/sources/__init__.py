"""Where segments come from: one file per manifest row, a packed store, rows that point to records, a folder of .npy."""
