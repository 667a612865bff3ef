"""What we write into `cfg` has the types of fairseq-signals' schema, and our options take its values."""

import json
import re
import types
import typing
from dataclasses import fields

import pytest
import torch

from ecg_signals.checkpoint.convert import convert
from ecg_signals.checkpoint.read import read_checkpoint
from ecg_signals.composition import resolve_config
from ecg_signals.config import field_default
from ecg_signals.interop.fairseq_signals.names import PEER_NAMES, peer_config
from ecg_signals.registry import build, get_entry
from ecg_signals.sections import Config

SECTIONS = ("common", "distributed_training", "dataset", "optimization", "checkpoint", "common_eval")
# what the peer's schema says of options that are null by default, beside the tables of spec/framework.md
OPTIONAL = {
    ("task", "leads_to_load"): str,
    ("task", "leads_bucket"): str,
    ("task", "sample_rate"): int,
    ("task", "mean_path"): str,
    ("task", "std_path"): str,
    ("task", "max_sample_size"): int,
    ("task", "min_sample_size"): int,
    ("task", "label_file"): str,
    ("model", "model_path"): str,
    ("model", "data"): str,
    ("criterion", "cmsc_weights"): float,
    ("criterion", "weights_file"): str,
}
VALUES = {str: "[0, 1]", int: 3, float: 0.3}


def test_sections_have_the_peers_types(shared):
    """Every row `| key | type | default |` of the tables of sections."""
    text = (shared / "spec" / "framework.md").read_text()
    named = {"bool": bool, "int": int, "float": float, "str": str}
    checked = 0
    for section, table in re.findall(r"\*\*(\w+)\*\*[^\n]*\n\n((?:\|.*\n)+)", text):
        if section not in SECTIONS:
            continue
        cls = type(getattr(Config(), section))
        hints, known = typing.get_type_hints(cls), {item.name: item for item in fields(cls)}
        for row in table.splitlines()[2:]:
            keys, kind, *_ = [cell.strip() for cell in row.strip("|").split("|")]
            for key in keys.split(","):
                item = known.get(key.strip())
                if item is None or item.metadata.get("ours") or kind not in named:
                    continue
                arms = set(typing.get_args(hints[item.name]) or (hints[item.name],)) - {types.NoneType}
                assert arms == {named[kind]}, (section, item.name, hints[item.name])
                checked += 1
    assert checked > 50


def holders(section, key):
    return [
        name for name in sorted(PEER_NAMES[section] & set(build_names(section)))
        if (item := get_entry(section, name).dataclass.__dataclass_fields__.get(key)) and not item.metadata.get("ours")
    ]  # fmt: skip


def build_names(section):
    from ecg_signals.registry import REGISTRIES

    return REGISTRIES[section].names()


@pytest.mark.parametrize(("section", "key"), OPTIONAL)
def test_an_option_that_may_be_null_is_written_as_the_peer_types_it(section, key):
    kind = OPTIONAL[section, key]
    for name in holders(section, key):
        recipe = {"task": "ecg_classification", "model": "ecg_transformer_classifier", "criterion": "cross_entropy"}
        sections = {group: {"_name": value} for group, value in recipe.items()}
        sections[section] = {"_name": name, key: VALUES[kind]}
        written = peer_config(resolve_config(sections))[section][key]
        assert type(written) is kind, (name, key, written)
        item = get_entry(section, name).dataclass.__dataclass_fields__[key]
        assert field_default(item) is None


def test_leads_are_written_as_the_peers_text_however_they_were_given():
    for given in ("I,V1", ["I", "V1"], [0, 6], "[0, 'v1']"):
        sections = {"task": {"_name": "ecg_pretraining", "leads_to_load": given, "leads_bucket": given}}
        task = peer_config(resolve_config({**sections, "model": None}))["task"]
        assert task["leads_to_load"] == task["leads_bucket"] == "[0, 6]"


def test_one_weight_in_a_list_is_that_weight():
    for given in (0.3, [0.3], "[0.3]"):
        criterion = {"_name": "wav2vec2_with_cmsc", "cmsc_weights": given}
        assert peer_config(resolve_config({"criterion": criterion, "model": None}))["criterion"]["cmsc_weights"] == 0.3


