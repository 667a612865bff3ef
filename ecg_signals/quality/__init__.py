"""Whether a record can be answered at all: flat and noisy leads, exchanged electrodes, mislabelled leads."""
