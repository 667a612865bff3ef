"""Questions in ECG-QA's layout about the repository's sample, and a small vocabulary for them and its reports."""

import json
from pathlib import Path

import torch

from ecg_signals.cli import preprocess

SAMPLE = Path(__file__).parents[1] / "examples" / "sample"
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [
    "does",
    "this",
    "ecg",
    "show",
    "noise",
    "?",
    "what",
    "lead",
    "in",
    "sinus",
    "##rhythm",
    "normal",
    ".",
    "st",
    "-",
]
TOKENS = ["+task.sep_token=3", "+model.vocab_size=20"]


def write_vocabulary(folder: Path) -> Path:
    path = folder / "vocab.txt"
    path.write_text("\n".join([*SPECIAL, *WORDS]) + "\n")
    return path


def write_bert(folder: Path) -> Path:
    """A folder of a small BERT's weights, 16 wide, as transformers writes it, for that vocabulary."""
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(vocab_size=20, max_position_embeddings=64, **sizes)).eval().save_pretrained(folder)
    write_vocabulary(folder)
    return folder


def write_questions_of_ecgqa(folder: Path) -> Path:
    """Manifests of six questions per split, two of them about two ECGs, with their vocabulary beside them."""
    records = sorted(path.relative_to(SAMPLE).with_suffix("") for path in (SAMPLE / "records500").rglob("*.hea"))[:6]
    root = folder / "ecgqa"
    for split in ("train", "valid", "test"):
        (root / "template" / split).mkdir(parents=True)
        questions = [asked(number, [str(path) for path in records]) for number in range(6)]
        (root / "template" / split / "00000.json").write_text(json.dumps(questions))
    (root / "answers.csv").write_text("index,class\n0,no\n1,yes\n2,none\n3,static noise\n")
    templates = ["1,\"['no', 'yes']\"", "2,\"['static noise', 'none']\""]
    (root / "answers_for_each_template.csv").write_text("\n".join(["template_id,classes", *templates]) + "\n")
    words = ["--dest", str(folder / "made"), "--tokenizer", str(write_vocabulary(folder)), "--records", str(SAMPLE)]
    preprocess.run(["ecgqa", str(root), *words])
    return folder / "made"


def asked(number: int, records: list[str]) -> dict:
    two = number % 3 == 2
    return {
        "template_id": 1 + number % 2,
        "question_type": "comparison_irrelevant-verify" if two else ("single-verify", "single-query")[number % 2],
        "attribute_type": "noise",
        "question": ["Does this ECG show noise?", "What noise does this ECG show?"][number % 2],
        "answer": [["no"], ["none"], ["yes"], ["static noise"]][number % 4] if not two else ["no"],
        "ecg_id": [number] * (1 + two),
        "attribute": None if two else ["static noise"],
        "ecg_path": records[number : number + 1 + two] if number < 5 else records[-1 - two :],
    }
