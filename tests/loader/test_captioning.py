"""Clips to describe: test samples, training pairs, references, the kinds of caption files."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

from paddlevideo.loader.dataset import CaptioningDataset
from paddlevideo.loader.tokenizer import load_tokenizer
from paddlevideo.utils.errors import DataError
from tests.loader.data import F, G, make_record, save_lmdb

SIZES = {"vision_feature_dim": F, "action_feature_dim": G, "max_region_num": 4, "max_action_num": 3}
CSV = "b,Stir the soup\na,cut it\nb,mix well\nb,mix well\n"


@pytest.fixture
def make(tmp_path):
    """Makes a data set of clips named as in ``names``, with 2 actions each."""
    number = itertools.count()

    def build(content=CSV, file="captions.csv", names="ab", **options):
        records = {name: make_record(name, regions=count + 1) for count, name in enumerate(names)}
        (tmp_path / file).write_text(content, encoding="utf-8")
        store = save_lmdb(tmp_path / f"clips{next(number)}.lmdb", records)
        settings = {**SIZES, "max_seq_length": 8, **options}
        return CaptioningDataset(str(tmp_path / file), store, **settings)

    return build


def test_a_test_sample_is_a_clip_with_an_empty_sentence(make):
    dataset = make()
    assert len(dataset) == 2 and [dataset.name_of(index) for index in range(2)] == ["b", "a"]
    sample = dataset[0]
    tokenizer = load_tokenizer("bert-base-uncased")
    assert sample["text_ids"].tolist() == [tokenizer.start_id, tokenizer.end_id]
    assert sample["text_mask"].tolist() == [1, 1] and sample["token_type_ids"].tolist() == [0, 0]
    assert sample["image_feat"].shape == (4, F) and sample["image_mask"].tolist() == [1, 1, 1, 0]
    assert sample["action_feat"].shape == (3, G) and sample["action_mask"].tolist() == [1, 1, 0]
    assert sample["index"] == 0 and "target_ids" not in sample


def test_a_training_sample_is_a_clip_and_one_caption(make):
    pairs = make().for_training()
    assert [pairs.pairs[index] for index in range(len(pairs))] == [
        ("b", "Stir the soup"),
        ("b", "mix well"),  # a repeated line once
        ("a", "cut it"),
    ]
    sample, tokenizer = pairs[1], load_tokenizer("bert-base-uncased")
    ids = tokenizer.encode("mix well", 8)
    assert sample["target_ids"].tolist() == [*ids, *[0] * (8 - len(ids))]
    clip = make()[0]
    assert all(np.array_equal(sample[key], clip[key]) for key in clip if key != "index")
    assert pairs.lengths(np.array([0, 2])).tolist() == [3, 2]
    assert pairs.describe()["samples"] == 3


def test_truth_has_all_references_and_turns_ids_into_words(make):
    truth = make().truth()
    assert len(truth) == 2 and truth.references == [["Stir the soup", "mix well"], ["cut it"]]
    assert truth[:1].references == truth.references[:1]
    tokenizer = load_tokenizer("bert-base-uncased")
    ids = tokenizer.encode("whisk it", 8)
    assert truth.captions([[*ids, 0, 0]]) == ["whisk it"]


@pytest.mark.parametrize(
    "text",
    [
        "add 1/2 cup of extra-virgin oil",
        "it's the chef's salt, don't mix",
        "heat at 1.5 bar for 3:30",
        "sauteed crumbs.",
    ],
)
def test_decoding_undoes_the_tokenizer(text):
    tokenizer = load_tokenizer("bert-base-uncased")
    assert tokenizer.decode(tokenizer.encode(text, 50)) == text


def test_decoding_ignores_special_tokens_and_unknown_ids():
    tokenizer = load_tokenizer("bert-base-uncased")
    assert tokenizer.decode([tokenizer.start_id, tokenizer.mask_id, 10**6]) == ""


def test_msrvtt_json_has_many_references_a_clip(make):
    sentences = [
        {"video_id": clip, "caption": f"caption {number} of {clip}", "sen_id": number}
        for number in range(20)
        for clip in "ab"
    ]
    videos = [{"video_id": clip, "split": "test", "id": 0} for clip in "ab"]
    dataset = make(json.dumps({"videos": videos, "sentences": sentences}), "MSRVTT_data.json")
    assert [len(known) for known in dataset.truth().references] == [20, 20]
    assert len(dataset.for_training()) == 40
    few = make(json.dumps({"sentences": sentences}), "few.json", captions_per_clip=5)
    assert [len(known) for known in few.truth().references] == [5, 5]


def youcook2(subset="validation"):
    annotations = [
        {"segment": [0, 9], "id": 0, "sentence": "cut the onion"},
        {"segment": [10, 20], "id": 1, "sentence": "fry it"},
    ]
    return json.dumps({"database": {"v": {"subset": subset, "annotations": annotations}}})


def test_youcook2_segments(make):
    dataset = make(youcook2(), "youcookii.json", names=["v_00", "v_01"])
    assert dataset.clips == ["v_00", "v_01"]
    assert dataset.truth().references == [["cut the onion"], ["fry it"]]
    named = make(
        youcook2("training"), "second.json", ["v_0_9", "v_10_20"],
        subset="training", clip_id="{video}_{start}_{end}",
    )  # fmt: skip
    assert named.clips == ["v_0_9", "v_10_20"]


def test_selection_of_clips(make, tmp_path):
    (tmp_path / "held_out.txt").write_text("a\n")
    assert make(exclude=str(tmp_path / "held_out.txt")).clips == ["b"]


def test_mistakes(make):
    with pytest.raises(DataError, match="1 of 3 clips have no features"):
        make(CSV + "z,missing\n")
    with pytest.raises(DataError, match='subset "validation" has no annotations'):
        make(youcook2("training"), "youcookii.json", names=["v_00", "v_01"])
    with pytest.raises(DataError, match="vision_feature_dim is 5"):
        make(vision_feature_dim=5)[0]
    with pytest.raises(DataError, match="timed captions of videos"):
        make('{"v": {"start": [0], "end": [1], "text": ["a"]}}', "howto.json")
