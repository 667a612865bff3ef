"""The commands by name, each with what it does."""

COMMANDS = {
    "preprocess": "a dataset or your own files -> segments, labels, splits, manifests, pairs; each step alone",
    "train": "pretrains or fine-tunes what a recipe names",
    "validate": "statistics of a checkpoint on labelled data",
    "inference": "outputs, embeddings and attention of a checkpoint as .npy files",
    "view": "a record as a sheet of ECG paper: SVG, PDF, PNG",
    "predict": "answers for record files: probabilities, decisions, reasons, pictures",
    "calibrate": "validation records -> probabilities and thresholds, stored in the checkpoint",
    "label": "report texts -> labels with probabilities",
    "convert": "a checkpoint into another layout",
    "pack": "the files of a manifest into few large shards, for faster loading",
    "cluster": "HuBERT-ECG's cluster targets",
    "eval": "models against benchmarks: protocols x models x seeds, one table, one report",
    "test": "HuBERT-ECG's evaluation of a fine-tuned model",
    "list": "what is registered, one thing's options, recipes, and tab completion",
}


def overview() -> str:
    """What `python -m ecg_signals` prints."""
    usage = "usage: python -m ecg_signals COMMAND ...   (or ecg-COMMAND ...)"
    lines = [f"  {name:<12}{purpose}" for name, purpose in COMMANDS.items()]
    return "\n".join([usage, "", *lines, "", "Each explains itself with --help."])
