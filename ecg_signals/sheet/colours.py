"""Colours and pens of a sheet, for all writers. None is the only carrier of what it says."""

INK = "#1a1a1a"
GRIDS = {"pink": ("#fffafa", "#f8dcd9", "#eeb2ac"), "grey": ("#fdfdfd", "#e6e6e6", "#bfbfbf")}  # paper, 1 mm, 5 mm
FILLS = {
    "for": "#f4b65a", "against": "#93aee0", "value-bar": "#2b6cb0", "wave-p": "#bcd7f2", "wave-qrs": "#f6bdb2",
    "wave-t": "#c6e3b4",
}  # what a box is -> its colour  # fmt: skip
PENS = {
    "fine": 0.1,
    "coarse": 0.2,
    "trace": 0.25,
    "pulse": 0.2,
    "separator": 0.3,
    "value-span": 0.3,
    "value-zero": 0.2,
}  # mm
