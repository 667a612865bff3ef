"""M3AE for ECGs and reports: two encoders that read each other; tell hidden words, hidden frames, and what fits."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ecg_signals.config import ConfigError, option
from ecg_signals.models.base import ModelOutput
from ecg_signals.models.encoders.ecg_transformer import ECGTransformer, ECGTransformerConfig
from ecg_signals.models.text.m3ae_heads import AlignmentHead, FramesHead, WordsHead
from ecg_signals.models.text.text_model import Signal, TextModel
from ecg_signals.models.text.text_options import Frames, Text, VocabularyOptions, check_size, join_ecgs
from ecg_signals.modules.bert import BertEncoder, BertLayer, BertPooler, attended, init_bert
from ecg_signals.registry import register_model
from ecg_signals.runtime.batch import sent

BERT_WIDTH, BERT_HEADS = 768, 12
WHOLE = 5000  # samples whose frames say how many samples a frame stands for


@dataclass
class M3AEConfig(VocabularyOptions, ECGTransformerConfig):
    load_pretrained_weights: bool = option(
        True, "begin the text's side with BERT's weights, in language_model_path; of no effect once a run has begun"
    )
    pretrained_model_path: str | None = option(None, "checkpoint whose encoder the ECG's side begins with")
    hidden_dim: int = option(768, "width of the layers in which both sides read each other", least=1)
    num_layers: int = option(6, "read by nothing, as published; see num_top_layer", least=0)
    num_heads: int = option(12, "attention heads of these layers; they divide hidden_dim", least=1)
    drop_rate: float = option(0.1, "dropout of these layers and of the text's side", least=0, most=1)
    num_top_layer: int = option(6, "layers in which both sides read each other", least=1)
    mim_layer: int = option(
        3, "the layer of these whose input tells the hidden frames; -1: the last one's output", least=-1
    )
    mim_prob: float = option(0.75, "share of the frames that are hidden", least=0, most=1)
    mim_decoder_hidden_dim: int = option(384, "width of the decoder of hidden frames", least=1)
    mim_decoder_num_layers: int = option(4, "its layers", least=0)
    mim_decoder_num_heads: int = option(6, "its attention heads; they divide mim_decoder_hidden_dim", least=1)
    language_layers: int = option(12, "layers of the text's side; of a file, as its weights are", least=0, ours=True)
    language_embed_dim: int = option(768, "width of the text's side", least=1, ours=True)
    language_ffn_embed_dim: int = option(3072, "width inside its perceptrons", least=1, ours=True)
    language_attention_heads: int | None = option(
        None, "its attention heads; None: 12 where it is as wide as BERT (768), else num_heads", least=1, ours=True
    )
    language_positions: int = option(512, "tokens that it has places for", least=1, ours=True)
    num_ecgs: int = option(1, "2: with a separator between two ECGs", choices=(1, 2), ours=True)
    pretraining_heads: bool = option(True, "with the heads that only pretraining needs", ours=True)


@register_model("m3ae", dataclass=M3AEConfig)
class M3AE(TextModel):
    """Source: Chen et al. 2022, Multi-Modal Masked Autoencoders for Medical Vision-and-Language Pre-Training,
    arXiv:2209.07098."""

    cfg: M3AEConfig
    encoder_name = "m3ae"
    AS_ENCODER: ClassVar[dict[str, Any]] = {"pretraining_heads": False}
    ARCHITECTURE: ClassVar[tuple[str, ...]] = (
        *ECGTransformer.ARCHITECTURE, "vocab_size", "max_text_size", "empty_text", "hidden_dim", "num_heads",
        "num_top_layer", "language_layers", "language_embed_dim", "language_ffn_embed_dim",
        "language_attention_heads", "language_positions",
    )  # fmt: skip
    NEW_WEIGHTS = ("mask_emb", "sep_embedding")

    def __init__(self, cfg: M3AEConfig) -> None:
        super().__init__(cfg)
        width, hidden = cfg.encoder_embed_dim, cfg.hidden_dim
        self._check(cfg)
        self.class_embedding = nn.Parameter(torch.rand(width))
        self.sep_embedding = nn.Parameter(torch.rand(width)) if cfg.num_ecgs == 2 else None
        self.ecg_encoder = ECGTransformer(cfg)
        self.language_encoder = BertEncoder(
            cfg.vocab_size, cfg.language_positions, cfg.language_layers, cfg.language_embed_dim,
            cfg.language_ffn_embed_dim, language_heads(cfg), cfg.drop_rate,
        )  # fmt: skip
        self.multi_modal_language_proj = nn.Linear(cfg.language_embed_dim, hidden)
        self.multi_modal_ecg_proj = nn.Linear(width, hidden)
        self.modality_type_embeddings = nn.Embedding(2, hidden)
        self.multi_modal_ecg_layers = self._layers()
        self.multi_modal_language_layers = self._layers()
        self.multi_modal_ecg_pooler = BertPooler(hidden)
        self.multi_modal_language_pooler = BertPooler(hidden)
        if cfg.pretraining_heads:
            self.mlm_head = WordsHead(hidden, cfg.vocab_size)
            self.mim_head = FramesHead(
                hidden, cfg.mim_decoder_hidden_dim, cfg.mim_decoder_num_layers, cfg.mim_decoder_num_heads, cfg.in_d,
                self.samples_per_frame,
            )  # fmt: skip
            self.itm_head = AlignmentHead(2 * hidden)
        for name, part in self.named_children():
            if name not in ("ecg_encoder", "language_encoder"):
                part.apply(init_bert)

    @staticmethod
    def _check(cfg: M3AEConfig) -> None:
        check_size("model.hidden_dim", cfg.hidden_dim, {"num_heads": cfg.num_heads})
        check_size(
            "model.language_embed_dim", cfg.language_embed_dim, {"language_attention_heads": language_heads(cfg)}
        )
        if cfg.pretraining_heads:
            heads = {"mim_decoder_num_heads": cfg.mim_decoder_num_heads}
            check_size("model.mim_decoder_hidden_dim", cfg.mim_decoder_hidden_dim, heads)
        if cfg.pretraining_heads and not -1 <= cfg.mim_layer < cfg.num_top_layer:
            raise ConfigError(
                f"model.mim_layer={cfg.mim_layer}, but there are model.num_top_layer={cfg.num_top_layer} layers; set "
                f"model.mim_layer to 0 to {cfg.num_top_layer - 1}, or to -1 for the last one's output"
            )
        if cfg.max_text_size > cfg.language_positions:
            raise ConfigError(
                f"model.max_text_size={cfg.max_text_size}, but there are places for {cfg.language_positions} tokens "
                f"(model.language_positions); set one of them to the other"
            )

    def _layers(self) -> nn.ModuleList:
        cfg = self.cfg
        layer = (cfg.hidden_dim, 4 * cfg.hidden_dim, cfg.num_heads, cfg.drop_rate, True)
        return nn.ModuleList(BertLayer(*layer) for _ in range(cfg.num_top_layer))

    @property
    def dim(self) -> int:
        return self.cfg.hidden_dim

    @property
    def attention_heads(self) -> int:
        return self.cfg.num_heads

    @property
    def samples_per_frame(self) -> int:
        return WHOLE // self.ecg_encoder.feature_extractor.frames(WHOLE)

    @property
    def sometimes_unused(self) -> bool:
        """The separator; the hidden frames' layers, and whatever stands behind `mim_layer` on the ECG's side."""
        return self.cfg.num_ecgs == 2 or self.cfg.pretraining_heads

    @classmethod
    def published_options(cls) -> dict[str, Any]:
        return ECGTransformer.published_options()

    @classmethod
    def stored_sizes(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """Sizes of the text's side, which fairseq-signals takes from BERT and does not store."""
        text = {
            key.partition("language_encoder.")[2]: value for key, value in state.items() if "language_encoder." in key
        }
        places, inner = text.get("embeddings.position_embeddings.weight"), "encoder.layer.{}.intermediate.dense.weight"
        if places is None:
            return {}
        layers = sum(key.endswith("intermediate.dense.weight") for key in text)
        sizes = {"language_positions": len(places), "language_embed_dim": places.shape[1], "language_layers": layers}
        first = text.get(inner.format(0))
        return sizes if first is None else {**sizes, "language_ffn_embed_dim": len(first)}

    def upgrade_state_dict(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Older files also hold the numbers of BERT's places."""
        state = super().upgrade_state_dict(state)
        return {key: value for key, value in state.items() if not key.endswith("embeddings.position_ids")}

    def bert_parts(self) -> dict[str, str]:
        return {"language_encoder": "all"} if self.cfg.load_pretrained_weights else {}

    @classmethod
    def encoder_files(cls, cfg: M3AEConfig) -> dict[str, str]:
        return {"ecg_encoder": cfg.pretrained_model_path} if cfg.pretrained_model_path else {}

    def read(
        self,
        first: Signal,
        second: Signal | None,
        text: Text,
        hidden: list[Tensor] | None = None,
        mask: bool = False,
        noise: Tensor | None = None,
    ) -> ModelOutput:
        """Args:
            mask: hide frames of the ECG, and give the answers of pretraining. Words are hidden by who makes the batch.
            noise: [batch, frames], in whose ascending order frames are kept; drawn from U(0, 1) when None.
        Returns: features [batch, frames, hidden_dim] (with mask those that were kept, in the order of their noise),
            text_features, cls [batch, hidden_dim] and text_cls, pooled [batch, 2 * hidden_dim] of both, padding_mask,
            text_padding_mask; with mask mlm_logits [batch, tokens, vocab_size], mim_logits [batch, frames, leads,
            samples], itm_logits [batch, 2], hidden_frames [batch, frames] (1 = hidden) and restore_order.
        """
        ecgs = self._placed(first)
        if second is not None and self.sep_embedding is not None:
            ecgs = join_ecgs(ecgs, self.sep_embedding, self._placed(second))
        kept: dict[str, Tensor] = {}
        if mask:
            ecgs, kept = self._keep(ecgs, noise)
        frames = self._with_class(ecgs)
        padding = attended(frames.padding)
        x, saliency = self.ecg_encoder.encoder(frames.x, frames.padding, need_weights=self.cfg.saliency, hidden=hidden)
        x = self.multi_modal_ecg_proj(x) + self.modality_type_embeddings.weight[1]
        attend = attended(text.padding)
        words = self.multi_modal_language_proj(self.language_encoder(text.ids, attend))
        words = words + self.modality_type_embeddings.weight[0]
        seen = x
        for number, (own, other) in enumerate(zip(self.multi_modal_language_layers, self.multi_modal_ecg_layers)):
            seen = x if number == self.cfg.mim_layer else seen
            words, x = own(words, attend, x, padding), other(x, padding, words, attend)
        cls, text_cls = self.multi_modal_ecg_pooler(x), self.multi_modal_language_pooler(words)
        output = ModelOutput(
            features=x[:, 1:], text_features=words, cls=cls, text_cls=text_cls,
            pooled=torch.cat([text_cls, cls], dim=-1), padding_mask=ecgs.padding, text_padding_mask=text.padding,
        )  # fmt: skip
        if saliency is not None:
            output["saliency"] = saliency
        if mask:
            output["mlm_logits"] = self.mlm_head(words)
            output["mim_logits"] = self.mim_head(x if self.cfg.mim_layer == -1 else seen, kept["restore_order"])
            output["itm_logits"] = self.itm_head(output["pooled"])
            output.update(kept)
        return output

    def extract_features(
        self, source: Tensor, padding_mask: Tensor | None = None, layers: Any = None, **question: Tensor | None
    ) -> ModelOutput:
        """`hidden_states` are those of the ECG's side before both sides read each other, without class token."""
        output = super().extract_features(source, padding_mask, layers, **question)
        if "hidden_states" in output:
            output["hidden_states"] = [state[:, 1:] for state in output["hidden_states"]]
        return output

    def _placed(self, ecg: Signal) -> Frames:
        """The transformer's input from one ECG, with its own places."""
        encoder = self.ecg_encoder
        frames, padding = encoder.frames(*ecg, mask=self.training and encoder.cfg.apply_mask)
        return Frames(encoder.place(frames, padding), padding)

    def _with_class(self, ecgs: Frames) -> Frames:
        token = self.class_embedding.to(ecgs.x.dtype).expand(len(ecgs.x), 1, -1)
        padding = ecgs.padding
        if padding is not None:
            padding = torch.cat([padding.new_zeros(len(padding), 1), padding], dim=1)
        return Frames(torch.cat([token, ecgs.x], dim=1), padding)

    def _keep(self, ecgs: Frames, noise: Tensor | None) -> tuple[Frames, dict[str, Tensor]]:
        """The frames that stay, and which went. Raises: ConfigError for ECGs of several lengths."""
        if ecgs.padding is not None:
            raise ConfigError(
                "m3ae hides frames of ECGs of one length, but this batch is padded; set task.max_sample_size to the "
                "shortest ECG's samples, or task.enable_padding=false"
            )
        items, frames = ecgs.x.shape[:2]
        noise = sent(torch.rand(items, frames) if noise is None else noise, ecgs.x.device)
        count = int(frames * (1 - self.cfg.mim_prob))
        order = noise.argsort(dim=1, stable=True)
        restore = order.argsort(dim=1)
        taken = order[:, :count, None].expand(-1, -1, ecgs.x.shape[2])
        found = {"hidden_frames": (restore >= count).to(ecgs.x.dtype), "restore_order": restore}
        return Frames(ecgs.x.gather(1, taken), None), found


def language_heads(cfg: M3AEConfig) -> int:
    """Attention heads of the text's side, which fairseq-signals takes from BERT whatever num_heads is."""
    return cfg.language_attention_heads or (BERT_HEADS if cfg.language_embed_dim == BERT_WIDTH else cfg.num_heads)
