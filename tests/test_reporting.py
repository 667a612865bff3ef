import csv
import json
import logging
import os
import sys

import pytest

from ecg_signals.composition import resolve_config
from ecg_signals.config import ConfigError
from ecg_signals.files import CannotWrite
from ecg_signals.reporting import Reporter, append_csv, choose_format, setup_logging
from ecg_signals.trainer import Trainer


def config(**common):
    return resolve_config({"common": common})


def train(recipe, **common):
    recipe = {**recipe, "common": {**recipe["common"], **common}}
    trainer = Trainer(resolve_config(recipe))
    trainer.train()
    return trainer


def json_lines(caplog):
    return [(record.name, json.loads(record.message)) for record in caplog.records if record.message.startswith("{")]


def test_json_lines_have_the_references_keys_in_its_order(pretraining, golden, caplog):
    with caplog.at_level(logging.INFO):
        train(pretraining)
    ours = {name: list(row) for name, row in reversed(json_lines(caplog))}
    text = (golden / "fairseq_signals_trained" / "train_json_lines.tsv").read_text()
    reference = {name: list(json.loads(row)) for name, row in (line.split("\t") for line in text.splitlines())}
    own = ["segments_per_second", "data_wait"]
    assert ours["train_inner"] == [*reference["train_inner"], *own]
    assert ours["train"] == [*reference["train"], *(f"train_{key}" for key in own)]
    assert ours["valid"] == reference["valid"]


def test_json_values_are_strings_of_six_digits_but_for_the_epoch_and_the_update(pretraining, caplog):
    with caplog.at_level(logging.INFO):
        train(pretraining)
    name, row = json_lines(caplog)[0]
    assert (name, row["epoch"], row["update"]) == ("train_inner", 1, 0.25)
    assert all(isinstance(value, str) for key, value in row.items() if key not in ("epoch", "update"))
    assert row["lr"] == "0.001"


def test_simple_lines_read_as_fairseqs(pretraining, caplog):
    with caplog.at_level(logging.INFO):
        train(pretraining, log_format="simple")
    lines = [(record.name, record.message) for record in caplog.records]
    assert any(name == "train_inner" and text.startswith("epoch 001:      1 / 4 loss=") for name, text in lines)
    assert any(name == "train" and text.startswith("epoch 001 | loss ") for name, text in lines)
    start = "epoch 001 | valid on 'valid' subset | loss "
    assert any(name == "valid" and text.startswith(start) for name, text in lines)


def test_none_prints_no_statistics_and_still_stores_them(pretraining, caplog):
    with caplog.at_level(logging.INFO):
        trainer = train(pretraining, log_format="none")
    assert not [record for record in caplog.records if record.name in ("train", "train_inner", "valid")]
    assert len((trainer.save_dir / "metrics.jsonl").read_text().splitlines()) == 8 + 2 + 2


