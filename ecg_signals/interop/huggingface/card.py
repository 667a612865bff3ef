"""README.md of a folder: the model card."""

from collections.abc import Mapping
from typing import Any

from ecg_signals import __version__
from ecg_signals.checkpoint.origin import notes
from ecg_signals.interop.layout import ModelSource
from ecg_signals.signal.contract import SignalContract


def model_card(source: ModelSource, title: str) -> str:
    """README.md of a folder: what it is, what it wants as input, what it answers, how it is used."""
    count = sum(value.numel() for value in source.state.values())
    tags = ["ecg", "electrocardiogram", source.name]
    licence = source.origin.get("licence")
    head = f"---\nlicense: {licence.lower().replace(' ', '-')}\n" if licence else "---\n"
    head += "library_name: ecg-signals\ntags:\n" + "".join(f"- {tag}\n" for tag in tags) + "---\n"
    labels = ", ".join(source.labels) if source.labels else "not named in the checkpoint"
    origin = f"Converted from a checkpoint of {source.layout or 'ecg-signals'} by ecg-signals {__version__}."
    parts = [
        f"{head}\n# {title}\n",
        f"`{source.name}`, {count:,} weights. {origin}\n",
        *(f"**{note[0].upper()}{note[1:]}.**\n" for note in notes(source.origin)),
        f"## Input\n\n{_input_text(source.signal)}\n",
        "## Output\n\n`features` [batch, frames, dim] and `pooled` [batch, dim]"
        + (f"; `logits` [batch, {source.logits}], labels: {labels}.\n" if source.logits is not None else ".\n"),
        f"## Use\n\n```python\n{_USE.strip()}\n```\n",
        "The same folder works with transformers, after `import ecg_signals.hf` or with `trust_remote_code=True`:\n\n"
        '```python\nfrom transformers import AutoModel\n\nmodel = AutoModel.from_pretrained("FOLDER", '
        "trust_remote_code=True)\n```\n",
        "Not a medical device. Check the terms of the data and weights this model was trained from before use.\n",
    ]
    return "\n".join(parts)


_USE = """
import ecg_signals
import torch

model = ecg_signals.load_model("FOLDER")
record = ecg_signals.read_record("RECORD")
source = model.signal.prepare(record)  # [windows, leads, samples]
with torch.no_grad():
    output = model(source)
"""


def _step_text(step: Mapping[str, Any]) -> str:
    options = ", ".join(f"{key} {value}" for key, value in step.items() if key != "name")
    return f"{step['name']} ({options})" if options else str(step["name"])


def _input_text(signal: SignalContract | None) -> str:
    if signal is None:
        return "The checkpoint does not say how its input was prepared."
    steps = "; ".join(_step_text(step) for step in signal.steps) or "none"
    seconds = signal.window_samples / signal.sample_rate
    return (
        f"Windows of {signal.window_samples} samples ({seconds:g} s) at {signal.sample_rate:g} Hz, leads "
        f"{', '.join(signal.leads)}. Steps from a record in mV: {steps}. `model.signal.prepare(record)` does all of it."
    )
