"""Small .mat files that point to the record to load, and say which leads of it and which labels."""

import os
from collections.abc import Mapping

import numpy as np

from ecg_signals.config import ConfigError, resolve_input
from ecg_signals.data.segment import Segment, SegmentSource
from ecg_signals.data.sources.stores import Stores
from ecg_signals.readers.mat_file import read_mat_arrays
from ecg_signals.signal.leads import LEADS, lead_index, order_leads

_NAMES = ("ecg_path", "lead", "target_idx", "label", "attribute_id", "idx")


class PointerSource(SegmentSource):
    """Records in mV, leads in the standard order, by files below the manifest's root that point to them.

    Facts of a segment, where its file holds them: `lead`, standard numbers of the leads it asks for; `target_idx` and
    `attribute_id`, the labels it asks about and the kind of question.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root, self.stores = os.fspath(root), Stores()

    def read(self, address: str) -> Segment:
        path = os.path.join(self.root, address)
        found = read_mat_arrays(path, _NAMES)
        if "ecg_path" not in found:
            raise ConfigError(
                f"{path} holds no ecg_path; expected a file that points to a record. For files that hold the signal "
                f"itself set task.path_dataset=false"
            )
        record = self._record(os.fspath(resolve_input(str(found["ecg_path"].reshape(-1)[0]).strip())))
        idx = int(found["idx"].reshape(-1)[0]) if "idx" in found else None
        label = found["label"].reshape(-1) if "label" in found else None
        return Segment(path, record.signal, record.rate, idx, label=label, facts=_facts(found))

    def _record(self, path: str) -> Segment:
        """Leads in the standard order."""
        from ecg_signals.readers.read import read_record

        packed = self.stores.read(path)
        if packed is not None:
            return packed
        record = read_record(path)
        return Segment(path, order_leads(record.signal, record.leads), record.sample_rate)


def _facts(found: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    facts = {name: found[name].reshape(-1).astype(np.int64) for name in ("target_idx", "attribute_id") if name in found}
    return facts | ({"lead": _lead_numbers(found["lead"])} if "lead" in found else {})


def _lead_numbers(lead: np.ndarray) -> np.ndarray:
    """Leads by number or name, as one text or an array, -> standard numbers; none means all."""
    values = [
        value.item() if isinstance(value, np.ndarray) and value.size == 1 else value
        for value in lead.reshape(-1).tolist()
    ]
    if len(values) == 1 and isinstance(values[0], str):
        values = values[0].replace(",", " ").split()
    named = [lead_index(value if isinstance(value, str) else int(value)) for value in values]
    return np.array(named or range(len(LEADS)))
