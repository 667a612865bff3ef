"""What models there are: the registered ones and the published weights that load here."""

from dataclasses import dataclass

import torch

from ecg_signals.interop.ecg_cpc.contract import inputs as ecg_cpc
from ecg_signals.interop.ecg_jepa_kim.contract import ecg_jepa_kim
from ecg_signals.interop.ecgfounder.contract import ecgfounder
from ecg_signals.interop.fairseq_signals.contract import ecg_fm
from ecg_signals.interop.hubert_ecg.contract import LICENCE as CC_BY_NC
from ecg_signals.interop.hubert_ecg.contract import hubert_ecg
from ecg_signals.interop.ked.contract import inputs as ked
from ecg_signals.interop.merl.contract import merl
from ecg_signals.registry import get_entry, register_model
from ecg_signals.signal.contract import SignalContract
from ecg_signals.signal.millivolt import PUBLISHED as AS_PUBLISHED

YOURS = "none: you train it"
ON_ITS_PAGE = "see its page; the file does not say"
_BUILT_WITH = {"encoder": {"_name": "ecg_transformer"}, "num_labels": 1, "output_dim": 1}  # of the options it has


@dataclass(frozen=True)
class ListedModel:
    """One line of the table.

    Attributes:
        name: the registered name, or the published weights' name: on the Hugging Face hub, or of the file to download.
        model: registered name of what it is.
        parameters: their number; of a registered model with its default options, and a head for one label.
        signal: the input contract: as published, or what ecg-preprocess writes for training.
        licence: terms of the weights.
        load: the line of Python that gives the model.
    """

    name: str
    model: str
    parameters: int
    signal: SignalContract
    licence: str
    load: str

    @property
    def input(self) -> str:
        """The input contract in a few words."""
        seconds = self.signal.window_samples / self.signal.sample_rate
        return f"{len(self.signal.leads)} leads, {seconds:g} s at {self.signal.sample_rate:g} Hz, {self.signal.values}"


def list_models() -> list[ListedModel]:
    """Published weights first, then every registered model, installed plugins' included."""
    return [*PUBLISHED, *(_registered(name) for name in register_model.names())]


def _published(name: str, model: str, parameters: int, contract: SignalContract, licence: str) -> ListedModel:
    return ListedModel(name, model, parameters, contract, licence, f'ecg_signals.load_model("{name}")')


def _registered(name: str) -> ListedModel:
    """Built on torch's meta device, which holds sizes and no numbers."""
    entry = get_entry("model", name)
    known = entry.dataclass.__dataclass_fields__
    options = {key: value for key, value in _BUILT_WITH.items() if key in known}
    with torch.device("meta"):
        model = entry.cls(entry.dataclass.from_mapping({"_name": name, **options}))
    needed = "".join(f", {key}=..." for key in _BUILT_WITH if key in known)
    load = f'ecg_signals.registry.build("model", "{name}"{needed})'
    return ListedModel(name, name, sum(value.numel() for value in model.parameters()), model.usual_input(), YOURS, load)


ECG_FM, HUBERT_ECG = ecg_fm(), hubert_ecg()
FOUNDER = "PKUDigitalHealth/ECGFounder"
PUBLISHED = (
    _published("wanglab/ecg-fm/mimic_iv_ecg_physionet_pretrained.pt", "wav2vec2_cmsc", 90_883_072, ECG_FM, ON_ITS_PAGE),
    _published(
        "wanglab/ecg-fm/mimic_iv_ecg_finetuned.pt", "ecg_transformer_classifier", 90_386_321, ECG_FM, ON_ITS_PAGE
    ),
    _published("Edoardo-BS/hubert-ecg-small", "hubert_ecg", 30_209_664, HUBERT_ECG, CC_BY_NC),
    _published("Edoardo-BS/hubert-ecg-base", "hubert_ecg", 92_798_848, HUBERT_ECG, CC_BY_NC),
    _published("Edoardo-BS/hubert-ecg-large", "hubert_ecg", 187_644_736, HUBERT_ECG, CC_BY_NC),
    _published(f"{FOUNDER}/12_lead_ECGFounder.pth", "classifier", 30_819_014, ecgfounder(), ON_ITS_PAGE),
    _published(f"{FOUNDER}/1_lead_ECGFounder.pth", "classifier", 30_807_750, ecgfounder(["I"]), ON_ITS_PAGE),
    _published("multiblock_epoch100.pth", "cropa_vit", 85_374_720, ecg_jepa_kim(), ON_ITS_PAGE),
    _published("FILE.ckpt", "cpc", 3_194_880, ecg_cpc(12)[AS_PUBLISHED], ON_ITS_PAGE),
    _published("res18_best_encoder.pth", "merl_resnet", 3_853_962, merl(), ON_ITS_PAGE),
    _published(
        "best_valid_all_increase_with_augment_epoch_3.pt", "xresnet1d", 7_865_984, ked(12)[AS_PUBLISHED], ON_ITS_PAGE
    ),
)  # HuBERT-ECG: without cluster heads
