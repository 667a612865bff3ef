"""A family of models as a plugin, tests/wardlab, with one of every kind that grows: no list of ours is edited.

It trains, stops and goes on, is fine-tuned, validated, converted and used, all by the commands.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.io import loadmat

KINDS = {"transform": "speckle", "step": "halve", "reader": "toy", "source": "toy_ward", "metric": "sureness",
         "layout": "ward"}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def found_first(commands: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{commands}{os.pathsep}{os.environ['PATH']}")
        yield


def command(*words: object, cwd: Path, fails: bool = False) -> str:
    done = subprocess.run([*map(str, words)], cwd=cwd, capture_output=True, text=True)
    assert (done.returncode != 0) == fails, f"{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    return done.stdout + done.stderr if fails else done.stdout


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The plugin, and .toy files of 6 s at 250 Hz, so many that several processes read them."""
    folder = tmp_path_factory.mktemp("kinds")
    shutil.copytree(Path(__file__).with_name("wardlab"), folder / "wardlab")
    (folder / "raw").mkdir()
    rng = np.random.default_rng(0)
    for number in range(64):
        signal = rng.standard_normal((12, 1500)) * (0.5 if number % 2 else 0.1)
        head = b"TOY1" + np.array([250, 12], "<i4").tobytes()
        (folder / "raw" / f"{number:02d}.toy").write_bytes(head + signal.astype("<f4").tobytes())
    return folder


@pytest.fixture(scope="module")
def data(place: Path) -> Path:
    words = ["sample_rate=250", "beds=32", "fractions=0.5,0.25,0.25", "--workers", 2, "--user-dir", "wardlab"]
    command("ecg-preprocess", "toy_ward", "raw", "data", *words, cwd=place)
    return place / "data"


def train(place: Path, recipe: str, run: str, *words: str) -> Path:
    argv = ["common.user_dir=wardlab", "--config-dir", "wardlab/recipes", "--config-name", recipe, *words]
    command("ecg-train", *argv, "task.data=data/manifest", f"hydra.run.dir={run}", cwd=place)
    return place / run / "checkpoints" / "checkpoint_last.pt"


@pytest.fixture(scope="module")
def pretrained(place: Path, data: Path) -> Path:
    return train(place, "ward_pretrain", "whole", "optimization.max_update=6")


@pytest.fixture(scope="module")
def model(place: Path, pretrained: Path) -> Path:
    return train(place, "ward_finetune", "tuned", f"model.model_path={pretrained}", "task.label_file=data/labels/y.npy")


def assert_same(found: Any, wanted: Any) -> None:
    """Containers of tensors and plain values, to the last bit."""
    assert type(found) is type(wanted)
    if isinstance(found, torch.Tensor):
        assert torch.equal(found, wanted)
    elif isinstance(found, dict):
        assert list(found) == list(wanted)
        assert_same(list(found.values()), list(wanted.values()))
    elif isinstance(found, (list, tuple)):
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted):
            assert_same(one, other)
    else:
        assert found == wanted


def stored(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)


def losses(checkpoint: Path) -> list[float]:
    rows = [json.loads(line) for line in (checkpoint.parent / "metrics.jsonl").read_text().splitlines()]
    return [row["loss"] for row in rows if row["split"] == "train_inner"]


@pytest.mark.parametrize(("kind", "name"), KINDS.items())
def test_each_has_a_page_with_its_options(kind, name, place):
    page = command("ecg-list", kind, name, "--user-dir", "wardlab", cwd=place)
    assert page.startswith(f"{kind} {name}: ") and "wardlab" in page


def test_each_stands_in_the_list_of_its_kind(place):
    assert "  halve " in command("ecg-list", "step", "--user-dir", "wardlab", cwd=place)


def test_the_dataset_has_a_help_page_and_is_read_by_several_processes(data, place):
    page = command("ecg-preprocess", "toy_ward", "--help", "--user-dir", "wardlab", cwd=place)
    assert "beds=2" in page and "a made-up ward" in page
    assert "toy_ward" in command("ecg-preprocess", "--help", "--user-dir", "wardlab", cwd=place)
    assert len(list((data / "segmented").glob("toy_ward_*.mat"))) == 64
    assert "unknown dataset or step 'toy_ward'" in command(
        "ecg-preprocess", "toy_ward", "a", "b", cwd=place, fails=True
    )


def test_the_augmentation_trains_with_options_of_its_own(pretrained, place):
    options = stored(pretrained)["extra_state"]["ecg_signals"]["options"]
    assert options["dataset"]["speckle_share"] == 0.2 and "speckle_share" not in options["task"]
    wrong = ["task.data=data/manifest", "common.user_dir=wardlab", "+task.speckle_shar=0.1"]
    said = command("ecg-train", "--config-name", "scratch/diagnosis", *wrong, cwd=place, fails=True)
    assert "did you mean 'speckle_share'" in said


