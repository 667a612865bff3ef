"""Reports beside ECGs: whose they are, which words are hidden, and where they come from."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from scipy.io import savemat
from text_material import write_vocabulary

from ecg_signals.config import ConfigError
from ecg_signals.data.text.swapping import swap_texts
from ecg_signals.registry import build, get_entry


def test_texts_are_exchanged_in_pairs_that_say_different_things():
    contents = ["a", "a", "b", "c", "a", "b", "b", "c"]
    for seed in range(20):
        texts, own = swap_texts(range(8), contents, 0.5, np.random.default_rng(seed))
        assert sorted(texts) == list(range(8)) and (own == 0).sum() == 4
        for item, text in enumerate(texts):
            assert own[item] == (text == item) and texts[text] == item
            assert own[item] or contents[text] != contents[item]


def test_published_exchange_doubles_a_text_and_none_leaves_all():
    texts, own = swap_texts("abcdefgh", "abcdefgh", 0.5, np.random.default_rng(0), "published")
    assert len(set(texts)) == 6 and (own == 0).sum() == 4
    assert swap_texts("ab", "ab", 1.0, np.random.default_rng(0), "none")[1].tolist() == [1, 1]
    assert swap_texts("ab", "xx", 1.0, np.random.default_rng(0))[0] == ["a", "b"]


@pytest.fixture
def folder(tmp_path):
    write_vocabulary(tmp_path)
    rows = [str(tmp_path)]
    for number, (text, codes) in enumerate([("Sinusrhythm", ["NORM"]), ("ST ecg.", ["STD", "SR"]), ("noise", [])] * 2):
        content = {"feats": np.ones((12, 40)), "curr_sample_rate": 500, "idx": number, "text": text}
        savemat(tmp_path / f"{number}.mat", {**content, **({"diagnoses": codes} if codes else {})})
        rows.append(f"{number}.mat\t40")
    (tmp_path / "train.tsv").write_text("\n".join(rows) + "\n")
    return tmp_path


def make(folder, **options):
    entry = get_entry("dataset", "ecg_text")
    given = {"_name": "ecg_text", "tokenizer": str(folder / "vocab.txt"), "sep_token": 3, **options}
    return entry.cls(entry.dataclass.from_mapping(given, where="dataset"), folder / "train.tsv", training=True)


def test_a_batch_says_which_texts_are_foreign_and_which_words_are_asked_for(folder):
    dataset = make(folder, compute_mlm_indices=True, mlm_prob=0.5)
    items = [dataset[index] for index in range(6)]
    assert items[0]["text"] == [2, 14, 15, 3] and items[1]["diagnoses"] == "SR STD"
    batch = dataset.collate(items)
    assert batch["is_aligned"].tolist().count(0) in (2, 4)
    asked = batch["mlm_labels"] != -100
    assert asked.any() and not asked[batch["net_input"]["text_padding_mask"]].any()
    again = dataset.collate(items)
    assert torch.equal(again["net_input"]["text"], batch["net_input"]["text"])


def test_reports_may_come_from_the_table_of_records(folder):
    (folder / "meta.csv").write_text("idx,report,scp_codes\n" + "".join(f"{i},noise st,{i}\n" for i in range(6)))
    dataset = make(folder, text_file=str(folder / "meta.csv"), diagnoses_column="scp_codes")
    assert dataset[3]["text"] == [2, 9, 18, 3] and dataset[3]["diagnoses"] == "3"
    (folder / "meta.csv").write_text("idx,report\n0,noise\n")
    with pytest.raises(ConfigError, match="no row with idx 3"):
        make(folder, text_file=str(folder / "meta.csv"))[3]


def test_texts_of_ten_tokens_are_too_short_for_medvill(folder):
    dataset = make(folder, medvill=True)
    items = [{**dataset[index], "text": [2, *[9] * words, 3]} for index, words in enumerate((8, 9, 3, 12))]
    batch = dataset.collate(items)
    assert batch["id"].tolist() == [1, 3] and batch["net_input"]["text"].shape == (2, 14)
    assert len(batch["net_input"]["source"]) == len(batch["is_aligned"]) == 2
    assert dataset.collate([items[2], items[0]])["id"].tolist() == [0]
    assert make(folder).collate(items)["id"].tolist() == [0, 1, 2, 3]


def test_a_missing_tokenizer_and_other_numbers_are_named(folder):
    with pytest.raises(ConfigError, match=r"task\.tokenizer=FOLDER_OR_FILE"):
        make(folder, tokenizer=None)
    with pytest.raises(ConfigError, match=r"set task\.sep_token=3"):
        make(folder, sep_token=102)


def test_a_criterion_of_another_model_is_named(folder):
    small = yaml.safe_load((Path(__file__).parents[1] / "contract/small.yaml").read_text())["model"]
    dataset, task = make(folder), build("task", "ecg_text_pretraining", data=str(folder))
    for criterion, model in (("m3ae", "medvill"), ("medvill", "m3ae"), ("m3ae", "blind_transformer_qa")):
        built = build("model", model, **small[model]["options"])
        with pytest.raises(ConfigError, match=f"criterion._name={criterion} judges .* set model._name={criterion}"):
            task.prepare(built, build("criterion", criterion), dataset)
