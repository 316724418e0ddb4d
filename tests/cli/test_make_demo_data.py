from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

cv2 = pytest.importorskip("cv2")

from paddlevideo.cli import make_demo_data  # noqa: E402
from paddlevideo.demo import grammar  # noqa: E402
from paddlevideo.demo.build import Settings, build, read_complete  # noqa: E402
from paddlevideo.demo.features import ACTION_WIDTH, CLASSES, REGION_WIDTH, extract  # noqa: E402
from paddlevideo.demo.motion import CLASSES as ACTION_CLASSES  # noqa: E402
from paddlevideo.demo.render import render, write_video  # noqa: E402
from paddlevideo.demo.tracks import decode  # noqa: E402
from paddlevideo.loader.dataset.actbert import ActBertDataset  # noqa: E402
from paddlevideo.loader.dataset.msrvtt import MSRVTTDataset  # noqa: E402
from paddlevideo.loader.tokenizer import load_tokenizer  # noqa: E402
from paddlevideo.utils.errors import DataError  # noqa: E402

SMALL = Settings(train=24, valid=4, test=8, frames=12, side=64)
SCENES = {"train": 720, "valid": 64, "test": 128}


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "demo"
    build(folder, SMALL, workers=1)
    return folder


def rows_of(folder: Path) -> list[tuple]:
    return list(np.load(folder / "train_data.npy", allow_pickle=True))


def records_of(folder: Path, split: str) -> dict[str, dict]:
    import lmdb

    with (
        lmdb.open(str(folder / f"{split}.lmdb"), readonly=True, lock=False) as store,
        store.begin() as transaction,
    ):
        return {key.decode(): pickle.loads(value) for key, value in transaction.cursor()}


def same(first: tuple, second: tuple) -> bool:
    """Equal; with NumPy 1.26, which rounds features' last bits by where an array lies in memory (up
    to 2.4e-7 seen), but for those.
    """
    return all(equal(a, b) for a, b in zip(first, second, strict=True))


def equal(first: object, second: object) -> bool:
    is_rounded = np.lib.NumpyVersion(np.__version__) < "2.0.0"
    if is_rounded and isinstance(first, np.ndarray) and first.dtype == np.float32:
        return first.shape == second.shape and np.allclose(first, second, rtol=0, atol=1e-6)
    return np.array_equal(first, second)


# Grammar: nothing here needs a video.


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_no_caption_of_the_test_is_true_of_two_clips(seed):
    test = grammar.sample_scenes(SCENES, seed)["test"]
    triples = [thing.triple for scene in test for thing in scene.things]
    assert len(test) == 128
    assert len(set(triples)) == len(triples)


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_combinations_of_the_test_are_unseen_in_training(seed):
    scenes = grammar.sample_scenes(SCENES, seed)
    seen = {s: {thing.triple for x in scenes[s] for thing in x.things} for s in scenes}
    assert not seen["test"] & seen["train"]
    assert not seen["valid"] & seen["train"]
    assert not seen["valid"] & seen["test"]
    pairs = {split: {triple[:2] for triple in triples} for split, triples in seen.items()}
    assert len(pairs["test"] - pairs["train"]) == 8


def test_training_shows_every_word_that_the_test_uses():
    scenes = grammar.sample_scenes(SCENES, 0)
    rng = np.random.default_rng(0)
    train = {w for s in scenes["train"] for w in grammar.training_caption(s, rng).split()}
    train = {word for words in train for word in words.split("!")}
    test = {word for s in scenes["test"] for word in grammar.caption(s, rng).split()}
    assert test <= train <= set(grammar.vocabulary())


def test_a_test_caption_names_all_that_tells_things_apart():
    thing = grammar.Thing("red", "circle", "left", "striped", "small")
    other = grammar.Thing("blue", "star", "spin", "plain", "large")
    rng = np.random.default_rng(0)
    for _ in range(20):
        words = grammar.caption(grammar.Scene((thing, other), "grid"), rng)
        for synonyms in (
            grammar.COLOURS["red"],
            grammar.SHAPES["circle"],
            grammar.ACTIONS["left"],
            grammar.TEXTURES["striped"],
            grammar.SIZES["small"],
            grammar.COLOURS["blue"],
            grammar.ACTIONS["spin"],
        ):
            assert any(word in words for word in synonyms)


def test_a_synonym_means_one_thing():
    tables = (grammar.COLOURS, grammar.SHAPES, grammar.TEXTURES, grammar.SIZES, grammar.ACTIONS)
    phrases = [p for table in tables for synonyms in table.values() for p in synonyms if p]
    assert len(phrases) == len(set(phrases))


