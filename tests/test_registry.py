import sys

import pytest
from torch import nn

from ecg_signals import registry
from ecg_signals.config import BaseConfig, ConfigError, UsageError
from ecg_signals.criteria.base import BaseCriterion
from ecg_signals.models.base import BaseModel
from ecg_signals.registry import (
    REGISTRIES,
    USER_DIRS,
    build,
    get_entry,
    import_user_dir,
    register_criterion,
    register_model,
)


@pytest.fixture(autouse=True)
def names_stay_as_they_were():
    yield
    for kind in registry.REGISTRIES.values():
        for name, entry in list(kind.entries.items()):
            if not entry.cls.__module__.startswith("ecg_signals."):
                del kind.entries[name]


def test_a_registered_model_is_built_by_name_from_its_options():
    model = build(
        "model", "wav2vec2_cmsc", encoder_layers=1, encoder_embed_dim=32, encoder_attention_heads=4, final_dim=8
    )
    assert isinstance(model, BaseModel)
    assert model.cfg.encoder_layers == 1


def test_a_task_is_built_from_its_own_options_alone(tmp_path):
    assert build("task", "ecg_pretraining", data=str(tmp_path)).cfg.data == str(tmp_path)


def test_a_misspelt_name_gets_its_nearest_neighbour():
    with pytest.raises(UsageError, match=r"did you mean 'wav2vec2_cmsc'.*ecg-list model"):
        build("model", "wav2vec2_cmcs")


def test_an_unknown_kind_lists_the_kinds():
    with pytest.raises(UsageError, match="known: model, task"):
        build("modle", "wav2vec2")


def test_a_misspelt_option_gets_its_nearest_neighbour():
    with pytest.raises(UsageError, match="did you mean 'encoder_layers'"):
        build("model", "wav2vec2", encoder_layer=1)


def test_a_name_that_one_of_our_files_has_cannot_be_taken():
    with pytest.raises(ValueError, match=r"already registered by ecg_signals\.models"):
        register_model("wav2vec2")(type("Other", (BaseModel,), {}))


def test_a_name_that_a_plugin_has_cannot_be_taken_twice():
    register_model("mine")(type("Mine", (BaseModel,), {}))
    with pytest.raises(ValueError, match="model 'mine' is already registered"):
        register_model("mine")(type("Other", (BaseModel,), {}))


def test_what_does_not_extend_the_base_class_is_refused_and_not_half_registered():
    with pytest.raises(ValueError, match="must extend"):
        register_model("half")(nn.Linear)
    with pytest.raises(ValueError, match="BaseConfig"):
        register_model("half", dataclass=dict)(type("Half", (BaseModel,), {}))
    assert "half" not in registry.REGISTRIES["model"].names()


def test_a_class_written_for_fairseq_signals_is_told_what_to_rename():
    with pytest.raises(ConfigError, match=r"compute_loss.*rename it to forward\(model, batch\)"):
        register_criterion("old")(type("Old", (BaseCriterion,), {"compute_loss": lambda self: None}))
    with pytest.raises(ConfigError, match=r"build_model.*rename it to __init__"):
        register_model("old")(type("Old", (nn.Module,), {"build_model": classmethod(lambda cls, cfg, task: None)}))


def test_every_module_of_a_user_dir_is_imported_once(tmp_path):
    package = tmp_path / "my_plugin_once"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "net.py").write_text(
        "from ecg_signals.models.base import BaseModel\nfrom ecg_signals.registry import register_model\n\n\n"
        '@register_model("my_net_once")\nclass MyNet(BaseModel):\n    pass\n'
    )
    import_user_dir(package)
    import_user_dir(package)
    assert get_entry("model", "my_net_once").cls.__module__ == "my_plugin_once.net"
    assert get_entry("model", "my_net_once").dataclass is BaseConfig
    sys.path.remove(str(tmp_path))


def test_a_user_dir_may_lie_beside_the_package(tmp_path, monkeypatch):
    (tmp_path / "site" / "my_plugin_beside").mkdir(parents=True)
    text = (
        "from ecg_signals.models.base import BaseModel\n"
        "from ecg_signals.registry import register_model\n"
        "@register_model('beside_model')\nclass Beside(BaseModel):\n    pass\n"
    )
    (tmp_path / "site" / "my_plugin_beside" / "__init__.py").write_text(text)
    monkeypatch.setattr("ecg_signals.registry._PACKAGE", tmp_path / "site" / "ecg_signals")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv(USER_DIRS, "")
    monkeypatch.chdir(tmp_path)
    import_user_dir("my_plugin_beside")
    assert get_entry("model", "beside_model").cls.__name__ == "Beside"


def test_a_user_dir_that_fails_names_the_module_and_the_reason(tmp_path):
    (tmp_path / "my_plugin_broken.py").write_text("import no_such_module_at_all")
    with pytest.raises(ConfigError, match=r"my_plugin_broken.*no_such_module_at_all"):
        import_user_dir(tmp_path / "my_plugin_broken")
    with pytest.raises(ConfigError, match="there is no such folder"):
        import_user_dir(tmp_path / "absent")


def test_every_name_of_fairseq_signals_is_here():
    names = {  # as registered there
        "task": "ecg_pretraining ecg_classification ecg_identification ecg_segmentation ecg_question_answering "
        "ecg_text_pretraining",
        "model": "wav2vec2 wav2vec2_cmsc ecg_transformer ecg_transformer_classifier convnet nejedly2021resnet "
        "nejedly2021resnet_classifier se_wrn se_wrn_classifier arcface unet_segmentor unet_cgm_segmentor "
        "resnet_lstm_classifier blind_transformer_qa deaf_transformer_qa ecg_language_transformer_classifier m3ae "
        "m3ae_qa medvill",
        "criterion": "wav2vec2 wav2vec2_with_cmsc cmsc simclr 3kg arcface cross_entropy binary_cross_entropy "
        "binary_cross_entropy_with_logits multi_head_binary_cross_entropy mse medvill m3ae composite_criterion",
        "optimizer": "adam",
        "lr_scheduler": "fixed step tri_stage",
    }
    for kind, listed in names.items():
        assert set(listed.split()) <= set(REGISTRIES[kind].names()), kind

