"""What ecg-eval plans, by what was typed: nothing is trained here."""

from pathlib import Path
from typing import Any

import pytest

from ecg_signals.cli.eval import parse, read_recipe
from ecg_signals.comparison.options import EvalOptions
from ecg_signals.comparison.plan import make_plan, parse_share
from ecg_signals.comparison.runs import Plan
from ecg_signals.comparison.schedule import missing
from ecg_signals.config import UsageError


def planned(data: Path, out: Path, model: Any, *words: str) -> Plan:
    """By words of a command line."""
    usual = ["benchmark=[ptbxl/superdiagnostic]", "protocol=[scratch]", f"model=[{model}]", f"data={data}"]
    given, overrides = parse([*usual, f"out={out}", *words])
    return make_plan(EvalOptions.from_mapping(given), overrides, read_recipe)


def finish(run: Any) -> None:
    """Leave behind what a finished run leaves."""
    for test in run.tests:
        test.folder.mkdir(parents=True)
        (test.folder / "result.json").write_text("{}")


def test_machines_that_begin_at_different_times_share_all_runs_and_none_twice(
    small_ptbxl: Path, tiny: Path, tmp_path: Path
):
    plan = planned(small_ptbxl, tmp_path, tiny, "seeds=3", "protocol=[finetune_after_linear,scratch]")
    first = missing(parse_share("1/2", plan.runs))
    for run in first:
        finish(run)
    second = missing(parse_share("2/2", plan.runs))
    assert sorted(run.name for run in [*first, *second]) == sorted(run.name for run in plan.runs)
    assert all(run.after is None or run.after.folder in {one.folder for one in share}
               for share in (first, second) for run in share)  # fmt: skip


@pytest.mark.parametrize("text", ["0/2", "3/2", "2", "a/b", "1/0", "1/2/3"])
def test_a_share_is_the_kth_of_n(text: str):
    with pytest.raises(UsageError, match=r"is not K/N, such as 2/4"):
        parse_share(text, [])