def test_the_vocabulary_that_ships_knows_the_words():
    tokenizer = load_tokenizer("bert-base-uncased")
    unknown = tokenizer.encode("\N{SNOWMAN}\N{SNOWMAN}", 8)[1]
    for word in grammar.vocabulary():
        assert unknown not in tokenizer.encode(word, 16)


def test_too_many_test_clips_are_refused():
    with pytest.raises(DataError, match=r"test split .* 5000"):
        grammar.sample_scenes({**SCENES, "test": 5000}, 0)


# One clip: what is seen in a video is what was drawn.


def one_clip(folder: Path, action: str, colour: str = "red", shape: str = "square"):
    thing = grammar.Thing(colour, shape, action, "plain", "medium")
    frames = render(grammar.Scene((thing,), "gradient"), 16, 96, np.random.default_rng(3))
    write_video(folder / "clip.mp4", "mp4v", frames)
    return extract(folder / "clip.mp4")


@pytest.mark.parametrize(
    ("action", "found"),
    [("left", "left"), ("right", "right"), ("up", "up"), ("down", "down"), ("grow", "expand")]
    + [("shrink", "contract"), ("blink", "flash"), ("fade", "vanish")],
)
def test_motion_is_recognised(tmp_path, action, found):
    classes = one_clip(tmp_path, action).action_classes
    assert ACTION_CLASSES[classes[0]] == found


@pytest.mark.parametrize("shape", list(grammar.SHAPES))
@pytest.mark.parametrize("colour", ["red", "cyan"])
def test_colour_and_shape_are_recognised(tmp_path, colour, shape):
    clip = one_clip(tmp_path, "left", colour, shape)
    expected = list(grammar.COLOURS).index(colour) * 8 + list(grammar.SHAPES).index(shape)
    assert clip.classes[:3].mean(0).argmax() == expected


def test_a_clip_without_things_has_the_whole_frame_and_its_quarters(tmp_path):
    frames = np.full((12, 64, 64, 3), 128, np.uint8)
    write_video(tmp_path / "grey.avi", "MJPG", frames)
    clip = extract(tmp_path / "grey.avi")
    assert clip.boxes.tolist()[0] == [0, 0, 64, 64]
    assert len(clip.boxes) == 5
    assert (clip.classes.argmax(1) == CLASSES - 1).all()
    assert np.isfinite(clip.regions).all()


def test_a_broken_video_is_named(tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"not a video")
    with pytest.raises(DataError, match=r"broken\.mp4"):
        extract(tmp_path / "broken.mp4")


# The folder.


def test_rows_have_the_layout_that_users_bring(demo):
    rows = rows_of(demo)
    assert len(rows) == SMALL.train
    for row in rows:
        assert isinstance(row, tuple)
        regions, classes, boxes, n, height, width, name, caption, actions, kinds, m = row
        assert regions.shape == (n, REGION_WIDTH)
        assert classes.shape == (n, CLASSES)
        assert boxes.shape == (n, 4)
        assert actions.shape == (m, ACTION_WIDTH)
        assert kinds.shape == (m,)
        assert kinds.dtype == np.int64
        assert {a.dtype for a in (regions, classes, boxes, actions)} == {np.dtype(np.float32)}
        assert [type(v) for v in (n, height, width, m)] == [int] * 4
        assert isinstance(name, str)
        assert 1 <= n <= 7
        assert m == 3
        np.testing.assert_allclose(classes.sum(1), 1, rtol=1e-4)
        assert 0 <= kinds.min() <= kinds.max() < len(ACTION_CLASSES)
        assert caption in json.loads((demo / "caption_train.json").read_text())


