"""ECG-QA's questions become files, manifests, batches and facts as published, and are answered."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import loadmat

from ecg_signals import load_model, read_record
from ecg_signals.cli import preprocess, train
from ecg_signals.config import ConfigError
from ecg_signals.data.batching import BatchIterator
from ecg_signals.data.text.question_manifest import read_question_manifest
from ecg_signals.preprocess.ecgqa import Answers, Question, read_questions
from ecg_signals.preprocess.ecgqa_grounding import ALL, GROUPS, Fact, facts_of, settled
from ecg_signals.registry import build, get_entry

SPLITS = ("train", "valid", "test")


@pytest.fixture(scope="module")
def folder(golden) -> Path:
    return golden / "ecg_qa"


@pytest.fixture(scope="module")
def records(data) -> Path:
    return data / "ptbxl_500"


@pytest.fixture(scope="module")
def made(folder, records, tmp_path_factory) -> Path:
    """Both forms of the questions, numbered as published."""
    place = tmp_path_factory.mktemp("qa")
    for form, more in (("template", []), ("paraphrased", ["--apply_paraphrase"])):
        argv = [
            "--dest",
            str(place / form),
            "--tokenizer",
            str(folder / "bert_tiny_uncased"),
            "--records",
            str(records),
        ]
        preprocess.run(["ecgqa", str(folder / "ecgqa"), *argv, "--attribute_ids", "split", *more])
    return place


def listed(manifest: Path) -> list[list[str]]:
    return [line.split("\t") for line in manifest.read_text().splitlines()[1:]]


def content(path: Path, records: Path) -> dict:
    found = {key: value.reshape(-1) for key, value in loadmat(path).items() if not key.startswith("__")}
    return {
        "ecg_path": [str(Path(one.strip()).relative_to(records)) for one in found["ecg_path"]],
        "question": str(found["question"][0]),
        "answer": np.flatnonzero(found["answer"]).tolist(),
        "n_answers": len(found["answer"]),
        "valid_classes": found["valid_classes"].tolist(),
        "question_type": [int(found[f"question_type{number}"][0]) for number in (1, 2, 3)],
        "attribute_id": int(found["attribute_id"][0]),
    }


@pytest.mark.parametrize("form", ["template", "paraphrased"])
def test_questions_become_the_published_files_and_rows(form, made, folder, records):
    expected = json.loads((folder / "expected_qa.json").read_text())[form]
    for split in SPLITS:
        rows = listed(made / form / f"{split}.tsv")
        assert rows == [one["row"] for one in expected[split]]
        found = [content(made / form / split / row[0], records) for row in rows]
        assert found == [{key: value for key, value in one.items() if key != "row"} for one in expected[split]]


def test_an_attribute_has_one_number_in_all_splits_unless_asked_for(folder, records, tmp_path):
    argv = ["--dest", str(tmp_path), "--tokenizer", str(folder / "bert_tiny_uncased"), "--records", str(records)]
    preprocess.run(["ecgqa", str(folder / "ecgqa"), *argv])
    numbers = {}
    for split in SPLITS:
        for name, *_ in listed(tmp_path / f"{split}.tsv"):
            one = content(tmp_path / split / name, records)
            if one["question"].startswith("Does this ECG show static noise"):
                numbers.setdefault(one["attribute_id"], set()).add(split)
    assert list(numbers.values()) == [set(SPLITS)]


def test_facts_about_leads_are_the_published_ones(folder, records, tmp_path):
    argv = ["--dest", str(tmp_path), "--records", str(records), "--posterior", "v4_v6"]
    preprocess.run(["ecgqa_grounding", str(folder / "ecgqa"), *argv])
    expected = json.loads((folder / "expected_grounding.json").read_text())
    assert (tmp_path / "grounding_class.csv").read_text().split()[1:] != []
    for split in SPLITS:
        found = {}
        for name, size in listed(tmp_path / f"{split}.tsv"):
            one = {key: value.reshape(-1) for key, value in loadmat(tmp_path / split / name).items() if key[0] != "_"}
            found[name] = {
                "size": int(size),
                "ecg_path": str(Path(one["ecg_path"][0]).relative_to(records)),
                "lead": one["lead"].tolist(),
                "targets": np.stack([one["target_idx"], one["label"], one["attribute_id"]], axis=1).tolist(),
            }
        assert found == expected[split]


def asked(asked, text, answer, attribute):
    question = Question(1, f"single-{asked}", "scp_code", text, answer, [1], ["r"], tuple(attribute))
    groups = {**GROUPS, "posterior": (9, 10, 11)}
    return {(fact.leads, fact.attribute): fact.true for fact in facts_of(question, groups)}


def test_numeric_features_are_true_where_they_are_answered():
    attribute = ["below the normal range of rr interval", "below the normal range of qt interval"]
    found = asked("query", "What numeric features of this ECG fall below the normal range?", ["rr interval"], attribute)
    assert found == {(ALL, attribute[0]): True, (ALL, attribute[1]): False}
    found = asked("query", "What range does the rr interval of this ECG fall in?", ["below the normal range"],
                  [attribute[0], "within the normal range of rr interval"])  # fmt: skip
    assert list(found.values()) == [True, False]


def test_leads_of_voltage_criteria_are_told_by_limb_and_chest_and_those_of_other_findings_one_by_one():
    text, limb = "What leads are showing symptoms of high qrs voltage in this ECG?", ALL[:6]
    six = [f"lead {name}" for name in ("I", "II", "III", "aVR", "aVL", "aVF")]
    assert asked("query", text, [*six, "lead V1"], ["high qrs voltage"]) == {
        (limb, "high qrs voltage"): True, (ALL[6:], "high qrs voltage"): False}  # fmt: skip
    assert not any(asked("query", text, six[:5], ["high qrs voltage"]).values())
    found = asked("query", "What leads are showing symptoms of low voltage in this ECG?", ["lead aVR"], ["low voltage"])
    assert len(found) == 12 and [leads for (leads, _), true in found.items() if true] == [(3,)]


def test_a_stage_of_infarction_that_is_not_known_tells_nothing_of_the_others():
    stages = ["old stage of myocardial infarction", "unknown stage of myocardial infarction"]
    text = "What stage of infarction does this ECG show?"
    assert asked("query", text, [stages[1]], stages) == {}
    assert asked("query", text, [stages[0]], stages) == {(ALL, stages[0]): True}


def test_a_finding_is_named_without_its_leads():
    names = {
        "Myocardial infarction in anterior leads": "myocardial infarction",
        "ischemic in lateral leads": "ischemic",
        "ischemic ST-T changes in septal leads": "ischemic ST-T changes",
    }
    places = {"anterior": (8, 9), "lateral": (0, 4, 10, 11), "septal": (6, 7)}
    for attribute, name in names.items():
        (place,) = (leads for group, leads in places.items() if group in attribute)
        assert asked("verify", f"Does this ECG show symptoms of {attribute}?", ["yes"], [attribute]) == {
            (place, name): True}  # fmt: skip


def test_records_that_are_not_there_at_all_end_with_what_to_type(folder, tmp_path):
    argv = ["--dest", str(tmp_path), "--records", str(tmp_path), "--tokenizer", str(folder / "bert_tiny_uncased")]
    with pytest.raises(ConfigError, match=r"52 questions left out.*--records FOLDER"):
        preprocess.run(["ecgqa", str(folder / "ecgqa"), *argv])


def test_a_question_that_names_nothing_to_choose_among_is_an_error(folder):
    question = Question(3, "single-choose", "scp_code", "Which one?", ["none"], [1], ["r"])
    with pytest.raises(ConfigError, match=r"'Which one.' names no attributes"):
        Answers(folder / "ecgqa").valid(question)


def test_what_is_confirmed_and_denied_is_denied():
    fact = Fact("1", "r", (0,), "myocardial infarction", True)
    found, both = settled([fact, fact, fact._replace(true=False), fact._replace(ecg="2")])
    assert found == {fact._replace(true=False), fact._replace(ecg="2")} and both == 1


@pytest.mark.parametrize("change", [{"question_type": "single-guess"}, {"answer": "yes"}, {"ecg_path": []}])
def test_a_question_of_another_form_is_named(change, tmp_path):
    one = {"template_id": 1, "question_type": "single-verify", "attribute_type": "noise", "question": "?",
           "answer": ["yes"], "ecg_id": [1], "attribute": None, "ecg_path": ["r"]}  # fmt: skip
    (tmp_path / "template" / "train").mkdir(parents=True)
    (tmp_path / "template" / "train" / "00000.json").write_text(json.dumps([one, {**one, **change}]))
    with pytest.raises(ConfigError, match=r"00000\.json, question 1"):
        list(read_questions(tmp_path, "train", "template"))


def test_batches_are_the_published_ones(made, folder):
    entry = get_entry("dataset", "ecg_qa")
    given = {"tokenizer": str(folder / "bert_tiny_uncased"), "standardise": False}
    dataset = entry.cls(entry.dataclass.from_mapping({"_name": "ecg_qa", **given}), made / "template" / "train.tsv")
    stored = dict(np.load(folder / "collated.npz"))
    batch = dataset.collate([dataset[int(index)] for index in stored["index"]])
    net_input = batch["net_input"]
    for key in ("text", "text_padding_mask"):
        assert net_input[key].tolist() == stored[key].tolist()
    for key in ("question_type1", "question_type2", "question_type3", "attribute_id"):
        assert batch[key].tolist() == stored[key].tolist()
    assert batch["label"].tolist() == stored["answer"].tolist()
    assert batch["valid_classes"].sum(dim=1).tolist() == stored["valid_classes_len"].tolist()
    assert batch["valid_classes"].nonzero()[:, 1].tolist() == stored["valid_classes_flat"].tolist()
    for key, name in (("source", "ecg"), ("ecg_2", "ecg_2")):
        assert list(net_input[key].shape) == stored[f"{name}_shape"].tolist()
        np.testing.assert_allclose(net_input[key][..., :8], stored[f"{name}_first"], atol=1e-6)
    assert net_input["ecg_2_padding_mask"].all(dim=(1, 2)).tolist() == stored["ecg_2_all_padded"].tolist()
    assert dataset.sizes[stored["index"]].tolist() == stored["sizes"].tolist()
    assert dataset.num_labels == 19 and dataset.labels[3] == "conduction disturbance"


def test_a_model_learns_to_answer_the_questions(made, folder, tmp_path, monkeypatch):
    sizes = [
        "encoder_layers=1", "encoder_embed_dim=32", "encoder_ffn_embed_dim=32", "encoder_attention_heads=2",
        "conv_feature_layers='[(16, 16, 16)] * 2'", "conv_pos=8", "conv_pos_groups=2", "vocab_size=272",
    ]  # fmt: skip
    argv = ["ecg-train", "--config-name", "qa/transformer", f"task.data={made / 'template'}", "dataset.batch_size=26",
            f"task.tokenizer={folder / 'bert_tiny_uncased'}", "dataset.num_workers=0", "dataset.valid_subset=train",
            "optimization.max_update=25", "optimization.update_freq=[1]", "optimization.lr=[0.005]",
            "dataset.validate_interval=25", "checkpoint.save_interval=25", "model.num_labels=19",
            "criterion.report_auc=false", "hydra/job_logging=none", f"hydra.run.dir={tmp_path}",
            *(f"+model.{size}" for size in sizes)]  # fmt: skip
    monkeypatch.setattr("sys.argv", argv)
    train.main()
    rows = [json.loads(line) for line in (tmp_path / "checkpoints/metrics.jsonl").read_text().splitlines()]
    validated = next(row for row in rows if "question_type1_0_em_accuracy" in row)
    assert validated["em_accuracy"] > 0.8 and validated["question_type1_2_em_accuracy"] > 0.5
    model = load_model(tmp_path / "checkpoints/checkpoint_last.pt")
    assert model.labels[0] == "no" and model.signal.sample_rate == 500
    stored = torch.load(tmp_path / "checkpoints/checkpoint_last.pt", weights_only=True)["cfg"]["task"]
    assert stored["enable_padding"] is True  # without which fairseq-signals refuses questions
    answered = model(torch.zeros(1, 12, 1000), text=torch.tensor([[101, 174, 226, 102]]))["logits"]
    assert answered.shape == (1, 19)


def test_signals_are_filtered_and_normalised_as_the_input_contract_says(made, folder, tmp_path):
    for name, values in (("mean", np.linspace(-1, 1, 12)), ("std", np.linspace(1, 2, 12))):
        np.savetxt(tmp_path / name, values)
    entry = get_entry("dataset", "ecg_qa")
    given = {"tokenizer": str(folder / "bert_tiny_uncased"), "leads_to_load": ["II", "V5"],
             "filter": True, "normalize": True, "sample_rate": 250,
             "mean_path": str(tmp_path / "mean"), "std_path": str(tmp_path / "std")}  # fmt: skip
    dataset = entry.cls(entry.dataclass.from_mapping({"_name": "ecg_qa", **given}), made / "template" / "train.tsv")
    item, contract = dataset[0], dataset.input_contract()
    path = loadmat(made / "template" / "train" / dataset.name_of(0))["ecg_path"].reshape(-1)[0].strip()
    contract.window_samples = item["source"].shape[-1]
    torch.testing.assert_close(item["source"], contract.prepare(read_record(path))[0], atol=1e-5, rtol=1e-5)
    plain = entry.cls(entry.dataclass.from_mapping({"_name": "ecg_qa", **given, "filter": False, "normalize": False}),
                      made / "template" / "train.tsv")  # fmt: skip
    assert not torch.allclose(plain[0]["source"], item["source"], atol=0.1)


def test_questions_about_short_ecgs_are_left_out_where_asked(made, folder):
    entry = get_entry("dataset", "ecg_qa")
    given = {"_name": "ecg_qa", "tokenizer": str(folder / "bert_tiny_uncased"), "min_sample_size": 5001}
    with pytest.raises(ConfigError, match=r"shorter than task\.min_sample_size=5001"):
        entry.cls(entry.dataclass.from_mapping(given), made / "template" / "train.tsv")
    assert len(read_question_manifest(made / "template" / "train.tsv", 5000).files) == 26


@pytest.mark.parametrize(("padding", "samples"), [(True, 5000), (False, 3000)])
def test_ecgs_of_a_batch_are_padded_or_cut_to_one_length(made, folder, padding, samples):
    entry = get_entry("dataset", "ecg_qa")
    given = {"_name": "ecg_qa", "tokenizer": str(folder / "bert_tiny_uncased"), "enable_padding": padding}
    dataset = entry.cls(entry.dataclass.from_mapping(given), made / "template" / "train.tsv")
    items = [dataset[index] for index in range(26)]
    two = next(item for item in items if item["ecg_2"] is not None)
    short = {**items[0], "source": items[0]["source"][:, :3000]}
    net_input = dataset.collate([short, two])["net_input"]
    assert net_input["source"].shape[-1] == samples and net_input["ecg_2"].shape[-1] == 5000
    assert net_input["padding_mask"].any() == padding and net_input["ecg_2_padding_mask"][0].all()


def test_questions_come_at_random_whatever_their_lengths(made, folder):
    """Sorted by length, a batch would hold questions of one template."""
    entry = get_entry("dataset", "ecg_qa")
    given = {"_name": "ecg_qa", "tokenizer": str(folder / "bert_tiny_uncased")}
    dataset = entry.cls(entry.dataclass.from_mapping(given), made / "template" / "train.tsv")
    plan = BatchIterator(dataset, batch_size=26, num_workers=0, seed=3).plan(1)
    assert plan[0].tolist() == np.random.RandomState(3).permutation(26).tolist()


def test_a_model_that_takes_no_question_is_named(made, folder):
    entry = get_entry("dataset", "ecg_qa")
    given = {"_name": "ecg_qa", "tokenizer": str(folder / "bert_tiny_uncased")}
    dataset = entry.cls(entry.dataclass.from_mapping(given), made / "template" / "train.tsv")
    model = build("model", "ecg_transformer_classifier", num_labels=19, encoder_layers=0)
    task = build("task", "ecg_question_answering", data=str(made))
    with pytest.raises(ConfigError, match="'ecg_transformer_classifier' takes no question"):
        task.prepare(model, build("criterion", "binary_cross_entropy_with_logits"), dataset)
