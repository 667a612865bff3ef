"""Word pieces and masked words against those of transformers' BertTokenizerFast and fairseq-signals' collator."""

import json
import pickle

import numpy as np
import pytest
import torch

from ecg_signals.config import ConfigError
from ecg_signals.data.text.masking import IGNORED, mask_whole_words, word_groups
from ecg_signals.data.text.tokenizer import Tokenizer, words

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


@pytest.fixture(scope="module")
def stored(golden):
    return json.loads((golden / "ecg_qa" / "tokenizer.json").read_text())


@pytest.fixture(scope="module")
def tokenizer(golden):
    return Tokenizer(golden / "ecg_qa" / "bert_tiny_uncased")


def test_tokens_are_those_of_the_published_tokenizer(stored, tokenizer, golden):
    assert [tokenizer.encode(text) for text in stored["texts"]] == stored["ids_without_limit"]
    cased = Tokenizer(golden / "ecg_qa" / "bert_tiny_uncased" / "vocab.txt", lower_case=False)
    assert [cased.encode(text) for text in stored["texts"]] == stored["ids_cased"]
    ids, padding = tokenizer.batch([tokenizer.encode(text, stored["max_length"]) for text in stored["texts"]])
    assert ids.tolist() == stored["input_ids"]
    assert torch.equal(~padding, torch.tensor(stored["attention_mask"]).bool())


def test_words_keep_their_pieces_together(stored, tokenizer):
    assert [word_groups(tokenizer, row) for row in stored["input_ids"]] == stored["word_groups"]


def test_a_draw_of_masked_words_follows_the_published_rules(stored, tokenizer):
    rng, kinds = np.random.default_rng(0), {"masked": 0, "kept": 0, "replaced": 0}
    for row in stored["input_ids"] * 50:
        seen, labels = mask_whole_words(tokenizer, row, stored["mlm_probability"], rng)
        chosen = [place for place, label in enumerate(labels) if label != IGNORED]
        assert len(chosen) <= max(1, round(len(row) * stored["mlm_probability"]))
        assert all(labels[place] == row[place] and row[place] not in tokenizer.special for place in chosen)
        assert all(seen[place] == row[place] for place in range(len(row)) if place not in chosen)
        groups = [set(group) & set(chosen) for group in word_groups(tokenizer, row)]
        assert all(not found or found == {place for place in group if row[place] not in tokenizer.special}
                   for found, group in zip(groups, word_groups(tokenizer, row)))  # fmt: skip
        for place in chosen:
            kind = "masked" if seen[place] == tokenizer.mask else "kept" if seen[place] == row[place] else "replaced"
            kinds[kind] += 1
    shares = {kind: count / sum(kinds.values()) for kind, count in kinds.items()}
    assert shares["masked"] == pytest.approx(0.8, abs=0.05) and shares["replaced"] == pytest.approx(0.1, abs=0.05)


@pytest.fixture
def small(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join([*SPECIAL, "ecg", "##s", "st", "-", "é", "a"]) + "\n")
    return tmp_path


def test_the_vocabulary_says_whether_there_are_capitals_not_the_folders_name(small):
    assert Tokenizer(small).lower_case
    with (small / "vocab.txt").open("a") as file:
        file.write("ECG\n")
    assert not Tokenizer(small).lower_case
    (small / "tokenizer_config.json").write_text('{"do_lower_case": true}')
    assert Tokenizer(small).lower_case and not Tokenizer(small, lower_case=False).lower_case


def test_control_signs_go_and_every_kind_of_space_divides():
    assert words("a\u200bb\x1f c\u00a0d\te\ufffd", lower_case=False) == ["ab", "c", "d", "e"]
    assert words("ST-T (V1)…É", lower_case=True) == ["st", "-", "t", "(", "v1", ")", "…", "e"]


def test_a_sign_that_unicode_has_not_assigned_is_a_letter():
    assert words("a\u0378b \ue000c", True) == ["a\u0378b", "c"]


def test_a_word_of_which_anything_is_unknown_is_unknown_and_so_is_an_endless_one(small):
    tokenizer = Tokenizer(small)
    assert tokenizer.encode("ECGs st-x") == [2, 5, 6, 7, 8, 1, 3]
    assert tokenizer.encode("a" * 101) == [2, 1, 3] and tokenizer.encode("ecg st a", max_length=3) == [2, 5, 3]
    assert pickle.loads(pickle.dumps(tokenizer)).encode("ECG") == [2, 5, 3]


def test_a_missing_vocabulary_says_where_to_get_one(tmp_path):
    with pytest.raises(ConfigError, match=r"task\.tokenizer=FOLDER_OR_FILE.*huggingface\.co"):
        Tokenizer(tmp_path / "bert-base-uncased")
    (tmp_path / "vocab.txt").write_text("one\ntwo\n")
    with pytest.raises(ConfigError, match=r"has no \[PAD\]"):
        Tokenizer(tmp_path)
