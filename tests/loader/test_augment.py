"""Steps that make training samples differ from epoch to epoch."""

from __future__ import annotations

import json

import numpy as np
import pytest

from paddlevideo.loader import build_dataset, build_pipeline
from paddlevideo.loader.build import SampleReader, start_warnings
from paddlevideo.loader.captions.files import read_sentences
from paddlevideo.loader.pipelines import FeatureNoise, RandomNarration, WordDropout
from paddlevideo.utils.errors import ConfigError, DataError
from tests.loader.data import make_row, save_rows

SPOKEN = {"abc": ["now we stir", "and again"], "xyz": []}


def rng(seed=0):
    return np.random.default_rng(seed)


def sample(**more):
    row = make_row(regions=4, actions=2, caption="stir the pot well")
    return {
        "clip": "abc_07",
        "region_feat": row[0],
        "action_feat": row[8],
        "caption": row[7],
        **more,
    }


def test_noise_is_as_large_as_said_and_leaves_padding_and_the_given_arrays():
    features = rng().normal(0, 3, (2, 20_000)).astype("float32")
    features[1] = 0
    before = features.copy()
    out = FeatureNoise(deviation=0.2)({"image_feat": features}, rng())["image_feat"]
    np.testing.assert_array_equal(features, before)
    assert (out[0] - before[0]).std() == pytest.approx(0.2 * 3, rel=0.05)
    assert not out[1].any() and out.dtype == np.float32


def test_dropped_features_are_zero_and_the_mean_stays():
    features = np.ones((1, 20_000), np.float32)
    step = FeatureNoise(deviation=0.0, dropout=0.25)
    out = step({"action_feat": features}, rng())["action_feat"]
    assert (out == 0).mean() == pytest.approx(0.25, abs=0.02)
    assert out.mean() == pytest.approx(1.0, abs=0.02)
    assert set(np.unique(out)) == {0, np.float32(1 / 0.75)}


def test_some_words_are_left_out_and_one_stays():
    text = " ".join(f"w{i}" for i in range(2000))
    kept = WordDropout(0.3)({"caption": text}, rng())["caption"].split()
    assert 0.65 < len(kept) / 2000 < 0.75 and kept == sorted(kept, key=lambda w: int(w[1:]))
    for seed in range(20):
        left = WordDropout(1.0)({"caption": "stir the pot"}, rng(seed))["caption"]
        assert left in ("stir", "the", "pot")
    assert WordDropout(0.0)(sample(), rng())["caption"] == "stir the pot well"


def test_a_narration_takes_the_captions_place_or_follows_it(tmp_path):
    path = tmp_path / "asr.json"
    path.write_text(json.dumps(SPOKEN))
    said = {RandomNarration(path, 1.0)(sample(), rng(seed))["caption"] for seed in range(20)}
    assert said == set(SPOKEN["abc"])
    joined = RandomNarration(path, 1.0, join=True)(sample(), rng())["caption"]
    assert joined in {f"stir the pot well {text}" for text in SPOKEN["abc"]}
    some = [RandomNarration(path, 0.5)(sample(), rng(s))["caption"] in said for s in range(300)]
    assert 0.4 < np.mean(some) < 0.6
    # A video that says nothing, one that nobody knows, and another clip's caption stay.
    for other in ({"clip": "xyz_1"}, {"clip": "new_1"}, {"next_sentence_label": 1}):
        kept = RandomNarration(path, 1.0)(sample(**other), rng())
        assert kept["caption"] == "stir the pot well"


@pytest.mark.parametrize("clip", ["abc_0_2.5", "abc.mp4", "abc"])
def test_a_narration_finds_its_video_by_the_clips_id(tmp_path, clip):
    path = tmp_path / "asr.json"
    path.write_text(json.dumps({"abc.mp4": [None, "one"]}))
    assert RandomNarration(path, 1.0)(sample(clip=clip), rng())["caption"] == "one"