def test_records_have_the_keys_that_users_bring(demo):
    records = records_of(demo, "test")
    keys = {"video_id", "image_h", "image_w", "features", "boxes", "action_features"}
    assert len(records) == SMALL.test
    for name, record in records.items():
        assert set(record) == keys
        assert record["video_id"] == name
        assert record["features"].shape == (len(record["boxes"]), REGION_WIDTH)
        assert record["features"].dtype == np.float32
    lines = (demo / "test.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == sorted(records)
    assert all(line.count(",") == 1 for line in lines)


def test_boxes_lie_inside_the_image_and_values_are_moderate(demo):
    rows = rows_of(demo)
    for row in rows:
        x1, y1, x2, y2 = row[2].T
        assert (x1 >= 0).all() and (y1 >= 0).all()
        assert (x2 <= row[5]).all() and (y2 <= row[4]).all()
        assert (x2 > x1).all() and (y2 > y1).all()
    for column in (0, 8):
        values = np.concatenate([row[column] for row in rows])
        assert np.isfinite(values).all()
        assert np.abs(values).max() <= 5
        assert np.abs(values.mean(0)).max() < 0.5


def test_the_data_sets_read_it(demo, tmp_path):
    # A data set keeps its store open, and LMDB opens a file once in a process.
    demo = Path(shutil.copytree(demo, tmp_path / "copy"))
    rows = ActBertDataset(str(demo / "train_data.npy"))
    assert rows[0]["region_feat"].shape[1] == REGION_WIDTH
    gallery = MSRVTTDataset(
        str(demo / "test.csv"),
        str(demo / "test.lmdb"),
        max_region_num=8,
        max_action_num=3,
        vision_feature_dim=REGION_WIDTH,
        action_feature_dim=ACTION_WIDTH,
    )
    assert len(gallery) == SMALL.test
    batch = next(iter(gallery.context()))
    assert batch["image_feat"].shape == (SMALL.test, 8, REGION_WIDTH)


def test_videos_are_of_both_kinds_and_complete(demo):
    videos = sorted((demo / "videos").iterdir())
    assert len(videos) == SMALL.train + SMALL.valid + SMALL.test
    assert {path.suffix for path in videos} == {".mp4", ".avi"}
    for path in videos[:6]:
        assert decode(path).shape == (SMALL.frames, SMALL.side, SMALL.side, 3)


def test_equal_seeds_give_equal_data_whatever_the_number_of_processes(demo, tmp_path):
    build(tmp_path / "again", SMALL, workers=2)
    assert all(map(same, rows_of(demo), rows_of(tmp_path / "again")))
    first, second = records_of(demo, "test"), records_of(tmp_path / "again", "test")
    assert list(first) == list(second)
    for name in first:
        assert same(tuple(first[name].values()), tuple(second[name].values()))
    assert (demo / "test.csv").read_text() == (tmp_path / "again" / "test.csv").read_text()


def test_another_seed_gives_other_data(demo, tmp_path):
    settings = Settings(train=4, valid=1, test=1, frames=12, side=64, seed=1)
    build(tmp_path / "other", settings, workers=1)
    assert not any(map(same, rows_of(demo), rows_of(tmp_path / "other")))


def test_complete_data_stay_and_damaged_or_other_data_are_made_anew(tmp_path):
    output, settings = tmp_path / "demo", Settings(train=2, valid=1, test=1, frames=8, side=48)
    summary = build(output, settings, workers=1)
    before = (output / "train_data.npy").stat().st_mtime_ns
    assert build(output, settings, workers=1) == summary
    assert (output / "train_data.npy").stat().st_mtime_ns == before
    (output / "train_data.npy").write_bytes(b"cut")
    assert read_complete(output, settings) is None
    build(output, settings, workers=1)
    assert len(rows_of(output)) == 2
    build(output, Settings(train=3, valid=1, test=1, frames=8, side=48), workers=1)
    assert len(rows_of(output)) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]


def test_a_fault_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(path):
        raise DataError(f"{path}: cannot be decoded")

    monkeypatch.setattr("paddlevideo.demo.build.extract", fail)
    with pytest.raises(DataError):
        build(tmp_path / "demo", Settings(train=2, valid=1, test=1), workers=1)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_other_things_is_left_alone(tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("mine")
    assert make_demo_data.main(["--output", str(tmp_path)]) == 1
    assert "--output" in capsys.readouterr().err
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_the_recipe_has_the_sizes_that_the_data_have(demo):
    from paddlevideo.config import load_config

    config = load_config("actbert_demo.yaml")
    summary = json.loads((demo / "demo.json").read_text())
    for name in ("v_feature_size", "v_target_size", "a_feature_size", "a_target_size"):
        assert config["MODEL"]["backbone"][name] == summary[name]
    for split in ("valid", "test"):
        assert config["DATASET"][split]["vision_feature_dim"] == summary["v_feature_size"]
        assert config["DATASET"][split]["action_feature_dim"] == summary["a_feature_size"]


def test_help_has_an_example(capsys):
    with pytest.raises(SystemExit):
        make_demo_data.main(["--help"])
    assert "paddlevideo make_demo_data --output" in capsys.readouterr().out


def test_a_leftover_of_a_killed_process_goes_though_the_data_are_complete(tmp_path):
    settings = Settings(train=2, valid=1, test=1)
    build(tmp_path / "demo", settings, workers=1)
    (tmp_path / ".demo.12.partial").mkdir()
    build(tmp_path / "demo", settings, workers=1)
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]
