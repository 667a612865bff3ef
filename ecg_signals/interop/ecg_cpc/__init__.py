"""ECG-CPC: the files of its project and the input of its weights."""
