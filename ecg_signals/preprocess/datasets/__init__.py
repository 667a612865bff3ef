"""One file per dataset that `ecg-preprocess` knows; the file's name is the dataset's name."""
