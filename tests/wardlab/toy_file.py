"""The made-up format .toy: TOY1, rate and leads as 32-bit numbers, then the samples, lead by lead."""
import numpy as np

from ecg_signals.config import ConfigError
from ecg_signals.readers.base import Reader
from ecg_signals.readers.stated import Stated, array_record
from ecg_signals.registry import register_reader


@register_reader("toy")
class ToyReader(Reader):
    suffixes = (".toy",)
    starts = (b"TOY1",)
    stated_by = "its first bytes"

    def read(self, found, id, stated):
        content = found.read_bytes()
        rate, leads = np.frombuffer(content[4:12], "<i4")
        if len(content) <= 12 or (len(content) - 12) % (4 * leads):
            raise ConfigError(f"{found} is truncated; get the file again")
        signal = np.frombuffer(content[12:], "<f4").reshape(leads, -1)
        own = Stated(float(rate), None, stated.units, stated.dtype)
        return array_record(found, signal, own, {}, comments=[])
