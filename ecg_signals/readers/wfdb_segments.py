"""WFDB records in several segments, joined on one time axis with NaN where there is nothing."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from ecg_signals.config import ConfigError
from ecg_signals.limits import believable, file_beside
from ecg_signals.readers.wfdb_header import Header, read_header
from ecg_signals.readers.wfdb_part import Notes, Part, find_leads

_GAP = "~"  # the name of a segment without samples


def read_segments(
    header: Header, units: str | None, notes: Notes, dtype: str = "float32"
) -> tuple[np.ndarray, list[str], int]:
    """A record's segments in a row: NaN where one is a gap ("~"), lacks a lead or has no voltage at all.

    A first segment of length 0 is a layout: its names are the record's leads, and the others are matched by
    name; without one all segments have the leads of the first.

    Returns: mV [leads, samples], lead names, samples per frame.
    Raises: ConfigError for segments that do not fit the record or each other, and for more than the files can hold.
    """
    listed = header.segments
    times = Counter(name for name, _ in listed if name != _GAP)
    if times and max(times.values()) > 1:
        name = max(times, key=times.__getitem__)
        raise ConfigError(f"{header.path} lists the segment {name} {times[name]} times; get the file again")
    layout = None
    if listed[0][1] == 0 and listed[0][0] != _GAP:
        layout = [lead.name for lead in find_leads(_segment_header(header, listed[0][0]), units, Notes())]
        listed = listed[1:]
    parts = [_open(header, name, frames, units, notes) for name, frames in listed if frames]
    holding = [part for _, part in parts if part is not None and part.leads]
    if not holding or layout == []:
        raise ConfigError(f"{header.path} lists no segment with voltages; get its files again")
    names = layout or [lead.name for lead in holding[0].leads]
    grid, frames = math.gcd(*(part.grid for part in holding)), sum(frames for frames, _ in parts)
    if header.samples and header.samples != frames:
        notes.texts.append(f"its segments have {frames} samples, but its first line says {header.samples}")
    without = [frames for frames, part in parts if part is not None and not part.leads]
    if without:
        what = f"{len(without)} of {len(parts)} segments ({sum(without)} of {frames} samples)"
        notes.texts.append(f"{what} hold no voltage and are NaN")
    finer = sum(part.grid != grid for part in holding)
    if finer:
        notes.texts.append(f"{finer} of {len(parts)} segments have more samples per frame than others; averaged")
    stored = sum(file.size for part in holding for file in part.files)
    believable(4 * len(names) * frames * grid, stored, f"{header.path}: its {frames} samples, gaps included,")
    signal = np.full((len(names), frames * grid), np.nan, dtype=dtype)
    start = 0
    for frames, part in parts:
        end = start + frames * grid
        if part is not None and part.leads:
            part.grid = grid
            part.write(signal[:, start:end], _rows(part, names, notes, header, layout is not None), notes)
        start = end
    return signal, names, grid


def _segment_header(header: Header, name: str) -> Header:
    path = file_beside(header.path, f"{name}.hea")
    if not path.exists():
        raise ConfigError(f"{path} does not exist, but {header.path} lists it as a segment; put it beside")
    found = read_header(path)
    if found.segments:
        raise ConfigError(f"{path} has segments itself, but {header.path} lists it as one; get the files again")
    return found


def _open(header: Header, name: str, frames: int, units: str | None, notes: Notes) -> tuple[int, Part | None]:
    """A segment and its frames; None for a gap. Raises: ConfigError when it is not as the record says."""
    if name == _GAP:
        return frames, None
    own = _segment_header(header, name)
    if own.rate != header.rate:
        raise ConfigError(
            f"{own.path} has {own.rate:g} Hz, but {header.path} has {header.rate:g} Hz; store both at one rate"
        )
    if not own.signals:
        return frames, None
    part = Part(own, frames, units, notes)
    if part.frames != frames:
        found = f"{len(part.leads)} signals of {part.frames} samples"
        raise ConfigError(f"{own.path} holds {found}; {header.path} expects {len(part.leads)} of {frames}")
    return frames, part


def _rows(part: Part, names: list[str], notes: Notes, header: Header, layout: bool) -> Sequence[int | None]:
    """The row of the record that each lead of a segment belongs to, None for one that has none.

    Without a layout every segment has the record's leads, which may stand in another order.
    """
    have = [lead.name for lead in part.leads]
    if have == names:
        return range(len(names))
    if not layout and (sorted(have) != sorted(names) or len(set(names)) < len(names)):
        found = f"{part.header.path} holds {len(have)} signals ({', '.join(have[:12])})"
        raise ConfigError(f"{found}; {header.path} expects {len(names)} ({', '.join(names[:12])})")
    if not layout:
        notes.texts.append(f"{part.header.path.name} has the leads in another order; they were put in the record's")
    free = dict(zip(reversed(names), reversed(range(len(names)))))  # the first of two equal names counts
    for name in have:
        if name not in free:
            notes.add("unlisted", name)
    return [free.pop(name, None) for name in have]
