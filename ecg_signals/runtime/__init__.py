"""The machine a run has: which process this is among all, devices, number formats, and what ranks do together."""
