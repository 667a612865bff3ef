"""The options of HuBERT-ECG's encoder, which its layers and every model of the family read."""

from dataclasses import dataclass

from torch import nn

from ecg_signals.config import option
from ecg_signals.models.base import StartOptions
from ecg_signals.modules import heads
from ecg_signals.modules.recompute import RECOMPUTE

ACTIVATIONS: dict[str, type[nn.Module]] = {**heads.ACTIVATIONS, "silu": nn.SiLU}


@dataclass
class HubertBackboneConfig(StartOptions):
    """Field names are those of the published `config.json`, sizes and dropouts those of HuBERT-ECG base."""

    conv_dim: list[int] = option([512] * 5, "channels of each convolution", least=1)
    conv_kernel: list[int] = option(
        [10, 3, 3, 2, 2], "samples, then frames, that each convolution sees; this: 100 Hz input", least=1
    )
    conv_stride: list[int] = option(
        [4, 2, 2, 2, 2], "stride of each convolution; the product is the samples per frame", least=1
    )
    conv_bias: bool = option(False, "convolutions have a bias")
    feat_extract_norm: str = option("group", "norm of the first convolution, or of all", choices=("group", "layer"))
    feat_extract_activation: str = option("gelu", "after each convolution", choices=tuple(ACTIVATIONS))
    feat_proj_layer_norm: bool = option(True, "layer norm before the projection")
    feat_proj_dropout: float = option(0.0, "dropout after the projection", least=0, most=1)
    hidden_size: int = option(768, "width; 512 small, 768 base, 960 large", least=1)
    num_hidden_layers: int = option(12, "blocks; 8 small, 12 base, 16 large", least=0)
    num_attention_heads: int = option(12, "attention heads; 8 small, 12 base, 12 large", least=1)
    intermediate_size: int = option(
        3072, "width of the feed-forward layers; 2048 small, 3072 base, 3840 large", least=1
    )
    hidden_act: str = option("gelu", "in the feed-forward layers", choices=tuple(ACTIVATIONS))
    hidden_dropout: float = option(0.1, "dropout of every branch and of the encoder's input", least=0, most=1)
    activation_dropout: float = option(0.1, "dropout inside the feed-forward layers", least=0, most=1)
    attention_dropout: float = option(0.1, "dropout of attention weights", least=0, most=1)
    layerdrop: float = option(
        0.1, "chance of skipping a block in training; 0.1 small and base, 0 large", least=0, most=1
    )
    checkpoint_activations: bool = option(False, RECOMPUTE, ours=True)
    layer_norm_eps: float = option(1e-5, "added to the variance in layer norms", above=0)
    do_stable_layer_norm: bool = option(False, "norms before the branches instead of after")
    num_conv_pos_embeddings: int = option(128, "frames that the positional convolution sees", least=1)
    num_conv_pos_embedding_groups: int = option(16, "groups of the positional convolution", least=1)
    initializer_range: float = option(0.02, "standard deviation of new linear weights", least=0)
    dynamic_reg_interval: int = option(
        0, "validations without improvement between two increases of dropout and weight decay; 0 off", least=0
    )
    masked_spec_embed: bool = option(True, "hold the vector that replaces masked frames")
    frame_mask: str = option(
        "receptive_field",
        "padding: frames that see any of it, or the published count",
        choices=("receptive_field", "count"),
    )
