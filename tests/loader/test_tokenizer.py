"""Token ids."""

from __future__ import annotations

import json
import pickle
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

import paddlevideo.loader.tokenizer as module
from paddlevideo.loader.captions.clip_csv import read_captions
from paddlevideo.loader.tokenizer import load_tokenizer
from paddlevideo.utils.errors import ConfigError, DataError

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "cut", "##ting", "the", "Cut", "é", "e"]
SHIPPED = Path(module.__file__).parent / "vocab" / "bert-base-uncased-vocab.txt"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(PIECES) + "\n", encoding="utf-8")
    return tmp_path


def test_ids_of_1000_captions_equal_the_recorded_ones(shared):
    pairs = read_captions(str(shared / "data" / "msrvtt" / "MSRVTT_JSFUSION_test.csv"))
    expected = np.load(shared / "reference" / "msrvtt_token_ids.npz")
    tokenizer = load_tokenizer("bert-base-uncased")
    for row, (_, caption) in enumerate(pairs):
        length = expected["length"][row]
        assert tokenizer.encode(caption, 64) == expected["input_ids"][row, :length].tolist()


def test_shipped_vocabulary():
    tokenizer = load_tokenizer("bert-base-uncased")
    assert tokenizer.vocabulary_size == 30522 and tokenizer is load_tokenizer("bert-base-uncased")
    special = (tokenizer.pad_id, tokenizer.unknown_id, tokenizer.start_id, tokenizer.end_id)
    assert (*special, tokenizer.mask_id) == (0, 100, 101, 102, 103)
    assert tokenizer.encode("A man is slicing tofu", 36)[0:3] == [101, 1037, 2158]
    assert (SHIPPED.parent / "NOTICE").read_text().count("Apache")


def test_long_captions_keep_their_end_mark():
    ids = load_tokenizer("bert-base-uncased").encode("stir " * 50, 10)
    assert len(ids) == 10 and ids[0] == 101 and ids[-1] == 102 and 102 not in ids[:-1]


def test_special_tokens_in_a_caption_are_plain_text():
    ids = load_tokenizer("bert-base-uncased").encode("[MASK] [SEP]", 36)
    assert 103 not in ids and ids.count(102) == 1


@pytest.mark.parametrize("name", ["", "vocab.txt"])
def test_folder_or_file(folder, name):
    tokenizer = load_tokenizer(str(folder / name))
    assert tokenizer.vocabulary_size == len(PIECES)
    assert tokenizer.encode("Cutting thé onion", 9) == [2, 5, 6, 7, 1, 3]


def test_letter_case_follows_the_model_s_own_settings(folder):
    (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": False}))
    assert load_tokenizer(str(folder)).encode("Cut cut é", 9) == [2, 8, 5, 9, 3]


def test_tokenizer_json(folder, tmp_path):
    own = load_tokenizer(str(folder / "vocab.txt"))
    own._tokenizer.save(str(tmp_path / "tokenizer.json"))
    read = load_tokenizer(str(tmp_path))
    assert read.source.endswith("tokenizer.json")
    assert read.encode("cutting the", 9) == own.encode("cutting the", 9)


def test_can_be_pickled():
    tokenizer = load_tokenizer("bert-base-uncased")
    assert pickle.loads(pickle.dumps(tokenizer)).encode("stir it", 9) == tokenizer.encode(
        "stir it", 9
    )


def test_remembers_short_captions_only(folder):
    tokenizer = load_tokenizer.__wrapped__(str(folder))
    long = "cut " * module.LONGEST_CACHED
    for caption in ("the cut", "the cut", long, long):
        ids = tokenizer.encode(caption, 5)
        ids[0] = -1  # what a caller does with its list is not remembered
    assert tokenizer.encode("the cut", 5) == [2, 7, 5, 3]
    assert tokenizer.encode("the cut", 3) == [2, 7, 3]
    remembered = tokenizer._cached.cache_info()
    assert (remembered.hits, remembered.currsize) == (3, 1)
    assert remembered.maxsize == module.CACHED


def test_windows_line_ends(folder):
    (folder / "vocab.txt").write_bytes("\r\n".join(PIECES).encode() + b"\r\n")
    assert load_tokenizer(str(folder)).encode("cutting", 9) == [2, 5, 6, 3]


def test_faults(tmp_path, folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "paddlenlp", None)
    with pytest.raises(ConfigError, match=r'"bert-large".*pip install -e "\.\[paddlenlp\]"'):
        load_tokenizer("bert-large")
    (tmp_path / "none").mkdir()
    with pytest.raises(ConfigError, match="neither"):
        load_tokenizer(str(tmp_path / "none"))
    shutil.copy(folder / "vocab.txt", tmp_path / "short.txt")
    (tmp_path / "short.txt").write_text("\n".join(PIECES[1:]))
    (tmp_path / "noise.txt").write_bytes(b"\xff\xfe")
    (tmp_path / "bad.json").write_text("{}")
    for name in ("short.txt", "noise.txt", "bad.json"):
        with pytest.raises(DataError, match=name):
            load_tokenizer(str(tmp_path / name))
    (folder / "tokenizer_config.json").write_text("[1]")
    with pytest.raises(DataError, match="tokenizer_config"):
        load_tokenizer(str(folder / "vocab.txt"))


def test_other_names_come_from_paddlenlp(monkeypatch):
    class Named:
        vocab = type("Vocabulary", (), {"token_to_idx": {p: n for n, p in enumerate(PIECES)}})
        do_lower_case = False

        @classmethod
        def from_pretrained(cls, name):
            assert name == "bert-fetched"
            return cls()

    transformers = type(sys)("paddlenlp.transformers")
    transformers.BertTokenizer = Named
    monkeypatch.setitem(sys.modules, "paddlenlp", type(sys)("paddlenlp"))
    monkeypatch.setitem(sys.modules, "paddlenlp.transformers", transformers)
    assert load_tokenizer("bert-fetched").encode("Cut", 9) == [2, 8, 3]


def test_text_that_is_not_unicode_is_read_as_far_as_it_goes():
    tokenizer = load_tokenizer("bert-base-uncased")
    undecoded = "a größe".encode().decode("ascii", "surrogateescape")
    assert tokenizer.encode(undecoded, 36) == tokenizer.encode("a größe", 36)
    assert tokenizer.encode("dog \ud83d", 36)[:2] == tokenizer.encode("dog", 36)[:2]