def test_narrations_of_other_videos_are_told(tmp_path):
    path = tmp_path / "asr.json"
    path.write_text(json.dumps({"abc": ["one"]}))
    step = RandomNarration(path)
    assert step.misfit(["x_1", "abc_1"]) == "" and step.misfit([]) == ""
    rows = save_rows(tmp_path / "rows.npy", [make_row("x_1"), make_row("y_1")])
    dataset = build_dataset({"format": "ActBertDataset", "file_path": rows})
    (warning,) = start_warnings(dataset, [step])
    assert 'has videos such as "abc", but none of the videos of 2 sampled clips' in warning


def test_narrations_come_from_any_file_of_them(tmp_path):
    of_howto = tmp_path / "caption.json"
    of_howto.write_text(
        json.dumps({"abc": {"start": [0, 2], "end": [2, 4], "text": ["one", "two"]}})
    )
    assert list(read_sentences(of_howto)) == [("abc", "one"), ("abc", "two")]
    folder = tmp_path / "csv"
    folder.mkdir()
    (folder / "abc.csv").write_text("start,end,text\n0,2,hello there\n")
    assert list(read_sentences(folder)) == [("abc", "hello there")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"abc": ["one", 2]}', 'video "abc".*is not a sentence'),
        ('{"abc": "one"}', "known kind"),
        ("abc_01,stir the pot\n", "not a narration of a video"),
        ('{"abc": []}', "holds no sentence"),
    ],
)
def test_other_files_are_refused(tmp_path, text, message):
    path = tmp_path / "asr.json"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        RandomNarration(path)


@pytest.mark.parametrize(
    "make",
    [
        lambda: FeatureNoise(deviation=-1),
        lambda: FeatureNoise(dropout=1.0),
        lambda: WordDropout(1.5),
        lambda: RandomNarration("nowhere", rate=2.0),
    ],
)
def test_shares_are_shares(make):
    with pytest.raises(ConfigError, match="Feature|Word|Random"):
        make()


def test_samples_without_augmentation_hide_nothing(tmp_path):
    rows = [make_row(f"abc_{i}", caption="stir it!mix it") for i in range(6)]
    path = save_rows(tmp_path / "rows.npy", rows)
    (tmp_path / "asr.json").write_text(json.dumps(SPOKEN))
    dataset = build_dataset({"format": "ActBertDataset", "file_path": path})
    (tmp_path / "captions.json").write_text(json.dumps(["fry", "bake"]))
    steps = build_pipeline(
        [
            {"FeaturePadding": {"max_region_num": 4, "max_action_num": 2}},
            {"RandomCap": {"caption_path": str(tmp_path / "captions.json"), "rate": 0.9}},
            {"RandomNarration": {"file_path": str(tmp_path / "asr.json"), "rate": 0.9}},
            {"WordDropout": {"rate": 0.5}},
            {"FeatureNoise": {"deviation": 1.0, "dropout": 0.5}},
            "Tokenize",
            "RandomMask",
        ]
    )
    batch = SampleReader(dataset, steps).without_augmentation().batch(0, list(range(6)))
    assert not batch["next_sentence_label"].any()
    for key in ("text_labels", "image_label", "action_label"):
        assert (batch[key] == -1).all(), key
    first = dataset[0]["region_feat"][:4]
    np.testing.assert_array_equal(batch["image_feat"][0, 1 : 1 + len(first)], first)
    assert (batch["text_mask"].sum(axis=1) == 4).all()  # [CLS], two words, [SEP]


def test_a_step_may_name_its_replacement_as_it_did_before(tmp_path):
    class Add:
        def __init__(self, amount=1):
            self.amount = amount

        def __call__(self, sample, rng):
            return {**sample, "image_h": sample["image_h"] + self.amount}

        def undisturbed(self):
            return Add(2)

    path = save_rows(tmp_path / "rows.npy", [make_row("a")])
    dataset = build_dataset({"format": "ActBertDataset", "file_path": path})
    reader = SampleReader(dataset, [Add()])
    height = dataset[0]["image_h"]
    assert reader.read(0, 0)["image_h"] == height + 1
    assert reader.without_augmentation().read(0, 0)["image_h"] == height + 2
