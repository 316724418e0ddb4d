"""Sentences with a blank: LSMDC's columns, every mistake named, [MASK] in its place."""

from __future__ import annotations

import numpy as np
import pytest

from paddlevideo.loader import FillInBlankDataset, load_tokenizer
from paddlevideo.loader.dataset.fill_in import encode_blank
from paddlevideo.loader.questions.blanks import around_blank, read_blanks
from paddlevideo.utils.errors import DataError
from tests.loader.data import F, G, make_record, save_lmdb

SIZES = {"vision_feature_dim": F, "action_feature_dim": G, "max_region_num": 4, "max_action_num": 2}


def line(clip="v", question="cut the _____ now", answer="Onion"):
    times = ["00.00.51.926"] * 4
    return "\t".join([clip, *times, "a sentence", question, answer]) + "\n"


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_lines_of_lsmdc(tmp_path):
    text = line() + line("w", '"He said," _____', "SOMEONE") + line(question="no gap")
    questions, without = read_blanks(write(tmp_path / "fib.csv", text))
    assert [(each.id, each.clip, each.answer) for each in questions] == [
        ("1", "v", "onion"),
        ("2", "w", "someone"),
    ]
    assert without == [f"{tmp_path / 'fib.csv'}: line 3"]
    assert around_blank("_____ the bone") == ("", "the bone")


def test_the_real_files(shared):
    folder = shared / "data" / "youcook2_mini"
    counts = {
        name: len(read_blanks(str(folder / f"fib_{name}.csv"))[0]) for name in ("train", "dev")
    }
    assert counts == {"train": 5629, "dev": 1756}


@pytest.mark.parametrize(
    "text, expected",
    [
        (
            "id\tstart\tend\tstart2\tend2\tsentence\tquestion\tanswer\n" + line(),
            ["line 1", "header"],
        ),
        (
            line() + "v\ta sentence\tcut the _____\tonion\n",
            ["line 2", "4 columns", "eight columns"],
        ),
        (line().replace("\t", ","), ["line 1", "1 columns", "no header"]),
        (line(question="_____ the _____"), ["line 1", "2 blanks"]),
        (line(answer=" "), ["line 1", "answer is empty"]),
        (line(clip=""), ["line 1", "clip is empty"]),
        (line(question="none") * 2, ["no question has a blank", "first of 2", "line 1"]),
        ("", ["is empty"]),
        (
            "clip\tfrom\tto\tx\ty\tsentence\tquestion\tmissing word\n" + line(),
            ["line 1", "header"],
        ),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path, text, expected):
    path = write(tmp_path / "fib.csv", text)
    with pytest.raises(DataError) as error:
        read_blanks(path)
    assert path in str(error.value) and "\n" not in str(error.value)
    for part in expected:
        assert part in str(error.value)


def test_the_blank_becomes_a_mask():
    tokenizer = load_tokenizer("bert-base-uncased")
    ids, blank = encode_blank(tokenizer, "cut the _____, now", 12)
    whole = tokenizer.encode("cut the [MASK] , now", 99)
    assert ids[blank] == tokenizer.mask_id and blank == 3 and len(ids) == 7
    assert [each for at, each in enumerate(ids) if at != blank] == [
        *tokenizer.encode("cut the", 99)[:-1],
        *tokenizer.encode(", now", 99)[1:],
    ]
    assert whole[0] == ids[0]


@pytest.mark.parametrize("before, after", [(0, 30), (30, 0), (30, 30), (2, 30), (30, 2)])
def test_a_long_sentence_keeps_its_blank(before, after):
    tokenizer = load_tokenizer("bert-base-uncased")
    question = " ".join(["cut"] * before + ["_____"] + ["now"] * after)
    ids, blank = encode_blank(tokenizer, question, 10)
    assert len(ids) == 10 and ids[blank] == tokenizer.mask_id
    assert blank - 1 >= min(before, 3) and 9 - blank - 1 >= min(after, 3)


def test_samples_and_counts(tmp_path, caplog):
    store = save_lmdb(
        tmp_path / "c.lmdb", {name: make_record(name) for name in ("a_0", "a_1", "b_0")}
    )
    text = line("a_0") + line("a_1") + line("b_0") + line("b_0", "no gap") + line("b_0")
    dataset = FillInBlankDataset(
        write(tmp_path / "fib.csv", text), store, max_seq_length=8, **SIZES
    )
    sample = dataset[0]
    assert sample["answer"] == "onion" and sample["text_ids"].shape == (8,)
    assert sample["text_ids"][sample["blank"]] == load_tokenizer("bert-base-uncased").mask_id
    assert sample["image_feat"].shape == (4, F)
    assert dataset.describe()["without_blank"] == 1 and "line 4" in caplog.text
    assert dataset.answers() == ["onion"] * 4
    assert dataset.pieces("onion") == load_tokenizer("bert-base-uncased").encode("onion", 9)[1:-1]
    videos = [dataset.name_of(index)[0] for index in range(4)]
    assert all(
        videos[at] != video for at, video in zip(dataset.wrong_partners(), videos, strict=True)
    )


def test_one_video_has_no_wrong_partners(tmp_path):
    store = save_lmdb(tmp_path / "c.lmdb", {"a_0": make_record("a_0")})
    path = write(tmp_path / "fib.csv", line("a_0") * 2)
    dataset = FillInBlankDataset(path, store, **SIZES)
    np.testing.assert_array_equal(dataset.wrong_partners(), [0, 1])
