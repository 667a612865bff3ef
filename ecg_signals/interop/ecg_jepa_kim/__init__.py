"""ECG-JEPA of Kim 2024, not that of Weimann and Conrad: the files of its project and the input of its weights."""
