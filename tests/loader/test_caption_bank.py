"""Captions of negatives: from files of any kind, held as bytes, or from a store, not held."""

from __future__ import annotations

import json
import tracemalloc
from collections import Counter

import numpy as np
import pytest

from paddlevideo.loader import RandomCap
from paddlevideo.loader.captions.bank import PackedCaptions, open_bank
from paddlevideo.utils.errors import ConfigError, DataError
from tests.loader.clips import make_clip, write


def drawn(path, count=200):
    bank, rng = open_bank(str(path)), np.random.default_rng(0)
    return Counter(bank.draw(rng) for _ in range(count))


def test_a_list_has_alternatives_and_other_files_have_none(tmp_path):
    (tmp_path / "list.json").write_text(json.dumps(["cut! slice", "stir"]))
    assert set(drawn(tmp_path / "list.json")) == {"cut", "slice", "stir"}
    (tmp_path / "lines.csv").write_text("v1,stop! now\nv2,go\n")
    assert set(drawn(tmp_path / "lines.csv")) == {"stop! now", "go"}
    narrations = {"v": {"start": [0, 2], "end": [2, 3], "text": ["hello", "äöü"]}}
    (tmp_path / "caption.json").write_text(json.dumps(narrations), encoding="utf-8")
    assert set(drawn(tmp_path / "caption.json")) == {"hello", "äöü"}


def test_a_store_gives_its_clips_captions(tmp_path):
    clips = [
        make_clip(0, captions=["one"], times=()),
        make_clip(1, captions=["two", "three", " "], times=()),
        make_clip(2, captions=[], times=()),
    ]
    write(tmp_path / "s", clips)
    counts = drawn(tmp_path / "s", 600)
    assert set(counts) == {"one", "two", "three"}
    assert counts["one"] > 1.5 * counts["two"]  # clips are as likely, not captions


def test_a_store_without_captions_is_named(tmp_path):
    write(tmp_path / "s", [make_clip(captions=[], times=())])
    with pytest.raises(DataError, match="/s: 1000 clips were tried, none has a caption"):
        drawn(tmp_path / "s")


def test_memory_is_little_more_than_the_letters():
    count, text = 200_000, "a man cuts an onion on a wooden board"
    tracemalloc.start()
    captions = PackedCaptions(text for _ in range(count))
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(captions) == count and captions[count - 1] == text
    assert held < count * (len(text) + 12)


def test_negatives_need_captions_to_draw_from():
    with pytest.raises(ConfigError, match=r"rate is 0\.5, so it needs a caption_path"):
        RandomCap()
    sample = RandomCap(rate=0)({"caption": "stir"}, np.random.default_rng(0))
    assert sample == {"caption": "stir", "next_sentence_label": 0}
