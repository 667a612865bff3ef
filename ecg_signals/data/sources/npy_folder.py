"""A folder of .npy files, or a store of them, as HuBERT-ECG's tables name them: 12 leads, preprocessed at 500 Hz."""

import os
from pathlib import Path

from ecg_signals.config import ConfigError
from ecg_signals.data.segment import Segment, SegmentSource
from ecg_signals.data.sources.stores import Stores
from ecg_signals.readers.npy_file import load_npy
from ecg_signals.signal.leads import LEADS

RATE = 500  # Hz


class NpyFolder(SegmentSource):
    """Reads files by name, memory-mapped: [12, samples] in the standard order."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.stores = folder, Stores(folder)

    def read(self, address: str) -> Segment:
        found = self.stores.read(address) or _mapped(self._find(address))
        signal, path = found.signal, found.path
        if signal.ndim != 2 or signal.shape[0] != len(LEADS) or signal.dtype.kind not in "fiu":
            raise ConfigError(
                f"{path} holds {signal.dtype} {list(signal.shape)}; expected numbers [12, samples] at {RATE} Hz, "
                f"leads I II III aVR aVL aVF V1-V6"
            )
        if found.rate is not None and found.rate != RATE:
            raise ConfigError(f"{path} has {found.rate:g} Hz; expected {RATE} Hz, see `ecg-preprocess hubert`")
        return Segment(path, signal, RATE)

    def _find(self, name: str) -> Path:
        """`name` as it stands when it exists, else inside the folder."""
        for path in (Path(name), self.folder / name):
            if os.path.isfile(path):  # unlike Path.is_file, False for a name that no file system takes
                return path
        raise ConfigError(
            f"{name[:200]} exists neither as it stands nor in {self.folder}; set dataset.ecg_dir to the folder of the "
            f".npy files"
        )


def _mapped(path: Path) -> Segment:
    try:
        return Segment(str(path), load_npy(path, mapped=True))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}; check the path") from None
