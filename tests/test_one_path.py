"""A recipe that names its data once: training, validation, tests, resume and a dry run."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml

from paddlevideo.cli import run as main
from paddlevideo.cli import split
from paddlevideo.config import load_config
from paddlevideo.loader import MSRVTTDataset, RandomCap, build_dataset
from paddlevideo.loader.dataset.captioning import CaptioningDataset
from paddlevideo.loader.store import FeatureStore, StoreWriter
from paddlevideo.loader.store.split import SplitFile, split_path
from paddlevideo.utils.errors import ConfigError, DataError
from tests.loader.test_store_datasets import SIZES
from tests.prepare.test_split import of_video
from tests.tiny_data import ACTION_SIZE, REGION_SIZE, WORDS, configuration

WIDTHS = {"vision_feature_dim": REGION_SIZE, "action_feature_dim": ACTION_SIZE}


def write_store(path, videos):
    rng = np.random.default_rng(3)
    with StoreWriter(path, SIZES) as writer:
        for number in range(2 * videos):
            text = " ".join(rng.choice(WORDS, 4))
            clip = of_video(f"v{number // 2:02d}", number % 2, captions=[text])
            writer.add(clip)
        writer.finish()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a store, its split and a recipe with the key ``data``."""
    folder = tmp_path_factory.mktemp("place")
    write_store(folder / "videos.store", 20)
    assert split.main([str(folder / "videos.store"), "--valid", "0.2", "--test", "0.2"]) == 0
    recipe = configuration(folder)
    for section in recipe["DATASET"].values():
        if isinstance(section, dict):
            section.pop("file_path"), section.pop("features_path", None)
    recipe["PIPELINE"]["train"]["transform"][1] = {"RandomCap": None}
    recipe |= {"data": "videos.store", "validate": True, "output_dir": "output"}
    (folder / "mine.yaml").write_text(yaml.safe_dump(recipe))
    return folder


@pytest.fixture(scope="module")
def trained(place):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        assert main.main(["-c", "mine.yaml"]) == 0
    return place


def sides(place):
    return SplitFile.read(split_path(place / "videos.store")).clips


def test_every_data_set_reads_its_clips(place):
    path = str(place / "videos.store")
    train = build_dataset({"format": "ActBertDataset", "file_path": path, "split": "train"})
    assert [train.name_of(i) for i in range(len(train))] == sides(place)["train"]
    store = FeatureStore(path)
    for kind in (MSRVTTDataset, CaptioningDataset):
        data = kind(path, path, split="test", **WIDTHS)
        assert [data.name_of(i) for i in range(len(data))] == sides(place)["test"]
    test = MSRVTTDataset(path, path, split="test", **WIDTHS)
    for index in range(len(test)):
        about = store.about(store.find(test.name_of(index)))
        assert test.captions[index] == about.captions[0]
    assert len(MSRVTTDataset(path, path, **WIDTHS)) == 40, "all captions of a store"


def test_lists_apply_within_a_split(place, tmp_path):
    names = sides(place)["train"][:2]
    (tmp_path / "out.txt").write_text("\n".join([*names, sides(place)["test"][0]]))
    options = {"format": "ActBertDataset", "file_path": str(place / "videos.store")}
    train = build_dataset({**options, "split": "train", "exclude": str(tmp_path / "out.txt")})
    assert [train.name_of(i) for i in range(len(train))] == sides(place)["train"][2:]
    with pytest.raises(DataError, match="leave no clip"):
        build_dataset({**options, "split": "valid", "only": str(tmp_path / "out.txt")})


def test_negatives_are_captions_of_training_clips(place):
    store = FeatureStore(place / "videos.store")
    captions = {about.id: about.captions[0] for about in map(store.about, range(len(store)))}
    step, rng = RandomCap(str(place / "videos.store"), 1.0, "train"), np.random.default_rng(0)
    drawn = {step({"captions": ["other"]}, rng)["caption"] for _ in range(500)}
    assert drawn == {captions[clip] for clip in sides(place)["train"]}


def test_other_files_have_no_split(tmp_path):
    (tmp_path / "x.csv").write_text("a,b\n")
    with pytest.raises(ConfigError, match="split: works with a feature store, which .*x.csv"):
        MSRVTTDataset(str(tmp_path / "x.csv"), str(tmp_path), split="test")


def test_training_validates_and_keeps_the_key(trained):
    output = trained / "output"
    assert (output / "Tiny_best.pdparams").is_file()
    kept = load_config(output / "config.yaml")
    assert kept["data"] == "videos.store" and "file_path" not in str(kept)


def test_a_test_takes_the_recipe_beside_the_weights(trained, monkeypatch, tmp_path):
    monkeypatch.chdir(trained)
    weights = ["--test", "-w", "output/Tiny_best.pdparams", "-o", f"output_dir={tmp_path}"]
    assert main.main(weights) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["protocol"]["videos"] == 8
    assert results["protocol"]["file"] == "videos.store"
    assert results["protocol"]["split"] == "test"
    write_store(trained / "other.store", 10)
    assert split.main(["other.store", "--test", "0.5"]) == 0
    assert main.main([*weights, "data=other.store"]) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["protocol"]["videos"] == 10


def test_a_dry_run_and_a_resumed_one(trained, monkeypatch, capsys):
    monkeypatch.chdir(trained)
    assert main.main(["-c", "mine.yaml", "--dry_run"]) == 0
    more = ["-c", "mine.yaml", "--resume", "auto"]
    (trained / "moved.store").symlink_to("videos.store")
    assert main.main([*more, "-o", "data=moved.store"]) == 2
    assert "data: 'videos.store' -> 'moved.store'" in capsys.readouterr().err
    assert main.main(more) == 0


def test_a_store_without_a_split_is_told_before_training(trained, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(trained)
    write_store(tmp_path / "new.store", 5)
    words = ["-c", "mine.yaml", "-o", f"data={tmp_path / 'new.store'}", f"output_dir={tmp_path}/o"]
    assert main.main(words) == 1
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error: ")]
    assert f"paddlevideo split {tmp_path / 'new.store'}" in line
