"""Converted folders behind transformers' Auto classes, with and without our import, and names on the hub."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from warm_commands import python

from ecg_signals import load_model
from ecg_signals.checkpoint.convert import convert
from ecg_signals.checkpoint.hub import is_hub_name
from ecg_signals.config import ConfigError

FILES = {
    "clf": "wcr/clf/checkpoint.pt",
    "w2v_cmsc": "wcr/w2v_cmsc/checkpoint.pt",
    "se_wrn": "wcr/other_models/se_wrn.pt",
    "hubert": "hubert_ecg/checkpoints/hubert_1_iteration_9_run0.pt",
    "hubert_mlp": "hubert_ecg/checkpoints/finetune_mlp.pt",
}


@pytest.fixture(scope="module")
def folders(golden, tmp_path_factory):
    """name -> converted folder, with input and features beside it."""
    root = tmp_path_factory.mktemp("folders")
    for name, file in FILES.items():
        convert(golden / file, root / name, "hf")
        model = load_model(root / name)
        source = torch.rand(2, 12, model.signal.window_samples) * 2 - 1
        with torch.no_grad():
            output = model(source)
        np.savez(root / f"{name}.npz", source=source.numpy(), features=output["features"].numpy())
    return root


def compare(folder, **options):
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder, **options)
    stored = np.load(f"{folder}.npz")
    with torch.no_grad():
        output = model(torch.from_numpy(stored["source"]))
    torch.testing.assert_close(output.last_hidden_state, torch.from_numpy(stored["features"]), rtol=0, atol=1e-6)
    return model, output


@pytest.mark.parametrize("name", FILES)
def test_auto_model_gives_the_features_after_importing_our_classes(folders, name, tmp_path):
    pytest.importorskip("transformers")
    import ecg_signals.hf  # noqa: F401

    model, output = compare(folders / name)
    assert not model.training and model.config.model_type == ("hubert_ecg" if "hubert" in name else "ecg_signals")
    assert (output.logits is not None) == hasattr(model.model.cfg, "num_labels")
    model.save_pretrained(tmp_path / name)
    shutil.copy(f"{folders / name}.npz", f"{tmp_path / name}.npz")
    compare(tmp_path / name)


def test_auto_model_gives_the_features_with_the_folders_own_file(folders, tmp_path):
    """In a process that imports nothing of ours by itself."""
    pytest.importorskip("transformers")
    code = (
        "import sys, numpy, torch\nfrom transformers import AutoModel\n"
        "for folder in sys.argv[1:]:\n"
        "    assert not any(name.startswith('ecg_signals') for name in sys.modules) or folder != sys.argv[1]\n"
        "    model = AutoModel.from_pretrained(folder, trust_remote_code=True)\n"
        "    stored = numpy.load(folder + '.npz')\n"
        "    with torch.no_grad(): found = model(torch.from_numpy(stored['source'])).last_hidden_state\n"
        "    assert abs(found.numpy() - stored['features']).max() <= 1e-6, folder\n"
        "print('equal')\n"
    )
    env = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    paths = [str(folders / name) for name in FILES]
    done = subprocess.run([sys.executable, "-c", code, *paths], env=env, capture_output=True, text=True)
    assert done.returncode == 0 and "equal" in done.stdout, done.stderr


def test_the_classification_class_has_logits_and_a_loss_and_refuses_a_model_without_head(folders):
    pytest.importorskip("transformers")
    from transformers import AutoModelForSequenceClassification

    import ecg_signals.hf  # noqa: F401

    model = AutoModelForSequenceClassification.from_pretrained(folders / "clf")
    source = torch.from_numpy(np.load(folders / "clf.npz")["source"])
    output = model(source, labels=torch.ones(2, 8), output_hidden_states=True)
    assert output.logits.shape == (2, 8) and output.loss.requires_grad and model.config.num_labels == 8
    assert len(output.hidden_states) == model.model.cfg.encoder_layers + 1
    with pytest.raises(ConfigError, match="'wav2vec2_cmsc' has no classification head"):
        AutoModelForSequenceClassification.from_pretrained(folders / "w2v_cmsc")


def test_a_convnet_is_a_classifier(golden, tmp_path):
    pytest.importorskip("transformers")
    from transformers import AutoModelForSequenceClassification

    import ecg_signals.hf  # noqa: F401

    convert(golden / "wcr/other_models/convnet.pt", tmp_path / "convnet", "hf")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "convnet")
    source = torch.randn(2, 12, 2500)
    with torch.no_grad():
        logits = model(source).logits
        assert torch.equal(logits, load_model(tmp_path / "convnet")(source)["logits"])
    assert model.config.num_labels == logits.shape[1]


def test_published_hubert_ecg_folders_and_flat_input_are_taken(golden):
    pytest.importorskip("transformers")
    from transformers import AutoModel

    import ecg_signals.hf  # noqa: F401

    stored = np.load(golden / "hubert_ecg" / "model" / "model_outputs.npz")
    model = AutoModel.from_pretrained(golden / "hubert_ecg" / "checkpoints" / "pretrain_hf")
    flat = torch.from_numpy(stored["input"])
    with torch.no_grad():
        found = model(flat, output_hidden_states=True)
        masked = model(flat, attention_mask=torch.from_numpy(stored["attention_mask"]))
    wanted = torch.from_numpy(stored["hidden_states"])
    torch.testing.assert_close(torch.stack(found.hidden_states), wanted, rtol=1e-5, atol=1e-5)
    wanted = torch.from_numpy(stored["last_hidden_state_with_attention_mask"])
    keep = torch.from_numpy(stored["frame_attention_mask"])
    torch.testing.assert_close(masked.last_hidden_state[keep], wanted[keep], rtol=1e-5, atol=1e-5)
    model = AutoModel.from_pretrained(golden / "hubert_ecg" / "checkpoints" / "finetune_linear_hf")
    with torch.no_grad():
        logits = model(flat).logits
    torch.testing.assert_close(logits, torch.from_numpy(stored["linear_logits"]), rtol=1e-5, atol=1e-5)


def test_checkpoints_load_where_transformers_is_not_installed(golden, folders):
    code = (
        "import sys\nsys.modules['transformers'] = sys.modules['huggingface_hub'] = None\n"
        "from ecg_signals import load_model\nfor path in sys.argv[1:]: load_model(path)\n"
    )
    paths = [*(golden / file for file in FILES.values()), *(folders / name for name in FILES)]
    done = subprocess.run([python(), "-c", code, *map(str, paths)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("org/name", True),
        ("Edoardo-BS/hubert-ecg-base", True),
        ("org/name/file.pt", True),
        ("runs/checkpoint_last.pt", False),
        ("./org/name", False),
        ("../org", False),
        ("/org/name", False),
        ("name", False),
        ("a/b/c", False),
    ],
)
def test_what_reads_like_a_name_on_the_hub(name, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_hub_name(name) is expected


def test_a_cached_hub_model_loads_offline_and_an_unknown_one_says_what_is_wanted(folders, golden, tmp_path):
    pytest.importorskip("huggingface_hub")
    repository = tmp_path / "hub" / "models--org--ecg"
    revision = "0123456789abcdef0123456789abcdef01234567"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(revision)
    shutil.copytree(folders / "clf", repository / "snapshots" / revision)
    shutil.copy(golden / "wcr" / "clf" / "checkpoint.pt", repository / "snapshots" / revision / "file.pt")
    code = (
        "from ecg_signals import load_model\nfrom ecg_signals.config import ConfigError\n"
        "print(load_model('org/ecg').cfg._name, load_model('org/ecg/file.pt').cfg._name)\n"
        "try:\n    load_model('org/unknown')\nexcept ConfigError as error:\n    print(error)\n"
    )
    env = {**os.environ, "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = subprocess.run([python(), "-c", code], env=env, cwd=tmp_path, capture_output=True, text=True)
    first, second = done.stdout.strip().split("\n")
    assert first == "ecg_transformer_classifier ecg_transformer_classifier", done.stderr
    assert "download config.json and model.safetensors by hand" in second and "HF_HUB_OFFLINE" in second


def test_a_missing_package_names_what_to_install(tmp_path):
    code = (
        "import sys\nsys.modules['transformers'] = sys.modules['huggingface_hub'] = None\n"
        "from ecg_signals import load_model\nfrom ecg_signals.config import ConfigError\n"
        "try:\n    load_model('org/name')\nexcept ConfigError as error:\n    print(error)\n"
        "try:\n    import ecg_signals.hf\nexcept ImportError as error:\n    print(error)\n"
    )
    done = subprocess.run([python(), "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.count('pip install "ecg-signals[hf]"') == 2, done.stderr
