"""The one place that reads and writes tables."""

import csv
import gzip

import numpy as np
import pandas as pd
import pytest
from strangers import answered_in_time

from ecg_signals.config import ConfigError
from ecg_signals.data.label_file import read_label_names
from ecg_signals.limits import printable
from ecg_signals.tables import guarded, header_of, numbers, read_rows, read_table, unguarded, write_table

TEXTS = ["=cmd()", "+1+1", "-x", "@sum", "\tx", "\rx", "'=x", "''@y", "'plain", "-0.5", "1e-3", "", "a,b", 'say "x"']


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_comes_back_as_it_was_and_no_spreadsheet_runs_it(text):
    assert unguarded(guarded(text)) == text
    first = guarded(text)[:1]
    assert first not in ("=", "@", "\t", "\r") and (first not in ("+", "-") or text == "-0.5")


def test_a_table_is_read_back_as_it_was_written(tmp_path):
    table = pd.DataFrame({"=name": [text for text in TEXTS if text.strip()], "value": -0.5, "n": -1})
    write_table(tmp_path / "t.csv", table)
    rows = list(csv.reader((tmp_path / "t.csv").open(newline="")))
    assert rows[0] == ["'=name", "value", "n"] and all(row[1:] == ["-0.5", "-1"] for row in rows[1:])
    pd.testing.assert_frame_equal(read_table(tmp_path / "t.csv", text=["=name"]), table)
    assert read_rows(tmp_path / "t.csv")[0][0] == "=name"


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.filterwarnings("ignore:.*Windows-1252")
def test_a_table_is_read_whatever_its_separator_and_encoding(tmp_path, separator, encoding):
    lines = [["path", "Größe", "af"], ["ä/1.npy", "3", "1"], ["2.npy", "4", ""]]
    text = "".join(separator.join(line) + "\r\n" for line in lines)
    (tmp_path / "t.csv").write_bytes(text.encode(encoding))
    table = read_table(tmp_path / "t.csv", ["path"])
    assert list(table.columns) == lines[0] == header_of(tmp_path / "t.csv")
    assert table["path"].tolist() == ["ä/1.npy", "2.npy"] and table["Größe"].tolist() == [3, 4]


def test_decimal_commas_are_numbers_and_that_is_said(tmp_path):
    (tmp_path / "t.csv").write_text("sep=;\npath;age;code\n1.npy;61,5;1,a\n2.npy;60;2\n")
    with pytest.warns(UserWarning, match="commas are decimal points in the columns age"):
        table = read_table(tmp_path / "t.csv")
    assert table["age"].tolist() == [61.5, 60.0] and table["code"].tolist() == ["1,a", "2"]


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (b"a,b\n1,2\n3\n", "line 3 has 1 fields where the header has 2"),
        (b"a,b\n1,2,3\n", "line 2 has 3 fields where the header has 2"),
        (b'a,b\n"x\ny",2\n3\n', "line 4 has 1 fields"),
        (b"a,b\n1,\x002\n", "NUL byte in line 2"),
        (b'a,b\n1,"2\n3,4\n', "fields where|is not a CSV table"),
        (b"a,a\n1,2\n", "the column 'a' twice"),
        (b"," * 1_000_000, "has 1,000,001 columns"),
        (b"\xff\xfea", "UTF-16"),
        (b"x" * 200_000 + b'\n"', "fields where|is not a CSV table|field larger"),
        (b"b,c\n1,2\n", "column 'a'"),
    ],
)
def test_a_broken_table_is_one_message_with_its_name(tmp_path, content, reason):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(ConfigError, match=rf"t\.csv.*({reason})|unknown {reason}.*t\.csv"):
        read_table(tmp_path / "t.csv", ["a"])


def test_a_row_is_counted_in_lines_of_the_file_and_blank_lines_are_none(tmp_path):
    (tmp_path / "t.csv").write_text("\n\na,b\n\n1,2\n\n3,4,5\n")
    with pytest.raises(ConfigError, match="line 7 has 3 fields"):
        read_table(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_text("\n\na,b\n\n1,2\n\n")
    assert len(read_table(tmp_path / "t.csv")) == 1


def test_a_packed_table_is_bounded_and_a_cut_one_is_named(tmp_path, monkeypatch):
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"a,b\n1,2\n"))
    assert read_table(tmp_path / "t.csv.gz")["a"].tolist() == [1]
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"a,b\n1,2\n")[:-9])
    with pytest.raises(ConfigError, match="not a whole gzip file"):
        read_table(tmp_path / "t.csv.gz")
    monkeypatch.setattr("ecg_signals.tables.MAX_TABLE_BYTES", 1000)
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"a,b\n" * 1000))
    with pytest.raises(ConfigError, match="unpacks to over 1,000 bytes"):
        read_table(tmp_path / "t.csv.gz")


def test_gzip_files_behind_each_other_are_one_table(tmp_path):
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"a,b\n1,2\n") + gzip.compress(b"3,4\n") + bytes(8))
    assert read_table(tmp_path / "t.csv.gz")["b"].tolist() == [2, 4]
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"a,b\n1,2\n") + b"more")
    with pytest.raises(ConfigError, match="not a whole gzip file"):
        read_table(tmp_path / "t.csv.gz")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (gzip.compress(b"a,b\n" + b"1,1\n" * (75 << 20), 1), "unpacks to over"),
        (gzip.compress(bytes(1 << 28), 1) * 12, "unpacks to over"),
        (gzip.compress(b"") * 300_000, "more than 1,000 gzip files"),
    ],
    ids=["rows", "zeros", "files"],
)
def test_a_packed_table_takes_no_time_or_memory_that_its_bytes_do_not_stand_for(tmp_path, content, match):
    (tmp_path / "t.csv.gz").write_bytes(content)
    with answered_in_time(len(content)), pytest.raises(ConfigError, match=match):
        read_table(tmp_path / "t.csv.gz")


def test_a_table_of_one_endless_line_is_refused_in_time(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"a,b\n" + b"," * 60_000_000)
    with answered_in_time(60_000_000), pytest.raises(ConfigError, match="a line of more than 16,777,216 bytes"):
        read_table(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_bytes(b"a,b\n" + b"1,2\n" * 5_000_000)
    assert len(read_table(tmp_path / "t.csv")) == 5_000_000


def test_a_number_that_does_not_parse_is_named_with_its_row():
    table = pd.DataFrame({"fold": ["1", "x"], "part": [1.5, np.nan]})
    with pytest.raises(ConfigError, match=r"t\.csv: column fold holds 'x' in row 2; expected a whole number"):
        numbers(table, "fold", "t.csv", whole=True)
    with pytest.raises(ConfigError, match=r"column part holds '1\.5' in row 1"):
        numbers(table, "part", "t.csv", whole=True)
    assert numbers(table, "part", "t.csv")[0] == 1.5


def test_names_of_labels_are_text_whatever_they_look_like(tmp_path):
    write_table(tmp_path / "label_def.csv", pd.DataFrame({"name": ["=AF", "NA", "None", "1", "-0.5"], "n": 1}))
    assert read_label_names(tmp_path / "label_def.csv") == ["=AF", "NA", "None", "1", "-0.5"]


def test_printed_text_cannot_steer_a_terminal():
    text = "a\x1b[31mred\x07\r\x9b2J\u202egpj.exe\nnext\tline ä 心"
    assert printable(text) == "a\\x1b[31mred\\x07\\r\\x9b2J\\u202egpj.exe\nnext\tline ä 心"
