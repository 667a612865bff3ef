"""Layers that several models share: what makes them differ from torch's own, and what must not."""

import pytest
import torch
import torch.nn.functional as F

from ecg_signals.modules import conv_position
from ecg_signals.modules.attention import SelfAttention
from ecg_signals.modules.autograd import scale_gradient
from ecg_signals.modules.conv_position import ConvPosition, centred_convolution
from ecg_signals.modules.conv_stem import ConvStem
from ecg_signals.modules.dropout import Dropout
from ecg_signals.modules.pooling import pool_frames
from ecg_signals.modules.quantizer import GumbelQuantizer
from ecg_signals.modules.vit import VitBlock


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_keeps_the_mean_and_passes_the_same_mask_to_the_gradient(p):
    torch.manual_seed(0)
    x = torch.ones(1001, 101, requires_grad=True)
    y = Dropout(p).train()(x)
    assert float((y == 0).float().mean()) == pytest.approx(p, abs=0.01)
    assert float(y.mean().detach()) == pytest.approx(1.0, abs=0.03)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())
    assert torch.equal(Dropout(p).eval()(x), x) and torch.equal(Dropout(0.0).train()(x), x)


def test_dropout_follows_the_seed():
    layer, x = Dropout(0.5).train(), torch.ones(100)
    torch.manual_seed(1)
    first = layer(x)
    torch.manual_seed(1)
    assert torch.equal(layer(x), first) and not torch.equal(layer(x), first)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_is_the_same_by_every_path(dtype):
    torch.manual_seed(0)
    layer = SelfAttention(16, 4).to(dtype).eval()
    x = torch.randn(2, 10, 16, dtype=dtype)
    attend = torch.arange(10).view(1, 1, 1, 10) < torch.tensor([10, 6]).view(2, 1, 1, 1)
    plain, none = layer(x, attend)
    explicit, weights = layer(x, attend, need_weights=True)
    tolerance = {"rtol": 1e-5, "atol": 1e-6} if dtype == torch.float32 else {"rtol": 2e-2, "atol": 2e-2}
    torch.testing.assert_close(plain, explicit, **tolerance)
    assert none is None and weights.shape == (2, 10, 10)
    assert (weights[1, :, 6:] == 0).all()
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(2, 10, dtype=dtype), rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("kernel", [7, 8])
def test_position_is_a_weight_normed_convolution(kernel):
    layer = ConvPosition(12, kernel, groups=3)
    x = torch.randn(2, 20, 12)
    conv = layer.pos_conv[0]
    expected = F.conv1d(x.transpose(1, 2), conv.weight, conv.bias, padding=kernel // 2, groups=3)[..., :20]
    torch.testing.assert_close(layer(x), x + F.gelu(expected).transpose(1, 2))


@pytest.mark.parametrize("frames, kernel", [(40, 32), (40, 31), (7, 64), (1, 5), (9, 1), (50, 2)])
def test_a_convolution_through_the_spectrum_equals_the_direct_one_with_its_gradients(monkeypatch, frames, kernel):
    monkeypatch.setattr(conv_position, "_spectrum_pays", lambda *_: True)
    torch.manual_seed(0)
    shapes = ((3, frames, 8), (6, 4, kernel), (6,))
    x, weight, bias = values = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    direct = F.conv1d(x.transpose(1, 2), weight, bias, padding=kernel // 2, groups=2)[..., :frames].transpose(1, 2)
    found = centred_convolution(x, weight, bias, groups=2)
    upstream = torch.randn_like(direct)
    for one, other in zip([found, *torch.autograd.grad(found, values, upstream)],
                          [direct, *torch.autograd.grad(direct, values, upstream)]):  # fmt: skip
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def test_a_wide_kernel_on_a_large_batch_goes_through_the_spectrum_and_a_narrow_one_does_not(monkeypatch):
    taken = []
    through = conv_position._through_the_spectrum
    monkeypatch.setattr(conv_position, "_through_the_spectrum", lambda *given: taken.append(0) or through(*given))
    torch.manual_seed(0)
    for batch, kernel in ((16, 64), (16, 3), (1, 64)):
        x, weight, bias = torch.randn(batch, 40, 64), torch.randn(64, 32, kernel) / 32, torch.randn(64)
        direct = F.conv1d(x.transpose(1, 2), weight, bias, padding=kernel // 2, groups=2)[..., :40].transpose(1, 2)
        torch.testing.assert_close(centred_convolution(x, weight, bias, 2), direct, rtol=1e-5, atol=1e-5)
    assert len(taken) == 1


@pytest.mark.parametrize("spec", [[(8, 2, 2), (4, 3, 3)], [(8, 5, 3), (4, 3, 1)], [(6, 2, 3)]])
def test_the_convolution_stem_equals_convolutions(spec):
    stem = ConvStem(spec, in_leads=3, bias=True)
    x = torch.randn(2, 3, 101)
    expected = x
    for index, block in enumerate(stem.conv_layers):
        expected = block[0](expected)
        expected = F.gelu(block[2](expected) if index == 0 else expected)
    found = stem(x)
    torch.testing.assert_close(found, expected.transpose(1, 2))
    assert found.shape[1] == stem.frames(101)


def test_padded_frames_follow_the_convolutions():
    stem = ConvStem([(4, 5, 3), (4, 2, 2)], in_leads=2)
    padding = torch.arange(60).expand(3, 60) >= torch.tensor([60, 31, 3])[:, None]
    frames = [stem.frames(60), stem.frames(31), 0]
    mask = stem.padded_frames(padding, stem.frames(60))
    assert (~mask).sum(dim=1).tolist() == frames
    assert torch.equal(mask, stem.padded_frames(padding.unsqueeze(1).expand(-1, 2, -1), stem.frames(60)))


def test_scale_gradient_leaves_the_value_alone():
    x = torch.randn(5, requires_grad=True)
    y = scale_gradient(x, 0.25)
    assert torch.equal(y, x)
    y.sum().backward()
    assert torch.equal(x.grad, torch.full((5,), 0.25))


def test_both_poolings_are_the_mean_without_padding_and_differ_at_true_zeros():
    x = torch.randn(2, 6, 3)
    padding = torch.arange(6).expand(2, 6) >= torch.tensor([6, 4])[:, None]
    for pooling in ("valid", "nonzero"):
        torch.testing.assert_close(pool_frames(x, None, pooling), x.mean(dim=1))
        torch.testing.assert_close(pool_frames(x, padding, pooling)[1], x[1, :4].mean(dim=0))
    x[0, :3, 0] = 0
    assert float(pool_frames(x, None, "nonzero")[0, 0]) == pytest.approx(2 * float(pool_frames(x, None)[0, 0]))
    assert pool_frames(torch.zeros(1, 4, 2), None, "nonzero").tolist() == [[0, 0]]


def test_the_quantizer_returns_codewords_and_lets_gradients_through():
    torch.manual_seed(0)
    quantizer = GumbelQuantizer(6, num_vars=5, groups=2, out_dim=8, temperature=(2.0, 0.5, 0.9)).train()
    x = torch.randn(4, 7, 6, requires_grad=True)
    found = quantizer(x)
    torch.testing.assert_close(found["quantized"], quantizer.decode(found["codes"]))
    found["quantized"].square().sum().backward()
    assert x.grad.abs().sum() > 0 and quantizer.vars.grad.abs().sum() > 0
    assert 2 <= found["prob_perplexity"] <= 10
    codes = quantizer.sample_codes((50, 4))
    assert codes.shape == (50, 4, 2) and set(codes.flatten().tolist()) == set(range(5))


@pytest.mark.parametrize("attn_dropout", [0.0, 1e-9])  # torch's kernel, and ours
def test_a_block_never_attends_to_padding(attn_dropout):
    torch.manual_seed(0)
    block = VitBlock(8, 2, 16, head_dim=6, attn_dropout=attn_dropout).train()
    x = torch.randn(2, 7, 8)
    padding = torch.zeros(2, 7, dtype=torch.bool)
    padding[1, 4:] = True
    y = block(x, padding)
    torch.testing.assert_close(y[1:, :4], block(x[1:, :4]))
    torch.testing.assert_close(y[:1], block(x[:1]))
