"""The demo's videos and captions: what a user would bring."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

cv2 = pytest.importorskip("cv2")

from paddlevideo.cli import make_demo_data  # noqa: E402
from paddlevideo.demo import build as module  # noqa: E402
from paddlevideo.demo import grammar  # noqa: E402
from paddlevideo.demo.build import Settings, build, read_complete  # noqa: E402
from paddlevideo.demo.confusions import triples_of  # noqa: E402
from paddlevideo.demo.render import render, write_video  # noqa: E402
from paddlevideo.extract.classical.colours import COLOURS  # noqa: E402
from paddlevideo.extract.classical.motion import KINDS  # noqa: E402
from paddlevideo.extract.decode import VideoFile  # noqa: E402
from paddlevideo.extract.extractor import Extractor  # noqa: E402
from paddlevideo.extract.job import Job  # noqa: E402
from paddlevideo.extract.settings import load_settings  # noqa: E402
from paddlevideo.extract.videos import read_videos  # noqa: E402
from paddlevideo.loader.store.records import decode  # noqa: E402
from paddlevideo.loader.tokenizer import load_tokenizer  # noqa: E402
from paddlevideo.utils.errors import DataError  # noqa: E402

SMALL = Settings(train=24, valid=4, test=8, frames=12, side=64)
SCENES = {"train": 1440, "valid": 64, "test": 128}


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "demo"
    build(folder, SMALL, workers=1)
    return folder


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


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
    sentences = [text for s in scenes["train"] for text in grammar.training_captions(s, rng)]
    train = {word for text in sentences for word in text.split()}
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


# One clip: extraction sees in a video what was drawn.


@pytest.fixture(scope="module")
def job():
    return Job(Extractor(load_settings("extract/classical.yaml"), 1), "float32")


def one_clip(job, folder: Path, action: str, colour: str = "red", shape: str = "square"):
    thing = grammar.Thing(colour, shape, action, "plain", "medium")
    frames = render(grammar.Scene((thing,), "gradient"), 16, 96, np.random.default_rng(3))
    write_video(folder / "clip.mp4", "mp4v", frames)
    (video,) = read_videos(folder / "clip.mp4")
    status, (record,) = job.run(video)
    assert status.status == "done"
    return decode(record, "clip")


@pytest.mark.parametrize(
    ("action", "kind"),
    [("left", "left"), ("right", "right"), ("up", "up"), ("down", "down"), ("grow", "towards")]
    + [("shrink", "away"), ("blink", "flash"), ("fade", "vanish")],
)
def test_motion_is_recognised(job, tmp_path, action, kind):
    assert KINDS[one_clip(job, tmp_path, action).action_classes[0]] == kind


@pytest.mark.parametrize("colour", ["red", "yellow", "green", "blue", "purple", "pink"])
def test_colour_is_recognised(job, tmp_path, colour):
    clip = one_clip(job, tmp_path, "left", colour)
    best = clip.region_classes.dense()[1:5, :-1].argmax(axis=1)  # behind the whole frame
    names = [COLOURS[index // 3] for index in best]
    assert names[0] == colour and names.count(colour) >= 3


def test_shapes_have_vectors_of_their_own(job, tmp_path):
    shapes = list(grammar.SHAPES)
    first, second = (
        np.array([one_clip(job, tmp_path, action, "red", shape).regions[1] for shape in shapes])
        for action in ("left", "up")
    )
    gaps = np.linalg.norm(first[:, None] - second[None], axis=2)
    assert (gaps.argmin(axis=1) == np.arange(len(shapes))).sum() >= 6


# The folder.


def test_the_lists_are_those_of_the_videos(demo):
    videos = {path.stem for path in (demo / "videos").iterdir()}
    names = {split: (demo / f"{split}.txt").read_text().splitlines() for split in ("valid", "test")}
    lines = [line.split(",") for line in (demo / "captions.csv").read_text().splitlines()]
    assert all(len(line) == 2 for line in lines), "captions hold no comma"
    assert {name for name, _ in lines} == videos
    for split, count in (("valid", 4), ("test", 8)):
        assert names[split] == sorted(name for name in videos if name.startswith(split))
        assert len(names[split]) == count
        captions = [text for name, text in lines if name in names[split]]
        assert len(captions) == count, "one caption each"
    assert len(lines) > SMALL.train + 12, "clips to train on have several captions"


def test_plain_captions_say_what_the_others_say(demo):
    """One sentence for one thing, two for two, of the same triples as the test's caption."""
    lines = [line.split(",") for line in (demo / "captions.csv").read_text().splitlines()]
    captions = {name: text for name, text in lines if name.startswith("test")}
    plain = [line.split(",") for line in (demo / "plain_test.csv").read_text().splitlines()]
    assert {name for name, _ in plain} == set(captions)
    for name, caption in captions.items():
        sentences = [text for clip, text in plain if clip == name]
        things = triples_of(caption)
        assert len(sentences) == len(things)
        first = sorted(things, key=lambda triple: list(grammar.COLOURS).index(triple[0]))
        assert [triples_of(text) for text in sentences] == [first, first[::-1]][: len(things)]
    known = {name for name, _ in (line.split(",") for line in (
        (demo / "plain_train.csv").read_text().splitlines()
    ))}  # fmt: skip
    assert known and not known & set(captions)


