"""A plain reading of wav2vec 2.0 with CMSC for ECG, and of its fine-tuning: a step with the published arithmetic.

As published: convolutions as convolutions, attention as two batched products around a softmax, the sum over weighted
codewords and the negatives gathered into one large tensor, Adam as a loop over parameters. Where torch has a function
for a step (weight norm, layer norm, GELU, cosine similarity) it is used. Nothing of `ecg_signals` is, so that this can
serve as the yardstick.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from turns import PlainStep


class PlainPretraining(PlainStep):
    """The step of a `wav2vec2_cmsc` with group norm, post-norm layers and a quantizer."""

    def convolutions(self, source: Tensor) -> Tensor:
        x = source
        for index, (_, _, stride) in enumerate(self.options["conv_layers"]):
            x = F.conv1d(x, self.weights[f"feature_extractor.conv_layers.{index}.0.weight"], stride=stride)
            if index == 0:
                prefix = "feature_extractor.conv_layers.0.2"
                x = F.group_norm(x, x.shape[1], self.weights[f"{prefix}.weight"], self.weights[f"{prefix}.bias"])
            x = F.gelu(x)
        if x.requires_grad:
            x.register_hook(lambda grad: grad * self.options["feature_grad_mult"])
        return x  # [batch, dim, frames]

    def position(self, x: Tensor) -> Tensor:
        direction = self.weights["conv_pos.pos_conv.0.parametrizations.weight.original1"]
        length = self.weights["conv_pos.pos_conv.0.parametrizations.weight.original0"]
        weight = torch._weight_norm(direction, length, 2)
        bias, kernel = self.weights["conv_pos.pos_conv.0.bias"], weight.shape[2]
        groups = self.options["conv_pos_groups"]
        y = F.conv1d(x.transpose(1, 2), weight, bias, padding=kernel // 2, groups=groups)
        y = y[..., : x.shape[1]]
        return x + F.gelu(y).transpose(1, 2)

    def attention(self, prefix: str, x: Tensor) -> Tensor:
        batch, frames, width = x.shape
        heads = self.options["encoder_attention_heads"]

        def split(y: Tensor) -> Tensor:
            return y.view(batch, frames, heads, width // heads).transpose(1, 2).reshape(batch * heads, frames, -1)

        query = split(self.linear(f"{prefix}.q_proj", x) * (width // heads) ** -0.5)
        key, value = split(self.linear(f"{prefix}.k_proj", x)), split(self.linear(f"{prefix}.v_proj", x))
        weights = torch.softmax(torch.bmm(query, key.transpose(1, 2)), dim=-1)
        mixed = torch.bmm(F.dropout(weights, self.options["attention_dropout"]), value)
        mixed = mixed.view(batch, heads, frames, -1).transpose(1, 2).reshape(batch, frames, width)
        return self.linear(f"{prefix}.out_proj", mixed)

    def encoder(self, x: Tensor) -> Tensor:
        p = self.options["dropout"]
        x = F.dropout(self.layer_norm("encoder.layer_norm", x), p)
        for layer in range(self.options["encoder_layers"]):
            prefix = f"encoder.layers.{layer}"
            mixed = F.dropout(self.attention(f"{prefix}.self_attn", x), p)
            x = self.layer_norm(f"{prefix}.self_attn_layer_norm", x + mixed)
            inner = F.dropout(F.gelu(self.linear(f"{prefix}.fc1", x)), self.options["activation_dropout"])
            x = self.layer_norm(f"{prefix}.final_layer_norm", x + F.dropout(self.linear(f"{prefix}.fc2", inner), p))
        return x

    def quantize(self, y: Tensor, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """y [rows, dim] -> codewords [rows, out], perplexity of the mean choice."""
        groups, codes = self.options["latent_groups"], self.options["latent_vars"]
        logits = self.linear("quantizer.weight_proj", y).float().view(len(y) * groups, codes)
        mean = logits.view(len(y), groups, codes).softmax(dim=-1).mean(dim=0)
        perplexity = torch.exp(-(mean * torch.log(mean + 1e-7)).sum(dim=-1)).sum()
        soft = ((logits + batch["gumbel_noise"]) / batch["gumbel_temp"]).softmax(dim=-1)
        hard = torch.zeros_like(soft).scatter_(1, soft.argmax(dim=-1, keepdim=True), 1.0)
        chosen = (hard - soft.detach() + soft).view(len(y), -1, 1)
        words = (chosen * self.weights["quantizer.vars"]).view(len(y), groups, codes, -1).sum(dim=2)
        return words.flatten(1), perplexity

    def contrast(self, predicted: Tensor, targets: Tensor, negatives: Tensor) -> Tensor:
        """predicted, targets [batch, M, dim], negatives int64 [batch, M * N] -> logits [batch * M, 1 + N]."""
        batch, hidden, dim = targets.shape
        drawn = targets.flatten(0, 1)[negatives.flatten()].view(batch, hidden, -1, dim).permute(2, 0, 1, 3)
        same = (drawn == targets).all(dim=-1)
        candidates = torch.cat([targets.unsqueeze(0), drawn])
        logits = torch.cosine_similarity(predicted.float(), candidates.float(), dim=-1) / self.options["logit_temp"]
        logits[1:] = logits[1:].masked_fill(same, float("-inf"))
        return logits.permute(1, 2, 0).flatten(0, 1)

    def pair_loss(self, x: Tensor, batch: dict[str, Tensor]) -> Tensor:
        pooled = x.float().sum(dim=1) / (x != 0).sum(dim=1)
        pooled = pooled / pooled.norm(dim=1, keepdim=True).detach().clamp(min=1e-8)
        first, second = batch["segment"] == 0, batch["segment"] == 1
        similar = pooled[first] @ pooled[second].t() / 0.1
        same = batch["patient_id"][first].unsqueeze(1) == batch["patient_id"][second].unsqueeze(0)
        rows, columns = similar.log_softmax(dim=1), similar.t().log_softmax(dim=1)
        return -0.5 * rows[same].mean() - 0.5 * columns[same.t()].mean()

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, int]:
        options = self.options
        features = self.convolutions(batch["source"])
        penalty = features.float().pow(2).mean()
        features = self.layer_norm("layer_norm", features.transpose(1, 2))
        mask = batch["mask_indices"]
        targets = F.dropout(features.clone(), options["dropout_features"])[mask]
        x = F.dropout(self.linear("post_extract_proj", features), options["dropout_input"])
        x[mask] = self.weights["mask_emb"].to(x.dtype)
        x = self.encoder(self.position(x))
        words, perplexity = self.quantize(targets, batch)
        targets = self.linear("project_q", words).view(len(x), -1, options["final_dim"])
        predicted = self.linear("final_proj", x[mask].view(len(x), -1, x.shape[-1]))
        logits = self.contrast(predicted, targets, batch["neg_idxs"])
        size = len(logits)
        total = options["latent_groups"] * options["latent_vars"]
        loss = F.cross_entropy(logits, torch.zeros(size, dtype=torch.long, device=logits.device), reduction="sum")
        loss = loss + 0.1 * size * (total - perplexity) / total + 10 * size * penalty
        return loss + size * self.pair_loss(x, batch), size


class PlainFinetuning(PlainPretraining):
    """The step of a classifier on that encoder, whose convolutions are frozen.

    Args:
        weights: of an `ecg_transformer_classifier`, the encoder's without their prefix.
    """

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, int]:
        with torch.no_grad():
            features = self.convolutions(batch["source"])
        features = self.layer_norm("layer_norm", features.transpose(1, 2))
        x = F.dropout(self.linear("post_extract_proj", features), self.options["dropout_input"])
        x = F.dropout(self.encoder(self.position(x)), self.options["final_dropout"])
        pooled = x.sum(dim=1) / (x != 0).sum(dim=1)
        logits, labels = self.linear("proj", pooled).float(), batch["label"].float()
        return F.binary_cross_entropy_with_logits(logits, labels, reduction="sum"), labels.numel()