def test_the_metric_stands_among_the_results(model, data, place):
    words = [f"common_eval.path={model}", f"task.data={data / 'manifest'}", f"task.label_file={data / 'labels/y.npy'}"]
    words += ["common_eval.metrics=[auroc,sureness]", "dataset.valid_subset=test", "common_eval.results_path=results"]
    words += ["common.user_dir=wardlab", "common_eval.intervals=5", "hydra.run.dir=validated"]
    command("ecg-validate", "--config-name", "scratch/diagnosis", *words, cwd=place)
    found = [json.loads(path.read_text()) for path in place.rglob("results.json")]
    (means,) = [content["splits"]["test"]["means"] for content in found]
    assert list(means) == ["auroc", "sureness"] and means["sureness"]["low"] <= means["sureness"]["value"]


def test_a_metric_that_does_not_exist_is_said_before_the_first_batch(model, data, place):
    words = [f"common_eval.path={model}", f"task.data={data / 'manifest'}", f"task.label_file={data / 'labels/y.npy'}"]
    words += ["common_eval.metrics=[auroc,surenes]", "dataset.valid_subset=test", "hydra.run.dir=refused"]
    said = command("ecg-validate", "--config-name", "scratch/diagnosis", *words, "common.user_dir=wardlab", cwd=place,
                   fails=True)  # fmt: skip
    assert "unknown metric 'surenes'; did you mean 'sureness'" in said


def test_training_that_was_stopped_goes_on_to_the_bit(place, pretrained):
    train(place, "ward_pretrain", "parts", "optimization.max_update=3")  # of 8 batches drawn by weight
    resumed = train(place, "ward_pretrain", "parts", "optimization.max_update=6")
    found, whole = stored(resumed), stored(pretrained)
    for key in ("model", "last_optimizer_state"):
        assert_same(found[key], whole[key])
    assert losses(resumed) == losses(pretrained) and len(losses(resumed)) == 6
    assert whole["last_optimizer_state"]["param_groups"][0]["weight_decay"] == 0.4
    assert not torch.equal(whole["model"]["slow.0.weight"], whole["model"]["stem.weight"])


def test_a_classifier_stands_on_the_encoder_alone(pretrained, model):
    before, after = stored(pretrained)["model"], stored(model)["model"]
    assert torch.equal(after["encoder.stem.weight"], before["stem.weight"])  # its first part is frozen
    assert not torch.equal(after["encoder.blocks.1.weight"], before["blocks.1.weight"])
    assert not [key for key in after if "slow" in key or "predictor" in key]


def test_it_is_converted_to_every_form_and_back(place, model):
    convert = partial(command, "ecg-convert", "--user-dir", "wardlab", cwd=place)
    convert(model, "folder", "--to", "hf")
    convert("folder", "back.pt", "--to", "fairseq")
    assert_same(dict(stored(place / "back.pt")["model"]), dict(stored(model)["model"]))
    convert("back.pt", "ward.pt", "--to", "ward")
    assert "net.proj.weight" in stored(place / "ward.pt")
    convert("ward.pt", "again", "--to", "hf")
    assert (place / "again/model.safetensors").read_bytes() == (place / "folder/model.safetensors").read_bytes()


def test_a_record_is_predicted_as_training_saw_it(model, data, place):
    def predict(source: Path) -> dict[str, Any]:
        words = ["raw/00.toy", "--user-dir", "wardlab", "--json", "--force", "--model", source]  # noise
        return json.loads(command("ecg-predict", *words, cwd=place))[0]

    found, content = predict(model), stored(model)
    segment = torch.from_numpy(loadmat(data / "segmented" / "toy_ward_00_0.mat")["feats"])
    wanted = by_hand(content["model"], segment.float() / 2).tolist()
    assert list(found["probabilities"].values()) == pytest.approx(wanted, abs=1e-4) and found["warnings"] == []
    assert content["extra_state"]["ecg_signals"]["signal"]["steps"].pop() == {"name": "halve"}
    torch.save(content, place / "whole.pt")
    assert predict(place / "whole.pt")["probabilities"] != found["probabilities"]


def by_hand(weights: dict[str, torch.Tensor], segment: torch.Tensor) -> torch.Tensor:
    """[leads, samples] -> [labels], what slow_target under a classifier computes."""
    x = F.conv1d(segment[None], weights["encoder.stem.weight"], weights["encoder.stem.bias"], stride=25).transpose(1, 2)
    for block in ("encoder.blocks.0", "encoder.blocks.1"):
        x = x + torch.tanh(F.linear(x, weights[f"{block}.weight"], weights[f"{block}.bias"]))
    return F.linear(x.mean(dim=1), weights["proj.weight"], weights["proj.bias"]).sigmoid()[0]


def test_a_file_that_only_looks_like_the_format_is_named(model, place):
    (place / "other.toy").write_bytes(b"NOT1" + bytes(400))
    words = ["other.toy", "--model", model, "--user-dir", "wardlab"]
    assert "other.toy has the extension '.toy', which no reader knows" in command(
        "ecg-predict", *words, cwd=place, fails=True
    )