def test_videos_are_of_both_kinds_and_complete(demo):
    videos = sorted((demo / "videos").iterdir())
    assert len(videos) == SMALL.train + SMALL.valid + SMALL.test
    assert {path.suffix for path in videos} == {".mp4", ".avi"}
    for path in videos[:6]:
        frames = [frame for _, frame in VideoFile(path).read(range(SMALL.frames))]
        assert np.stack(frames).shape == (SMALL.frames, SMALL.side, SMALL.side, 3)


def test_equal_seeds_give_equal_data_whatever_the_number_of_processes(demo, tmp_path):
    build(tmp_path / "again", SMALL, workers=2)
    assert files_of(demo) == files_of(tmp_path / "again")


def test_another_seed_gives_other_data(demo, tmp_path):
    settings = Settings(train=4, valid=1, test=1, frames=12, side=64, seed=1)
    build(tmp_path / "other", settings, workers=1)
    before, other = files_of(demo), files_of(tmp_path / "other")
    assert not any(before[name] == other[name] for name in other if name in before)


def test_complete_data_stay_and_damaged_or_other_data_are_made_again(tmp_path):
    output, settings = tmp_path / "demo", Settings(train=2, valid=1, test=1, frames=8, side=48)
    summary = build(output, settings, workers=1)
    (output / "clips.store").mkdir()  # features are extracted into the folder
    before = (output / "captions.csv").stat().st_mtime_ns
    assert build(output, settings, workers=1) == summary
    assert (output / "captions.csv").stat().st_mtime_ns == before
    assert (output / "clips.store").is_dir()
    (output / "captions.csv").write_bytes(b"cut")
    assert read_complete(output, settings) is None
    build(output, settings, workers=1)
    assert len(list((output / "videos").iterdir())) == 4
    build(output, Settings(train=3, valid=1, test=1, frames=8, side=48), workers=1)
    assert len(list((output / "videos").iterdir())) == 5
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]


def test_data_of_an_older_version_go_with_their_features(tmp_path, monkeypatch):
    output, settings = tmp_path / "demo", Settings(train=2, valid=1, test=1, frames=8, side=48)
    with monkeypatch.context() as patch:
        patch.setattr(module, "VERSION", module.VERSION - 1)
        build(output, settings, workers=1)
    for name in ("train_data.npy", "clips.store"):
        (output / name).write_bytes(b"of the older version")
    build(output, settings, workers=1)
    names = {path.name for path in output.iterdir()}
    assert names == {
        *("videos", "captions.csv", "valid.txt", "test.txt", "demo.json"),
        *(f"plain_{split}.csv" for split in ("train", "valid", "test")),
    }


def test_an_error_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(path, codec, frames):
        raise DataError(f"{path}: cannot be written")

    monkeypatch.setattr(module, "write_video", fail)
    with pytest.raises(DataError):
        build(tmp_path / "demo", Settings(train=2, valid=1, test=1), workers=1)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_other_things_is_left_alone(tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("mine")
    assert make_demo_data.main(["--output", str(tmp_path)]) == 1
    assert "--output" in capsys.readouterr().err
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_the_recipes_have_the_sizes_of_the_features(job, tmp_path):
    from paddlevideo.config import load_config

    clip = one_clip(job, tmp_path, "left")
    names = job.extractor.vocabularies
    sizes = {
        "v_feature_size": clip.regions.shape[1],
        "v_target_size": len(names["region"]),
        "a_feature_size": clip.actions.shape[1],
        "a_target_size": len(names["action"]),
    }
    for recipe in ("actbert_demo.yaml", "actbert_videos.yaml"):
        config = load_config(recipe)
        backbone = config["MODEL"]["backbone"]
        assert {name: backbone[name] for name in sizes} == sizes
        for split in ("valid", "test"):
            assert config["DATASET"][split]["vision_feature_dim"] == sizes["v_feature_size"]
            assert config["DATASET"][split]["action_feature_dim"] == sizes["a_feature_size"]


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
