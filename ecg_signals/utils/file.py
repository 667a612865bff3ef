"""fairseq-signals' import path of a helper that ECG-FM's saliency notebook reads a manifest with."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def extract_filename(paths: "pd.Series") -> "pd.Series":
    """The file names of a column of paths: what follows the last slash."""
    return paths.str.rpartition("/")[2]
