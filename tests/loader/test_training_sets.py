"""Retrieval data sets that train, YouCook2's segments, and narrations by time."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml

from paddlevideo.cli import run as main
from paddlevideo.loader import (
    ActBertDataset,
    MSRVTTDataset,
    SampleReader,
    YouCook2Dataset,
    build_pipeline,
)
from paddlevideo.utils.errors import ConfigError, DataError
from tests.loader.clips import make_clip, write
from tests.tiny_data import configuration, make_project

SIZES = {"vision_feature_dim": 12, "action_feature_dim": 10}
PLAIN = [
    {"FeaturePadding": {"max_region_num": 4, "max_action_num": 3}},
    {"RandomCap": {"rate": 0}},
    {"Tokenize": {"max_seq_length": 9}},
    {"RandomMask": {"word_rate": 0, "region_rate": 0, "action_rate": 0}},
]


@pytest.fixture
def store(tmp_path):
    write(tmp_path / "s", [make_clip(n, name=f"v{n // 2}_{n % 2:02d}") for n in range(6)])
    return str(tmp_path / "s")


@pytest.fixture
def msrvtt_json(tmp_path):
    sentences = [
        {"video_id": clip, "caption": f"{word} {clip}", "sen_id": 0}
        for clip in ("v0_01", "v1_00", "v2_00")
        for word in ("cutting", "cutting", "stirring")
    ]
    path = tmp_path / "MSRVTT_data.json"
    path.write_text(json.dumps({"videos": [{"video_id": "v0_01"}], "sentences": sentences}))
    return str(path)


def test_training_takes_clips_with_all_their_captions(store, msrvtt_json, tmp_path):
    (tmp_path / "9k.csv").write_text("video_id\nv2_00\nv0_01\n")
    dataset = MSRVTTDataset(msrvtt_json, store, only=str(tmp_path / "9k.csv"), **SIZES)
    assert len(dataset) == 6 and dataset.describe()["repeated_lines"] == 2
    training = dataset.for_training()
    assert [training.name_of(number) for number in range(len(training))] == ["v0_01", "v2_00"]
    assert training[1]["captions"] == ["cutting v2_00", "stirring v2_00"]
    assert training.lengths(np.array([0, 1])).tolist() == [2.0, 2.0]
    assert training.describe()["samples"] == 2
    reader = SampleReader(training, build_pipeline(PLAIN))
    sample = reader.read(0, 1)
    assert sample["image_feat"].shape == (5, 12) and sample["action_feat"].shape == (3, 10)
    captions = {tuple(reader.read(epoch, 1)["text_ids"]) for epoch in range(20)}
    assert len(captions) == 2  # a caption is drawn anew every epoch
    tested = next(iter(dataset.context()))["image_feat"][1]
    np.testing.assert_allclose(sample["image_feat"][:4], tested[:4], rtol=1e-3, atol=1e-5)


def test_the_first_captions_of_each_clip(store, msrvtt_json):
    dataset = MSRVTTDataset(msrvtt_json, store, captions_per_clip=1, **SIZES)
    assert dataset.captions == ["cutting v0_01", "cutting v1_00", "cutting v2_00"]
    with pytest.raises(ConfigError, match="captions_per_clip at least 0"):
        MSRVTTDataset(msrvtt_json, store, captions_per_clip=-1, **SIZES)


def test_captions_by_time_are_refused_with_the_way_out(store, tmp_path):
    (tmp_path / "c.json").write_text(json.dumps({"v": {"start": [0], "end": [1], "text": ["x"]}}))
    with pytest.raises(DataError, match="timed captions of videos.*Pack them"):
        MSRVTTDataset(str(tmp_path / "c.json"), store, **SIZES)


def test_fine_tuning_runs(tmp_path):
    make_project(tmp_path)
    config = configuration(tmp_path)
    config["DATASET"]["train"] = config["DATASET"]["test"]
    config["PIPELINE"]["train"]["transform"] = PLAIN
    config["MODEL"] |= {"match_negatives": 2, "retrieval_head": {"name": "RetrievalHead"}}
    config["MODEL"]["loss"] = {"name": "ActBertLoss", "match_weight": 0.0}
    config["DATASET"] |= {"group_by_length": 2, "shuffle_window": 4}
    (tmp_path / "tune.yaml").write_text(yaml.safe_dump(config))
    assert main.main(["-c", str(tmp_path / "tune.yaml"), "-o", "epochs=2"]) == 0
    assert (tmp_path / "output" / "Tiny_epoch_00002.pdparams").is_file()


# ----------------------------------------------------------------------------- YouCook2


def annotations(tmp_path, **entries):
    database = {
        "v0": {
            "subset": "training",
            "annotations": [{"id": 0, "segment": [3, 9], "sentence": "cut it"}],
        },
        "v1": {
            "subset": "validation",
            "annotations": [
                {"id": 1, "segment": [3, 9], "sentence": " fry the onion "},
                {"id": 0, "segment": [0, 2], "sentence": "peel"},
            ],
        },
        "v9": {"subset": "testing"},
        **entries,
    }
    path = tmp_path / "youcookii_annotations_trainval.json"
    path.write_text(json.dumps({"database": database}))
    return str(path)


def test_segments_of_a_subset_are_the_gallery(store, tmp_path):
    path = annotations(tmp_path)
    dataset = YouCook2Dataset(path, store, **SIZES)
    assert dataset.pairs == [("v1_01", "fry the onion"), ("v1_00", "peel")]
    assert dataset.truth().tolist() == [0, 1] and len(dataset.for_training()) == 2
    assert len(YouCook2Dataset(path, store, subset="", **SIZES)) == 3


def test_clip_ids_of_segments_by_time(tmp_path):
    write(tmp_path / "s", [make_clip(0, name="v0_3_9")])
    path = annotations(tmp_path)
    dataset = YouCook2Dataset(
        path, str(tmp_path / "s"), "training", "{video}_{start}_{end}", **SIZES
    )
    assert dataset.video_ids == ["v0_3_9"]


@pytest.mark.parametrize(
    ("entries", "options", "message"),
    [
        ({}, {"subset": "testing"}, 'subset "testing" has no annotations. Subsets here: testing, '),
        ({}, {"clip_id": "{clip}"}, "may name video, id, start and end"),
        ({"v1": []}, {}, 'video "v1": expected an object'),
        (
            {"v1": {"subset": "validation", "annotations": [{"id": 0, "segment": [1]}]}},
            {},
            'video "v1": annotation 0: lacks segment, id or sentence',
        ),
        (
            {
                "v1": {
                    "subset": "validation",
                    "annotations": [{"id": 0, "segment": [1, 2], "sentence": " "}],
                }
            },
            {},
            "the sentence is blank",
        ),
    ],
)
def test_faulty_annotations(store, tmp_path, entries, options, message):
    with pytest.raises((DataError, ConfigError), match=message):
        YouCook2Dataset(annotations(tmp_path, **entries), store, **{**SIZES, **options})


def test_the_annotation_of_coin_is_told_from_youcook2s(store, tmp_path):
    part = {"id": "325", "segment": [25.0, 30.0], "label": "cut the hair"}
    entry = {"recipe_type": 122, "annotation": [part], "subset": "validation"}
    (tmp_path / "coin.json").write_text(json.dumps({"database": {"v": entry}}))
    with pytest.raises(DataError, match=r"coin\.json: .*looks like the annotation of COIN"):
        YouCook2Dataset(str(tmp_path / "coin.json"), store, **SIZES)


def test_another_file_is_no_annotation_file(store, tmp_path):
    (tmp_path / "x.json").write_text('{"sentences": []}')
    with pytest.raises(DataError, match='not an annotation file of YouCook2: it has no "database"'):
        YouCook2Dataset(str(tmp_path / "x.json"), store, **SIZES)


def test_the_official_annotations(shared, tmp_path):
    path = shared / "data" / "youcook2" / "youcookii_annotations_train.json"
    database = json.loads(path.read_text())["database"]
    names = [f"{v}_{part['id']:02d}" for v, e in database.items() for part in e["annotations"]]
    write(tmp_path / "s", [make_clip(0, name=name, regions=1, actions=1) for name in names[:50]])
    with pytest.raises(DataError, match=f"{len(names) - 50} of {len(names)} clips have no feature"):
        YouCook2Dataset(str(path), str(tmp_path / "s"), "training", **SIZES)


# ---------------------------------------------------------------------- narrations by time


@pytest.fixture
def narrated(tmp_path):
    def spoken(number, video, *texts):
        times = [(10.0 * number + place, 10.0 * number + place + 1) for place in range(len(texts))]
        return make_clip(number, video=video, captions=list(texts), times=times)

    clips = [
        spoken(0, "a", "first of all"),
        spoken(1, "a", "peel", "the onion"),
        spoken(2, "a", "the onion", "then cut it"),
        spoken(3, "a", "into very small and very even cubes"),
        spoken(4, "b", "another video"),
    ]
    write(tmp_path / "s", clips)
    return str(tmp_path / "s")


@pytest.mark.parametrize(
    ("clip", "neighbours", "words", "text"),
    [
        (1, 1, 30, "first of all peel the onion then cut it"),
        (2, 1, 30, "peel the onion then cut it into very small and very even cubes"),
        (2, 2, 30, "first of all peel the onion then cut it into very small and very even cubes"),
        (2, 9, 9, "first of all peel the onion then cut it"),  # no room for what comes after
        (2, 9, 5, "the onion then cut it"),
        (4, 9, 30, "another video"),
    ],
)
def test_a_clip_takes_what_is_said_around_it(narrated, clip, neighbours, words, text):
    dataset = ActBertDataset(narrated, neighbours=neighbours, max_words=words)
    assert dataset[clip]["captions"] == [text]


def test_neighbours_need_a_store(tmp_path):
    make_project(tmp_path)
    with pytest.raises(ConfigError, match="neighbours=1 needs a feature store"):
        ActBertDataset(str(tmp_path / "train.npy"), neighbours=1)
