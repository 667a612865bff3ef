"""A plugin adds one of every kind that grows, and the commands use them: no list of ours is edited."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

BIN = Path(sys.executable).parent
PLUGIN = {
    "speckle.py": '''
"""Single samples that are hit by chance."""
from dataclasses import dataclass
import numpy as np
from ecg_signals.config import BaseConfig, option
from ecg_signals.data.transforms.base import Transform
from ecg_signals.registry import register_transform


@dataclass
class SpeckleConfig(BaseConfig):
    speckle_share: float = option(0.01, "share of the samples that are hit")
    max_amplitude: float = option(0.1, "height, in the signal's unit; shared with the noises")


@register_transform("speckle", dataclass=SpeckleConfig)
class Speckle(Transform):
    def __call__(self, signal, rng, leads):
        hit = rng.uniform(size=signal.shape) < self.cfg.speckle_share
        return (signal + hit * self.cfg.max_amplitude).astype(np.float32)
''',
    "halve.py": '''
"""Half of every value."""
from ecg_signals.registry import register_step
from ecg_signals.signal.steps.base import Step


@register_step("halve")
class Halve(Step):
    def __call__(self, signal, rate, contract_rate):
        return signal / 2, rate
''',
    "toy_file.py": '''
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
''',
    "toy_ward.py": '''
"""The made-up dataset of a ward that records .toy files."""
from dataclasses import dataclass
from ecg_signals.config import option
from ecg_signals.preprocess.options import SplitConfig
from ecg_signals.preprocess.source import Source, walk
from ecg_signals.registry import register_source


@dataclass
class ToyWardConfig(SplitConfig):
    beds: int = option(2, "patients that share the records")


@register_source("toy_ward", dataclass=ToyWardConfig)
class ToyWard(Source):
    title = "a made-up ward"
    layout = ".toy files"
    prefix = "toy_ward"

    def records(self):
        import pandas as pd

        paths = list(walk(self.folder, ".toy", self.skip))
        table = pd.DataFrame({"path": paths})
        return table.assign(patient_id=[f"bed {number % self.cfg.beds}" for number in range(len(paths))])

    def labels(self, meta):
        loud = [int(path[:2]) % 2 for path in meta["path"]]
        return meta[["idx"]].assign(loud=loud, quiet=[1 - value for value in loud])
''',
    "sureness.py": '''
"""How far scores are from one half."""
import numpy as np
from ecg_signals.metrics.base import Metric
from ecg_signals.registry import register_metric


@register_metric("sureness")
class Sureness(Metric):
    best = 0.5

    def __call__(self, scored):
        return np.abs(scored.scores - 0.5).mean(axis=0)
''',
}
KINDS = {"transform": "speckle", "step": "halve", "reader": "toy", "source": "toy_ward", "metric": "sureness"}


def command(name: str, *words: object, cwd: Path, fails: bool = False, **environment: str) -> str:
    argv = [str(BIN / name), *map(str, words)]
    done = subprocess.run(argv, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True)
    assert (done.returncode != 0) == fails, f"{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    return done.stdout + done.stderr if fails else done.stdout


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The plugin, and .toy files of 6 s at 250 Hz, so many that several processes read them."""
    folder = tmp_path_factory.mktemp("kinds")
    (folder / "wardlab").mkdir()
    (folder / "wardlab" / "__init__.py").touch()
    for name, text in PLUGIN.items():
        (folder / "wardlab" / name).write_text(text.lstrip())
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


@pytest.fixture(scope="module")
def model(place: Path, data: Path) -> Path:
    tiny = ["encoder_layers=1", "encoder_embed_dim=16", "encoder_ffn_embed_dim=16", "encoder_attention_heads=2",
            "conv_feature_layers='[(8, 2, 2)] * 4'", "conv_pos=8", "conv_pos_groups=2", "num_labels=2"]  # fmt: skip
    words = [f"task.data={data / 'manifest'}", f"task.label_file={data / 'labels/y.npy'}", "common.user_dir=wardlab"]
    words += [*(f"model.{text}" for text in tiny), "optimization.max_update=2", "dataset.num_workers=2"]
    words += ["task.perturbation_mode=[speckle,emg_noise]", "task.p=[1,0.5]", "task.speckle_share=0.5"]
    words += ["dataset.batch_size=4", "dataset.disable_validation=true", "hydra.run.dir=run"]
    command("ecg-train", "--config-name", "scratch/diagnosis", *words, cwd=place)
    return place / "run" / "checkpoints" / "checkpoint_last.pt"


@pytest.mark.parametrize(("kind", "name"), KINDS.items())
def test_each_is_listed_with_its_options(kind, name, place):
    listed = command("ecg-list", kind, "--user-dir", "wardlab", cwd=place)
    assert f"  {name} " in listed
    page = command("ecg-list", kind, name, "--user-dir", "wardlab", cwd=place)
    assert page.startswith(f"{kind} {name}: ") and "wardlab" in page


def test_the_dataset_has_a_help_page_and_is_read_by_several_processes(data, place):
    page = command("ecg-preprocess", "toy_ward", "--help", "--user-dir", "wardlab", cwd=place)
    assert "beds=2" in page and "a made-up ward" in page
    assert "toy_ward" in command("ecg-preprocess", "--help", "--user-dir", "wardlab", cwd=place)
    assert len(list((data / "segmented").glob("toy_ward_*.mat"))) == 64
    assert "unknown dataset or step 'toy_ward'" in command(
        "ecg-preprocess", "toy_ward", "a", "b", cwd=place, fails=True
    )


def test_the_augmentation_trains_with_options_of_its_own(model, place):
    import torch

    stored = torch.load(model, weights_only=True)
    options = stored["extra_state"]["ecg_signals"]["options"]
    assert options["dataset"]["speckle_share"] == 0.5 and "speckle_share" not in options["task"]
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


def test_the_step_prepares_the_plugins_records_for_a_model(model, place):
    command("ecg-convert", model, "folder", "--to", "hf", "--user-dir", "wardlab", cwd=place)
    whole = command("ecg-predict", "raw/00.toy", "--model", "folder", "--user-dir", "wardlab", "--json", cwd=place)
    config = json.loads((place / "folder" / "config.json").read_text())
    config["ecg_signals"]["signal"]["steps"].append({"name": "halve"})
    (place / "folder" / "config.json").write_text(json.dumps(config))
    halved = command("ecg-predict", "raw/00.toy", "--model", "folder", "--user-dir", "wardlab", "--json", cwd=place)
    assert whole != halved
    assert "unknown step 'halve'" in command("ecg-predict", "raw/00.toy", "--model", "folder", cwd=place, fails=True)


def test_a_file_that_only_looks_like_the_format_is_named(model, place):
    (place / "other.toy").write_bytes(b"NOT1" + bytes(400))
    words = ["other.toy", "--model", model, "--user-dir", "wardlab"]
    assert "other.toy has the extension '.toy', which no reader knows" in command(
        "ecg-predict", *words, cwd=place, fails=True
    )
