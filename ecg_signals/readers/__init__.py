"""Record files of any format -> a Record [leads, samples] in mV, unfiltered, at its own rate; one reader per format."""