def test_gathering_is_an_option_of_3kg_that_follows_the_model():
    sections = {"criterion": {"_name": "3kg"}, "model": {"_name": "ecg_transformer", "all_gather": True}}
    assert peer_config(resolve_config(sections))["criterion"]["all_gather"] is True


def leaves(value, path=()):
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, (*path, key))
    else:
        yield path, value


def test_every_value_of_the_peers_recipes_keeps_its_type(golden):
    recipes = json.loads((golden / "fairseq_signals_trained" / "recipes.json").read_text())
    for name, recipe in recipes.items():
        try:
            config = resolve_config(recipe, lenient=True)
        except Exception:  # a task that is not here
            continue
        if any(getattr(config, group) is None or getattr(config, group)._name not in names
               for group, names in PEER_NAMES.items()):  # fmt: skip
            continue
        written = dict(leaves(peer_config(config)))
        for path, value in leaves(recipe):
            found = written.get(path, value)
            if isinstance(value, (int, float, str)) and isinstance(found, float):
                assert found == float(value), (name, path)  # yaml holds 1e-08 as text
            elif value is not None and value != "???":
                assert isinstance(found, (type(value), tuple)), (name, path, value, found)


@pytest.mark.parametrize("file", ["wcr/clf/checkpoint.pt", "hubert_ecg/checkpoints/finetune_linear.pt"])
def test_a_file_without_training_state_loads_in_fairseq_signals(golden, tmp_path, file):
    convert(golden / file, tmp_path / "folder", "hf")
    convert(tmp_path / "folder", tmp_path / "file.pt", "fairseq")
    raw = torch.load(tmp_path / "file.pt", weights_only=True)
    entry = raw["optimizer_history"][-1]
    assert set(entry) == {"criterion_name", "optimizer_name", "lr_scheduler_state", "num_updates"}
    assert entry["num_updates"] == 0 and entry["optimizer_name"] == "Adam"
    named = (raw["cfg"]["criterion"] or {}).get("_name")
    assert entry["criterion_name"] == {"binary_cross_entropy_with_logits": "BinaryCrossEntropyWithLogitsCriterion",
                                       None: "CrossEntropyCriterion"}[named]  # fmt: skip


def test_a_published_hubert_file_keeps_its_training_state(golden, tmp_path):
    file = golden / "hubert_ecg" / "checkpoints" / "finetune_mlp.pt"
    convert(file, tmp_path / "own.pt", "original")
    before, after = read_checkpoint(file), torch.load(tmp_path / "own.pt", weights_only=True)
    assert set(before) <= set(after) and after["global_step"] == before["global_step"]
    assert after["optimizer_state_dict"].keys() == before["optimizer_state_dict"].keys()


def test_3kg_of_one_rank_is_the_same_with_gathering():
    criteria = [build("criterion", "3kg", all_gather=gather).train() for gather in (False, True)]
    rows, patient = torch.randn(6, 4), torch.arange(6) // 2

    class Given(torch.nn.Module):
        def forward(self, **_):
            return {"pooled": rows}

    batch = {"id": torch.arange(6), "net_input": {"source": torch.zeros(6, 12, 8)}, "patient_id": patient}
    losses = [criterion(Given(), batch).loss for criterion in criteria]
    assert torch.equal(*losses)


def test_types_named_here_are_types_of_our_dataclasses():
    criterion = typing.get_type_hints(get_entry("criterion", "wav2vec2_with_cmsc").dataclass)["cmsc_weights"]
    assert set(typing.get_args(criterion)) == {float, types.NoneType}


def test_criteria_are_called_as_the_peer_calls_their_classes():
    classes = {get_entry("criterion", name).cls.__name__ for name in PEER_NAMES["criterion"]}
    assert classes == {
        "ThreeKGCriterion", "ArcFaceCriterion", "BinaryCrossEntropyCriterion", "BinaryCrossEntropyWithLogitsCriterion",
        "CMSCCriterion", "CompositeCriterion", "CrossEntropyCriterion", "M3AECriterion", "MSECriterion",
        "MedViLLCriterion", "SimCLRCriterion", "MultiHeadBinaryCrossEntropyCriterion", "Wav2Vec2Criterion",
        "Wav2Vec2WithCMSCCriterion",
    }  # fmt: skip
