"""ST-MEM, MTAE and MLAE: the files of their project, what it calls weights and options, the input it trains on."""