def test_csv_files_have_a_row_per_line_and_a_stable_order(pretraining, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train(pretraining, log_format="csv")
    with open("train_inner.csv", newline="") as source:
        rows = list(csv.DictReader(source))
    assert [int(row["step"]) for row in rows] == list(range(1, 9))
    assert list(rows[0])[:3] == ["step", "loss", "nsignals"]
    with open("valid.csv", newline="") as source:
        assert len(list(csv.DictReader(source))) == 2


def test_a_new_column_comes_last_and_keeps_the_rows(tmp_path):
    append_csv(tmp_path / "a.csv", {"loss": 1.0}, 1)
    append_csv(tmp_path / "a.csv", {"loss": 2.0, "auroc": 0.5}, 2)
    assert (tmp_path / "a.csv").read_text().split() == ["step,loss,auroc", "1,1.0,", "2,2.0,0.5"]


def test_a_bar_needs_a_terminal(monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    assert choose_format("tqdm", False) == choose_format(None, False) == choose_format(None, True) == "simple"
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert (choose_format(None, False), choose_format(None, True)) == ("tqdm", "simple")


def test_the_log_file_gets_every_message_once(tmp_path):
    found = config(log_file=str(tmp_path / "logs" / "train.txt"))
    root = logging.getLogger()
    before = list(root.handlers)
    try:
        for _ in range(3):
            setup_logging(found.common, master=True)
        logging.getLogger("x").warning("once")
    finally:
        for handler in [item for item in root.handlers if item not in before]:
            root.removeHandler(handler)
            handler.close()
    assert (tmp_path / "logs" / "train.txt").read_text() == "once\n"


def test_tensorboard_files_read_back(pretraining, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(pretraining, tensorboard_logdir=str(tmp_path / "board"))
    events = EventAccumulator(str(tmp_path / "board" / "train_inner")).Reload()
    assert [event.step for event in events.Scalars("loss")] == list(range(1, 9))
    assert EventAccumulator(str(tmp_path / "board" / "valid")).Reload().Scalars("best_loss")


def test_wandb_runs_offline(pretraining, tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    recipe = {**pretraining, "optimization": {"max_update": 1, "lr": [1e-3]}}
    train(recipe, wandb_project="ecg", log_format="none")
    assert list((tmp_path / "wandb").glob("offline-run-*"))


def test_other_ranks_write_nothing(tmp_path, capsys):
    reporter = Reporter(config(log_format="json", tensorboard_logdir=str(tmp_path)), tmp_path, master=False)
    reporter.interval({"loss": 1.0, "num_updates": 1}, 1, 1, 2)
    reporter.summary("valid", {"loss": 1.0, "num_updates": 1}, 1)
    assert not list(tmp_path.iterdir())


def reporter(folder, **common):
    return Reporter(config(log_format="none", **common), folder, master=True)


def stored(updates):
    return json.dumps({"split": "train", "epoch": 1, "num_updates": updates, "loss": 1.0})


def test_lines_that_no_run_wrote_are_left_out_of_metrics_and_kept_beside_it(tmp_path, caplog):
    strange = [b"[1, 2]", b"\x00\xff\x80", b"3", b"{broken", b'{"num_updates": "many"}', b"[" * 100_000]
    before = b"\n".join([stored(1).encode(), *strange, stored(2).encode(), stored(3).encode(), b'{"cut'])
    (tmp_path / "metrics.jsonl").write_bytes(before)
    (tmp_path / "metrics.jsonl.strange1").write_bytes(b"of another day")
    reporter(tmp_path).rewind(2)
    assert (tmp_path / "metrics.jsonl").read_text().splitlines() == [stored(1), stored(2)]
    assert (tmp_path / "metrics.jsonl.strange2").read_bytes() == before
    assert (tmp_path / "metrics.jsonl.strange1").read_bytes() == b"of another day"
    assert "6 of 9 lines" in caplog.text and "metrics.jsonl.strange2" in caplog.text


def test_metrics_cut_by_a_killed_run_lose_only_the_cut_line(tmp_path, caplog):
    (tmp_path / "metrics.jsonl").write_text(f"{stored(1)}\n{stored(2)[:20]}")
    reporter(tmp_path).rewind(5)
    assert (tmp_path / "metrics.jsonl").read_text() == stored(1) + "\n" and not caplog.text
    (tmp_path / "metrics.jsonl").write_text(stored(1))
    reporter(tmp_path).rewind(5)
    assert (tmp_path / "metrics.jsonl").read_text() == stored(1) + "\n"


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_metrics_that_are_no_file_are_one_message_that_says_what_to_type(tmp_path, make):
    make(tmp_path / "metrics.jsonl")
    with pytest.raises(ConfigError, match=r"metrics\.jsonl is not an ordinary file.*mv .*metrics\.jsonl\.old"):
        reporter(tmp_path).rewind(0)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"a,b\n1,2\n", b"step,loss\n1,2,3,4\n"])
def test_a_csv_that_is_no_table_of_a_run_stays_and_is_named(tmp_path, content):
    (tmp_path / "train.csv").write_bytes(content)
    with pytest.raises(ConfigError, match=r"train\.csv is not a table of a run's statistics; move it away"):
        append_csv(tmp_path / "train.csv", {"auroc": 1.0}, 2)
    assert (tmp_path / "train.csv").read_bytes() == content


@pytest.fixture
def full_disk(monkeypatch, tmp_path):
    """/dev/full takes no byte, as a full disk does."""
    if not os.path.exists("/dev/full"):
        pytest.skip("needs /dev/full")
    return lambda name: (tmp_path / name).symlink_to("/dev/full")


def test_a_full_disk_is_one_message_for_every_file_of_statistics(tmp_path, full_disk):
    full_disk("metrics.jsonl")
    with pytest.raises(CannotWrite, match=r"cannot write .*metrics\.jsonl: No space left.*free in.*last checkpoint"):
        reporter(tmp_path).summary("train", {"loss": 1.0, "num_updates": 1.0})


def test_a_log_that_cannot_be_written_is_given_up_with_one_message(tmp_path, full_disk, capsys, caplog):
    full_disk("train.log")
    root = logging.getLogger()
    before = list(root.handlers)
    try:
        setup_logging(config(log_file=str(tmp_path / "train.log")).common, master=True)
        for number in range(3):
            logging.getLogger("anyone").warning("line %d", number)
    finally:
        root.handlers[:] = before
    assert caplog.text.count("cannot write") == 1 and "train.log" in caplog.text and "goes on" in caplog.text
    assert "Traceback" not in capsys.readouterr().err
