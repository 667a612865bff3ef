"""Self-supervision by views, on any encoder: losses and averages as published, and what each model promises."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml

from ecg_signals.config import ConfigError
from ecg_signals.criteria.swav import sinkhorn
from ecg_signals.models.heads.finetuned import EncoderWithHead
from ecg_signals.modules.queue import Queue
from ecg_signals.registry import build, get_entry


def stands_alone(model):
    """Whether it is an encoder, and not around one."""
    return not issubclass(model, EncoderWithHead) and issubclass(model, model.encoder_class or model)


SMALL = yaml.safe_load((Path(__file__).parents[2] / "contract/small.yaml").read_text())["model"]
ENCODERS = [
    name for name, entry in SMALL.items()
    if not {"num_labels", "encoder"} & set(entry["options"]) and stands_alone(get_entry("model", name).cls)
]  # fmt: skip
TINY = {"encoder": {"_name": "xresnet1d", **SMALL["xresnet1d"]["options"]}, "hidden_dim": 8, "out_dim": 6}
METHODS = ("simclr", "byol", "moco_v3", "moco", "swav")
VIEWS = torch.randn(6, 12, 200, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def losses(golden):
    return {key: torch.from_numpy(value) for key, value in np.load(golden / "benchmarks" / "ssl_losses.npz").items()}


class Answering(torch.nn.Module):
    """A model that answers what it is told to."""

    def __init__(self, **output):
        super().__init__()
        self.output = output

    def forward(self, source, compare=True):
        return self.output


def loss_of(name, output, **options):
    """A criterion's loss per ECG, for this output of a model."""
    out = build("criterion", name, **options)(Answering(**output), {"net_input": {"source": VIEWS}})
    return out.loss / out.sample_size


def rows(first, second):
    return torch.stack([first, second], dim=1).flatten(0, 1)


def one_update(model, criterion, updates=0, **entries):
    """As the trainer makes it; returns the loss."""
    model.train()
    model.set_each("before_forward", updates)
    loss = build("criterion", criterion)(model, {"net_input": {"source": VIEWS}, **entries}).loss
    loss.backward()
    optimizer = torch.optim.SGD(model.param_groups(None)[0]["params"], lr=0.1)
    model.set_each("before_update", updates, optimizer)
    optimizer.step()
    model.set_each("after_update", updates + 1)
    return loss


# ---------------------------------------------------------------------- as published


def test_byols_loss_is_the_published_one(losses):
    output = {"predicted": rows(losses["byol/h1"], losses["byol/h2"])}
    output["target"] = rows(losses["byol/zt1"], losses["byol/zt2"])
    assert float(loss_of("byol", output)) == pytest.approx(float(losses["byol/loss"]), abs=1e-6)


def test_byols_momentum_follows_the_published_schedule(losses):
    model = build("model", "byol", **TINY, max_update=100)
    found = [model.momentum(int(step)) for step in losses["byol/tau_steps"]]
    np.testing.assert_allclose(found, losses["byol/tau"].numpy(), rtol=1e-9)


def test_the_average_takes_weights_alone_as_published_or_everything(losses):
    def net(kind):
        prefix = f"ema/{kind}/"
        layers = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
        found = {key.removeprefix(prefix): value for key, value in losses.items() if key.startswith(prefix)}
        layers.load_state_dict(found, strict=False)
        return layers

    for averaged in ("weights", "all"):
        model = build("model", "byol", **TINY, averaged=averaged, final_encoder_momentum=0.996)
        model.encoder, model.target_encoder = net("online"), net("target_before")
        model.encoder[1].running_mean.fill_(1.0)
        model.encoder[1].num_batches_tracked.fill_(7)
        model.after_update(1)
        found, buffers = dict(model.target_encoder.named_parameters()), dict(model.target_encoder.named_buffers())
        for key, value in net("target_after").named_parameters():
            if averaged == "all" and "bias" in key:
                value = 0.996 * losses[f"ema/target_before/{key}"] + 0.004 * losses[f"ema/online/{key}"]
            torch.testing.assert_close(found[key], value)
        share = 0.004 if averaged == "all" else 0.0
        torch.testing.assert_close(buffers["1.running_mean"], torch.full((4,), share))
        assert buffers["1.num_batches_tracked"] == (7 if averaged == "all" else 0)


