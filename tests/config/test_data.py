"""The key ``data``: what it fills, what it leaves, and what is said of it."""

from __future__ import annotations

import pytest

from paddlevideo.config import (
    check_config,
    dump_config,
    import_parts,
    load_config,
    position_of,
    with_data,
)
from paddlevideo.registry import DATASETS, InputPath, Split
from paddlevideo.utils.errors import ConfigError
from tests.tiny_data import configuration

RECIPES = ("actbert_videos.yaml", "actbert_videos_imagenet.yaml", "actbert_demo.yaml")


@pytest.fixture(autouse=True)
def parts():
    import_parts()


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_with_one_path_reads_it_everywhere(recipe):
    config = with_data(load_config(recipe, ["data=my.store"]))
    store = {"file_path": "my.store"}
    assert config.DATASET.train.items() >= {**store, "split": "train"}.items()
    for split in ("valid", "test"):
        expected = {**store, "features_path": "my.store", "split": split}
        assert config.DATASET[split].items() >= expected.items()
    (step,) = [step for step in config.PIPELINE.train.transform if "RandomCap" in step]
    assert step.RandomCap == {"rate": 0.0, "caption_path": "my.store", "split": "train"}
    assert "my.store" not in str(load_config(recipe))


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_shows_one_path(recipe):
    text = dump_config(load_config(recipe))
    assert text.count(".store") == 1 and "_path" not in text


def test_what_is_given_stays(tmp_path):
    given = [
        "data=my.store",
        "DATASET.test.file_path=test.csv",
        "DATASET.valid.split=test",
        "DATASET.train={format: ActBertDataset, file_path: rows.npy, exclude: out.txt}",
    ]
    config = with_data(load_config("actbert_videos.yaml", given))
    assert config.DATASET.train == {
        **{"format": "ActBertDataset", "file_path": "rows.npy", "exclude": "out.txt"}
    }
    assert config.DATASET.valid.split == "test"
    test = config.DATASET.test
    assert (test.file_path, test.features_path) == ("test.csv", "my.store")
    assert "split" not in test, "the file says which clips"
    nothing = load_config("actbert_msrvtt.yaml")
    assert with_data(nothing) == nothing


def test_questions_take_their_features_only():
    config = load_config(
        "actbert_msrvtt_mc.yaml", ["data=my.store", "DATASET.test.features_path=null"]
    )
    before = config.DATASET.test.file_path
    test = with_data(config).DATASET.test
    assert (test.file_path, test.features_path) == (before, "my.store")
    assert "split" not in test


class Mine:
    def __init__(self, file_path: InputPath, split: Split | None = None) -> None: ...


class Fold:
    def __init__(self, file_path: InputPath, split: int = 1) -> None: ...


def test_a_data_set_of_ones_own_takes_it_if_it_knows_the_splits(monkeypatch):
    parts = {"Mine": Mine, "Fold": Fold}
    monkeypatch.setattr(DATASETS, "_parts", {**DATASETS._parts, **parts})
    sections = {"train": {"format": "Mine"}, "test": {"format": "Fold"}}
    config = with_data({"data": "x", "DATASET": sections})
    assert config.DATASET.train == {"format": "Mine", "file_path": "x", "split": "train"}
    assert config.DATASET.test == {"format": "Fold"}, "its split is another thing"


def test_an_error_names_the_key_once():
    config = load_config("actbert_videos.yaml", ["data=no/such.store"])
    with pytest.raises(ConfigError) as caught:
        check_config(config, "train")
    assert str(caught.value).startswith('command line: data: there is no folder "no" for ')
    with pytest.raises(ConfigError, match=r"actbert_videos.yaml:\d+: data: there is no f"):
        check_config(load_config("actbert_videos.yaml"), "test")
    check_config(config, "export")
    for value in ("[a]", "3"):
        with pytest.raises(ConfigError, match="command line: data: expected"):
            check_config(load_config("actbert_videos.yaml", [f"data={value}"]), "train")


def test_without_data_the_keys_are_missing():
    with pytest.raises(ConfigError) as caught:
        check_config(load_config("actbert_videos.yaml", ["data=null"]), "train")
    for key in ("train.file_path", "valid.file_path", "valid.features_path"):
        assert f"DATASET.{key}: missing; data: STORE names all" in str(caught.value)


def test_a_path_that_nothing_reads_is_refused_on_the_command_line(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="command line: data: nothing reads it"):
        check_config(load_config("actbert_msrvtt.yaml", ["data=x"]), "export")
    (tmp_path / "data").mkdir()
    config = load_config("actbert_videos.yaml")
    tiny = configuration(tmp_path)
    config.update({name: tiny[name] for name in ("DATASET", "PIPELINE")})
    check_config(config, "export")  # a base's store, which no section needs


def test_the_filled_keys_have_the_position_of_data():
    config = with_data(load_config("actbert_videos.yaml"))
    assert position_of(config, ("DATASET", "test", "file_path")) == position_of(config, ("data",))
