"""One thin file per command: arguments in, one call, messages out. What can be called from Python stands elsewhere."""
