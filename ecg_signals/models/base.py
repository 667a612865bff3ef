"""What every model is: `model(source, padding_mask=None) -> ModelOutput`, plus the trainer's hooks."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ecg_signals.config import BaseConfig, option
from ecg_signals.metrics.calibrated import Calibration
from ecg_signals.metrics.logits import probabilities_of
from ecg_signals.models.encoder import Encoder
from ecg_signals.signal.contract import SignalContract
from ecg_signals.signal.segments import segment_contract

# what notebooks written for fairseq-signals read
PEER_NAMES = {"out": "logits", "encoder_out": "features", "x": "features"}


class ModelOutput(dict[str, Any]):
    """A model's named outputs; fairseq-signals' names `out`, `encoder_out` and `x` answer too.

    `saliency` is None, not missing, where attention maps were not asked for: notebooks collect it in any case.
    """

    def __missing__(self, key: str) -> Any:
        if key in PEER_NAMES and dict.__contains__(self, PEER_NAMES[key]):
            return dict.__getitem__(self, PEER_NAMES[key])
        if key == "saliency":
            return None
        raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        return dict.__contains__(self, key) or dict.__contains__(self, PEER_NAMES.get(str(key), key))

    def get(self, key: str, default: Any = None) -> Any:
        return self[key] if key in self else default  # noqa: SIM401, `get` is what this defines


pytree.register_pytree_node(
    ModelOutput,
    lambda output: (list(output.values()), list(output.keys())),
    lambda values, keys: ModelOutput(zip(keys, values)),
    serialized_type_name="ecg_signals.ModelOutput",
)


@dataclass
class StartOptions(BaseConfig):
    """Of a model that may start from a file (checkpoint/initialise.py); its constructor reads neither."""

    model_path: str | None = option(None, "checkpoint or folder whose encoder is taken over, with its sizes")
    no_pretrained_weights: bool = option(False, "start from random weights although model_path is set")


class BaseModel(Encoder):
    """Extend it, set the layers in `__init__` and write `forward`; register with `register_model`.

    Attributes:
        cfg: the options the model was built from; enough, with the weights, to build it again.
        labels: names of the columns of `logits`, None when unknown.
        signal: the input contract (`model.signal.prepare(record)`), None when unknown.
        logit_kind: what its logits are, by the criterion it was trained with (metrics/logits.py); None when unknown.
        origin: where the weights come from (checkpoint/origin.py), {} when unknown.
        calibration: how its logits become probabilities; None for a model that is being trained, or says nothing of it.
    """

    # What starting from a file (checkpoint/initialise.py) asks of a model, beside what it asks of its encoder:
    encoder_class: ClassVar["type[BaseModel] | None"] = None  # of the encoder within; None: the model is one
    encoder_key: ClassVar[str] = "encoder"  # the submodule that is the encoder, in a model around one
    usually_pretrained: ClassVar[bool] = False  # a start from random weights must be asked for
    logit_kind: str | None = None  # set in a class whose logits are the same by any criterion
    further_inputs: ClassVar[tuple[str, ...]] = ()  # what forward takes of an item beside source and padding_mask
    of_samples: ClassVar[bool] = False  # its logits are [batch, samples, classes]: it marks waves
    PEER_METHODS: ClassVar[dict[str, str]] = {
        "build_model": "__init__(self, cfg)",
        "get_logits": "forward(source, padding_mask=None, ...) -> {'features': ..., 'logits': ...}",
        "set_num_updates": "before_forward(num_updates)",
    }

    def __init__(self, cfg: BaseConfig) -> None:
        super().__init__()
        self.cfg = cfg
        self.labels: list[str] | None = None
        self.signal: SignalContract | None = None
        self.origin: dict[str, Any] = {}
        self.calibration: Calibration | None = None

    def probabilities(self, logits: Tensor, published: bool = False) -> Tensor:
        """[..., labels] logits as what they were trained to be: probabilities, or the values of a regression.

        Args:
            published: the plain sigmoid, as other projects print it; else log pos_weight of the training criterion is
                taken back, and what ecg-calibrate found is applied.
        """
        calibrated = logits if published or self.calibration is None else self.calibration(logits)
        return probabilities_of(calibrated, self.logit_kind)

    def forward(self, source: Tensor, padding_mask: Tensor | None = None) -> Mapping[str, Any]:
        """source [batch, leads, samples] float32 -> at least `features` [batch, frames, dim]."""
        raise TypeError(f"{type(self).__name__} must define forward(source, padding_mask=None)")

    def extract_features(
        self, source: Tensor, padding_mask: Tensor | None = None, layers: Any = None
    ) -> Mapping[str, Any]:
        """`forward` without masking; `layers="all"` adds `hidden_states` where the family has them."""
        return self(source, padding_mask=padding_mask)

    @property
    def sometimes_unused(self) -> bool:
        """Whether some parameters have no part in some updates: frozen for a while, left out at random.

        With several ranks DDP has to be told. A submodule with parameters of that kind may say so for itself.
        """
        return False

    def lr_scale(self, name: str, cfg: Any) -> float:
        """The learning rate of a weight as a share of the run's; `cfg` is the whole Config."""
        return 1.0

    def param_groups(self, cfg: Any) -> list[dict[str, Any]]:
        """What trains, one parameter group for every rate, and one more where weight decay leaves something out.

        Args:
            cfg: the whole Config.
        """
        found: dict[tuple[float, bool], list[nn.Parameter]] = {}
        for name, weight in self.named_parameters():
            if weight.requires_grad:
                found.setdefault((self.lr_scale(name, cfg), self.decays(name)), []).append(weight)
        one_rate = all(scale == 1.0 for scale, _ in found)
        rates = [{} if one_rate else {"lr_scale": scale} for scale, _ in found]
        rules: list[dict[str, Any]] = [{} if decays else {"weight_decay": 0.0} for _, decays in found]
        return [{"params": group, **rate, **rule} for group, rate, rule in zip(found.values(), rates, rules)]

    def before_forward(self, num_updates: int) -> None:
        """Called before each batch of the update after `num_updates`: schedules inside a model live here."""

    def before_update(self, num_updates: int, optimizer: Any) -> None:
        """Called before the optimizer's step after `num_updates`: schedules of its `param_groups` live here.

        The rate is the learning-rate schedule's. A schedule that follows from `num_updates` alone needs no state.
        """

    def after_update(self, num_updates: int) -> None:
        """Called after each optimizer step: moving averages live here."""

    def after_stand_in(self, num_updates: int) -> None:
        """Called after the passes over a batch that counts nothing, in place of one that this rank does not have.

        Buffers are as before it; what a module keeps of its batches elsewhere is dropped here.
        """

    @classmethod
    def published_options(cls) -> dict[str, Any]:
        """Options whose published value differs from today's default; files that other projects wrote get them."""
        return {}

    @classmethod
    def stored_sizes(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """Options that the weights of another project's file tell, where the file itself does not store them."""
        return {}

    def bert_parts(self) -> dict[str, str]:
        """Submodules that begin with weights of BERT: name -> "all", or which table of embeddings alone."""
        return {}

    @classmethod
    def encoder_files(cls, cfg: Any) -> dict[str, str]:
        """Submodules that begin with the encoder of a checkpoint, beside those of model_path: name -> the file."""
        return {}

    @classmethod
    def encoder_of(cls, cfg: Any, usual: "type[BaseModel] | None" = None) -> "tuple[type[BaseModel], Any]":
        """The class of the encoder within and the options that build it; `usual`: the class where `cfg` names none."""
        return cls.encoder_class or cls, cfg

    @classmethod
    def usual_input(cls) -> SignalContract:
        """The input contract that a model of this class is trained to have, by what ecg-preprocess writes for it."""
        return segment_contract()

    @classmethod
    def inputs(cls, cfg: Any) -> dict[str, SignalContract]:
        """Ways in which input was made for weights of this family with these options, by name.

        `published`: of files that state none; others, such as `fmb`, are those of comparisons (`load_model(signal=)`).
        """
        return {}

    def after_validation(self, improved: bool, optimizer: Any) -> None:
        """Called after each validation; `improved`: best so far. Regularisation that follows lives here."""

    def training_state(self, optimizer: Any) -> dict[str, Any]:
        """What `after_validation` has changed besides weights, as plain values: stored in checkpoints."""
        return {}

    def load_training_state(self, state: dict[str, Any], optimizer: Any) -> None:
        """Restore what `training_state` gave, on resuming."""

    def upgrade_state_dict(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Rename the keys of older files; returns the state that `load_state_dict(strict=True)` takes."""
        return upgrade_weight_norm(state)

    def set_each(self, hook: str, num_updates: int, *more: Any) -> None:
        """Call a hook of every submodule with one, this model's first: `before_forward`, `after_update` and so on."""
        for module in self._hooked(hook):
            getattr(module, hook)(num_updates, *more)

    def _hooked(self, hook: str) -> Iterator[nn.Module]:
        return (module for module in self.modules() if callable(getattr(type(module), hook, None)))


def upgrade_weight_norm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Old spelling of a weight-normed convolution (`weight_g`, `weight_v`) to torch's parametrizations."""
    endings = {".weight_g": ".parametrizations.weight.original0", ".weight_v": ".parametrizations.weight.original1"}
    renamed = {}
    for key, value in state.items():
        for old, new in endings.items():
            if key.endswith(old):
                key = key[: -len(old)] + new
        renamed[key] = value
    return renamed