def test_mocos_loss_and_its_queue_are_the_published_ones(losses):
    output = {"projected": losses["moco/q"], "target": losses["moco/k"], "queue": losses["moco/queue"].T}
    assert float(loss_of("moco", output)) == pytest.approx(float(losses["moco/loss_T0.07"]), rel=1e-5)
    queue = Queue(10, 5)
    queue.rows.copy_(losses["moco/queue"].T)
    for keys, after, place in zip(*(losses[f"moco/enq_{key}"] for key in ("keys", "queue_after", "ptr_after"))):
        queue.wait(keys)
        queue.after_update(1)
        assert torch.equal(queue.rows, after.T) and queue.place == place


@pytest.mark.parametrize("iterations", [1, 3])
def test_swavs_assignments_are_the_published_ones(losses, iterations):
    scores, wanted = losses["swav/scores"], losses[f"swav/assign_it{iterations}"]
    torch.testing.assert_close(sinkhorn(scores, 0.05, iterations), wanted, rtol=1e-4, atol=1e-6)
    more, counted = torch.cat([scores, scores.flip(0)]), torch.arange(24)[:, None] < 12
    torch.testing.assert_close(sinkhorn(more, 0.05, iterations, counted)[:12], wanted, rtol=1e-4, atol=1e-6)


def test_moco_v3s_loss_is_the_formula_of_its_paper():
    torch.manual_seed(0)
    q1, q2, k1, k2 = (F.normalize(torch.randn(5, 4), dim=1) for _ in range(4))
    own = torch.arange(5)
    wanted = 2 * 0.2 * (F.cross_entropy(q1 @ k2.T / 0.2, own) + F.cross_entropy(q2 @ k1.T / 0.2, own))
    found = loss_of("moco_v3", {"predicted": 3 * rows(q1, q2), "target": 5 * rows(k1, k2)})
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("own_term", ["none", "published"])
def test_simclr_compares_projections(losses, own_term):
    key = {"none": "loss_exact_T0.5", "published": "loss_T0.5"}[own_term]
    projected = rows(losses["ntxent/z1"], losses["ntxent/z2"])
    found = loss_of("simclr", {"projected": projected, "pooled": torch.zeros(16, 2)}, temp=0.5, own_term=own_term)
    assert float(found) == pytest.approx(float(losses[f"ntxent/{key}"]), rel=1e-5)


# ---------------------------------------------------------------------- on any encoder


@pytest.mark.parametrize("name", ENCODERS)
def test_any_encoder_learns_from_views_and_a_head_stands_on_it(name):
    torch.manual_seed(0)
    entry = SMALL[name]
    options = {"encoder": {"_name": name, **entry["options"]}, "pool": "mean", "hidden_dim": 8, "out_dim": 6}
    source = torch.randn(4, entry.get("leads", 12), entry.get("samples", 400))
    patients = {"patient_id": torch.tensor([0, 0, 1, 1]), "segment": torch.tensor([0, 1, 0, 1])}
    for method, criterion in (("simclr", "cmsc"), ("byol", "byol")):
        model = build("model", method, **options)
        out = build("criterion", criterion)(model.train(), {"net_input": {"source": source}, **patients})
        out.loss.backward()
        assert any(value.grad is not None and value.grad.abs().max() > 0 for value in model.encoder.parameters())
        assert model.dim == model.encoder.dim and model(source)["projected"].shape == (4, 6)


