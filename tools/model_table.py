"""Write the tables of docs/models.md from `ecg_signals.list_models()`.

usage: python tools/model_table.py [--check]
"""

import sys
from pathlib import Path

from ecg_signals.models.catalogue import PUBLISHED, ListedModel, list_models

FILE = Path(__file__).parents[1] / "docs" / "models.md"
HEAD = """# Models

Made by `python tools/model_table.py` from `ecg_signals.list_models()`; a test keeps it up to date.

```python
import ecg_signals

for model in ecg_signals.list_models():
    print(model.name, f"{model.parameters:,}", model.input, model.licence, model.load, sep=" | ")
```

## Published weights

`load_model` takes the name (downloaded once, `pip install "ecg-signals[hf]"`), or the path of a file or folder that you
downloaded. What a file's terms allow is for you to check: CC BY-NC means no commercial use, also of what you fine-tune
from it. `ecg-predict` says so beside its answers. HuBERT-ECG's counts are without cluster heads.
"""
REGISTERED = """## Architectures

What a recipe trains, or what a file is built as. Parameters with default options and one label, of `classifier` on
`ecg_transformer`; the recipes' sizes are in [the README](../README.md#recipes). The input is what `ecg-preprocess`
writes unless the recipe says otherwise; the model you trained carries its own in `model.signal`. `ecg-list model NAME`
explains the options.
"""
ANOTHER_HEAD = """## Another number of labels

`load_model(FILE, num_labels=5)` keeps a classifier's encoder and starts a fresh head for 5 labels, with a warning;
other options of the model are replaced the same way (`saliency=True`, `dropout=0.1`). A pretrained file has no head;
put one on:

```python
from ecg_signals.registry import build

model = build("model", "se_wrn_classifier", num_labels=5, no_pretrained_weights=True)  # or model_path=FILE
```

Training it is shown in [python.md](python.md).

## A head on any encoder

`classifier` stands on any model whose output has `features` and that says their width, yours too.
`model.model_path=FILE` brings the encoder of that file with its options; without a file, name it and its options:

```python
from ecg_signals.registry import build

encoder = {"_name": "se_wrn", "num_filters": "[16, 32, 64]"}
model = build("model", "classifier", encoder=encoder, num_labels=5, no_pretrained_weights=True)  # or model_path=FILE
```

On a command line that is `model=classifier model.encoder._name=se_wrn model.encoder.num_filters='[16, 32, 64]'`; recipe
`linear/diagnosis` is a linear probe.

`load_model(FILE, encoder={"saliency": True})` replaces an option of the encoder within.

| option | |
|---|---|
| `pool` | `mean`, `nonzero` (each channel's non-zero values, as ECG-FM's), `max`, `max_mean`, `attentive` (a query) |
| | `cls`, `register`: tokens of encoders that have them. Padded frames never count |
| `head` | `linear`, `mlp` (`hidden_size`, `activation`), `cosine` (for criterion `arcface`), `label_embedding` |
| `freeze_encoder` | a linear probe: the encoder never trains and runs as in inference |
| `freeze_blocks` | the first parts of the encoder never train: 1 its embeddings, 2 one block more |
| `freeze_finetune_updates` | only the head trains for so many updates |
| `layer_decay` | 0.75: the last block learns at 0.75 of the rate, the one before at 0.75 of that, and so on |

`ecg_transformer_classifier`, `arcface`, `nejedly2021resnet_classifier`, `se_wrn_classifier` and `hubert_ecg_classifier`
remain what published files and recipes name: their own options, names of weights and numbers.
"""


def page() -> str:
    registered = [model for model in list_models() if model not in PUBLISHED]
    return "\n".join([HEAD, table(list(PUBLISHED)), "", REGISTERED, table(registered), "", ANOTHER_HEAD])


def table(models: list[ListedModel]) -> str:
    lines = ["| name | model | parameters | input | licence of the weights | load with |", "|---|---|---|---|---|---|"]
    for model in models:
        cells = (f"`{model.name}`", f"`{model.model}`", f"{model.parameters:,}", model.input, model.licence)
        lines.append(f"| {' | '.join(cells)} | `{model.load}` |")
    return "\n".join(lines)


def main() -> int:
    if "--check" in sys.argv[1:]:
        return int(not FILE.is_file() or FILE.read_text(encoding="utf-8") != page())
    FILE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
