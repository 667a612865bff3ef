import json
import math

import pytest
import torch

from ecg_signals.config import ConfigError
from ecg_signals.registry import build


def rates(name: str, updates: int, per_epoch: int = 10**9, **options) -> list[float]:
    schedule = build("lr_scheduler", name, **options)
    return [schedule.rate(update, 1 + update // per_epoch) for update in range(updates)]


def test_rates_and_states_equal_the_reference(golden):
    vectors = json.loads((golden / "fairseq_signals_trained/framework_vectors.json").read_text())["lr_schedules"]
    assert {case["scheduler"] for case in vectors} == {"fixed", "step", "tri_stage"}
    for case in vectors:
        schedule = build("lr_scheduler", case["scheduler"], lr=case["lr"], **case["cfg"])
        expected = case["lr_used_at_update"]
        found = [schedule.rate(update, 1 + update // case["updates_per_epoch"]) for update in range(len(expected))]
        assert found == pytest.approx(expected, rel=1e-12), case
        assert schedule.state_dict() == pytest.approx(case["state_dict"])


def test_the_rate_depends_on_nothing_asked_before():
    options = {"lr": [0.3, 0.2, 0.1], "warmup_updates": 3, "force_anneal": 3}
    schedule = build("lr_scheduler", "fixed", **options)
    forwards = [schedule.rate(update, 1 + update // 2) for update in range(10)]
    backwards = [schedule.rate(update, 1 + update // 2) for update in reversed(range(10))]
    assert forwards == backwards[::-1]


def test_step_answers_to_both_spellings_of_its_period():
    assert rates("step", 9, lr=[1.0], lr_deacy_period=3) == rates("step", 9, lr=[1.0], lr_decay_period=3)


def test_tri_stage_without_decay_holds_and_then_drops_to_the_final_rate():
    scales = {"init_lr_scale": 0.5, "final_lr_scale": 0.1}
    found = rates("tri_stage", 6, lr=[1.0], warmup_steps=2, hold_steps=2, decay_steps=0, **scales)
    assert found == pytest.approx([0.5, 0.75, 1.0, 1.0, 0.1, 0.1])


def test_cosine_is_half_way_at_half_time_and_starts_again_smaller():
    found = rates("cosine", 12, lr=[1.0], min_lr=0.2, max_update=10, warmup_updates=2)
    assert found[:3] == pytest.approx([0.2, 0.6, 1.0])
    assert found[6] == pytest.approx(0.6)
    assert found[10] == pytest.approx(0.1)
    longer = rates("cosine", 8, lr=[1.0], lr_period_updates=2, t_mult=2, lr_shrink=0.5)  # periods of 2, 4, 8 updates
    second = [0.25 * (1 + math.cos(math.pi * quarter / 4)) for quarter in range(4)]
    assert longer == pytest.approx([1, 0.5, *second, 0.25, 0.125 * (1 + math.cos(math.pi / 8))])


def test_one_cycle_rises_and_falls_on_half_cosines_as_fastai_anneals():
    def annealed(start, end, share):
        return end + (start - end) / 2 * (math.cos(math.pi * share) + 1)

    rise = [annealed(0.04, 1.0, update / 3) for update in range(3)]
    fall = [annealed(1.0, 4e-6, update / 7) for update in range(7)]
    found = rates("one_cycle", 12, lr=[1.0], max_update=10)
    assert found == pytest.approx([*rise, *fall, 4e-6, 4e-6])
    in_epochs = build("lr_scheduler", "one_cycle", lr=[1.0], max_epoch=2)
    in_epochs.set_epoch_length(5)
    assert [in_epochs.rate(update, 1) for update in range(12)] == found


def test_one_cycle_must_know_its_end():
    with pytest.raises(ConfigError, match=r"set optimization\.max_epoch"):
        build("lr_scheduler", "one_cycle", lr=[1.0])


def test_cosine_counted_in_epochs_equals_the_published_rates(golden):
    vectors = json.loads((golden / "st_mem/transforms/lr_schedule.json").read_text())
    schedule = build("lr_scheduler", "cosine", lr=[1.0], warmup_epochs=3, max_epoch=10)
    schedule.set_epoch_length(1000)
    found = {epoch: schedule.rate(round(float(epoch) * 1000), 1) for epoch in vectors["values"]}
    assert found == pytest.approx(vectors["values"], abs=1e-12)


def test_a_schedule_counted_in_epochs_needs_an_end():
    from_more = build("lr_scheduler", "cosine", lr=[1.0], warmup_epochs=3, max_epoch=10, warmup_init_lr=0.1)
    from_more.set_epoch_length(10)
    assert [from_more.rate(update, 1) for update in (0, 15)] == pytest.approx([0.1, 0.55])
    with pytest.raises(ConfigError, match=r"lr_scheduler\.warmup_epochs=3 .* set optimization\.max_epoch to more"):
        build("lr_scheduler", "cosine", lr=[1.0], warmup_epochs=3, max_epoch=3)


def test_linear_starts_at_zero_peaks_after_the_warmup_and_ends_at_zero():
    assert rates("linear", 11, lr=[1.0], warmup_updates=2, max_update=10) == pytest.approx(
        [0, 0.5, 1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125, 0]
    )
    assert rates("linear", 3, lr=[1.0], warmup_ratio=0.08, max_update=25) == pytest.approx([0, 0.5, 1.0])


def test_polynomial_decay_with_power_one_falls_linearly_to_its_end():
    found = rates("polynomial_decay", 8, lr=[1.0], warmup_updates=1, total_num_update=6, end_learning_rate=0.5)
    assert found == pytest.approx([0, 1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.5])
    assert rates("polynomial_decay", 3, lr=[1.0], total_num_update=4, power=2.0) == pytest.approx([1, 0.5625, 0.25])


def test_inverse_sqrt_halves_when_updates_quadruple():
    found = rates("inverse_sqrt", 17, lr=[1.0], warmup_updates=4)
    assert found[:5] == pytest.approx([0, 0.25, 0.5, 0.75, 1.0])
    assert found[16] == pytest.approx(0.5)


SCORES = [3.0, 2.0, 2.0, 1.99999, 2.5, None, 1.5, math.nan, 1.6, 1.7, 1.8, 1.9, 1.2, 1.3, 1.1, 1.3, 1.4]


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("options", [{}, {"lr_patience": 1, "lr_shrink": 0.5}, {"lr_threshold": 0.3, "lr_patience": 2}])
def test_the_rate_of_a_plateau_is_that_of_torch_and_goes_on_from_its_stored_state(options, sign):
    larger = sign < 0  # scores that rise, above 0 as torch's share of them expects
    scores = [score if score is None or sign > 0 else 10.0 - score for score in SCORES]
    made = {"lr": [0.1], "maximize_best_checkpoint_metric": larger, **options}
    schedule = build("lr_scheduler", "reduce_lr_on_plateau", **made)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, "max" if larger else "min", factor=options.get("lr_shrink", 0.1),
        patience=options.get("lr_patience", 0), threshold=options.get("lr_threshold", 1e-4),
    )  # fmt: skip
    for epoch, score in enumerate(scores, 1):
        schedule.after_epoch(2 * epoch, score)
        if score is not None and not math.isnan(score):
            theirs.step(score)
        resumed = build("lr_scheduler", "reduce_lr_on_plateau", **made)
        resumed.load_state_dict(schedule.state_dict())
        assert resumed.state_dict() == schedule.state_dict()
        schedule = resumed
        assert schedule.rate(2 * epoch, epoch + 1) == pytest.approx(optimizer.param_groups[0]["lr"])
    assert schedule.rate(99, 99) < 0.1


def test_a_plateau_warms_up_first_and_no_score_counts_meanwhile():
    schedule = build("lr_scheduler", "reduce_lr_on_plateau", lr=[1.0], warmup_updates=4)
    assert [schedule.rate(update, 1) for update in range(6)] == [0, 0.25, 0.5, 0.75, 1.0, 1.0]
    for updates, score, rate in ((2, 5.0, 1.0), (4, 9.0, 1.0), (6, 8.0, 1.0), (8, 8.5, 0.1)):
        schedule.after_epoch(updates, score)
        assert schedule.rate(9, 1) == pytest.approx(rate)
    schedule.load_state_dict({"lr": 3.0})  # another schedule's
    assert schedule.rate(9, 1) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("fixed", {"lr": []}, "optimization.lr is empty"),
        ("step", {"lr": [0.1, 0.2]}, "takes one learning rate"),
        ("tri_stage", {"lr": [0.1], "phase_ratio": [0.1, 0.2, 0.6], "max_update": 10}, "with sum 0.9"),
        ("tri_stage", {"lr": [0.1], "phase_ratio": [0.1, 0.2, 0.7]}, "optimization.max_update=N"),
        ("tri_stage", {"lr": [0.1], "decay_steps": 3, "final_lr_scale": 0.0}, "final_lr_scale"),
        ("cosine", {"lr": [0.1]}, "set optimization.max_update"),
        ("linear", {"lr": [0.1], "warmup_updates": 5, "max_update": 5}, "set optimization.max_update"),
        ("linear", {"lr": [0.1], "warmup_ratio": 1.5, "max_update": 5}, "warmup_ratio"),
        ("polynomial_decay", {"lr": [0.1]}, "lr_scheduler.total_num_update"),
        ("inverse_sqrt", {"lr": [0.1], "warmup_updates": 0}, "at least 1"),
        ("step", {"lr": [0.1], "lr_deacy_period": 0}, "lr_deacy_period to 1 or more"),
        ("step", {"lr": [0.1], "lr_decay_period": 0}, "lr_decay_period to 1 or more"),
        ("cosine", {"lr": [0.1], "lr_period_updates": 3, "t_mult": 0}, "t_mult to more than 0"),
        ("tri_stage", {"lr": [0.1], "decay_steps": -1}, "decay_steps to 0 or more"),
        ("fixed", {"lr": [0.1], "warmup_updates": -1}, "warmup_updates to 0 or more"),
    ],
)
def test_a_schedule_that_cannot_work_says_what_to_set(name, options, message):
    with pytest.raises(ConfigError, match=message):
        build("lr_scheduler", name, **options)