@pytest.mark.parametrize("name", METHODS)
def test_an_update_trains_what_it_should_and_nothing_else(name):
    torch.manual_seed(0)
    more = {"byol": {"max_update": 4}, "moco_v3": {"max_update": 4}, "moco": {"queue_size": 9},
            "swav": {"prototypes": 7, "queue_size": 4, "freeze_prototypes_updates": 1}}.get(name, {})  # fmt: skip
    encoder = {"_name": "vit", **SMALL["vit"]["options"]} if name == "moco_v3" else TINY["encoder"]
    model = build("model", name, **{**TINY, "encoder": encoder, **more})
    before = {key: value.clone() for key, value in model.state_dict().items()}
    one_update(model, name)
    still = {key for key, value in model.state_dict().items() if torch.equal(value, before[key])}
    weights = {key for key, _ in model.named_parameters() if key.endswith("weight")}
    assert {key for key in still & weights if "encoder" in key} == {
        key for key in weights if name == "moco_v3" and "encoder.patch_embed" in key
    }
    assert {key for key in before if key.endswith(".rows")}.isdisjoint(still)
    held = model.state_dict().get("prototypes.weight", torch.zeros(0)).clone()
    one_update(model, name, 1)
    if name == "swav":
        torch.testing.assert_close(held, before["prototypes.weight"])
        assert not torch.allclose(model.prototypes.weight, held)
        torch.testing.assert_close(model.prototypes.weight.norm(dim=1), torch.ones(7))


def test_a_schedule_of_momentum_needs_an_end():
    with pytest.raises(ConfigError, match=r"optimization\.max_update=0; set it, or model\.final_encoder_momentum"):
        build("model", "byol", **TINY).param_groups(None)


def test_what_is_no_encoder_is_refused():
    cases = [({}, "NAME"), ({"encoder": {"_name": "jepa", **SMALL["jepa"]["options"]}}, "vit"), ({"encoder": {
        "_name": "simclr", **TINY}}, "NAME")]  # fmt: skip
    for options, instead in cases:
        with pytest.raises(ConfigError, match=rf"set model\.encoder\._name={instead}"):
            build("model", "simclr", **options)


def test_swav_asks_every_other_view_for_the_assignment_of_the_two():
    torch.manual_seed(0)
    first, second, small = (F.normalize(torch.randn(5, 8), dim=1) for _ in range(3))
    q1, q2 = (sinkhorn(scores, 0.05, 3) for scores in (first, second))
    likely = {key: (scores / 0.1).log_softmax(1) for key, scores in (("1", first), ("2", second), ("s", small))}
    pairs = [(q1, "2"), (q1, "s"), (q2, "1"), (q2, "s")]
    wanted = -sum((target * likely[key]).sum() for target, key in pairs) / len(pairs) / 5

    class Small(Answering):
        def forward(self, source, small, compare):
            return self.output

    model = Small(scores=rows(first, second), small_scores=small[:, None])
    out = build("criterion", "swav")(model, {"net_input": {"source": VIEWS}, "small": torch.zeros(5, 1, 12, 9)})
    torch.testing.assert_close(out.loss / out.sample_size, wanted)


def test_a_queue_counts_once_it_is_full():
    criterion = build("criterion", "swav")
    scores = torch.randn(4, 6)
    empty, full = torch.zeros(3, 6), torch.randn(3, 6)
    half = torch.cat([full[:2], empty[:1]])
    alone = criterion.assign(scores, None)
    assert torch.equal(criterion.assign(scores, half), alone)
    torch.testing.assert_close(criterion.assign(scores, full), sinkhorn(torch.cat([scores, full]), 0.05, 3)[:4])


def test_a_probe_takes_over_the_encoder_of_a_view_model(tmp_path):
    from ecg_signals.checkpoint.write import write_checkpoint
    from ecg_signals.interop.layout import ModelSource, get_layout

    model = build("model", "byol", **TINY)
    options = {key: value for key, value in model.cfg.to_dict().items() if key != "_name"}
    content = get_layout("ecg_signals").write(ModelSource("byol", options, model.state_dict(), where="memory"))
    write_checkpoint(tmp_path / "a.pt", content)
    probe = build("model", "classifier", model_path=str(tmp_path / "a.pt"), pool="max_mean", num_labels=3)
    assert type(probe.encoder) is get_entry("model", "xresnet1d").cls
    assert all(torch.equal(value, model.encoder.state_dict()[key]) for key, value in probe.encoder.state_dict().items())
