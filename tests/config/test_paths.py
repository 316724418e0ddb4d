"""Paths in configurations: the home folder, variables, files that ship."""

from pathlib import Path

import pytest

from paddlevideo.config import check_config, import_parts, load_config, position_of
from paddlevideo.utils.errors import ConfigError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(name, text):
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(text)


def test_home_and_variables_are_replaced_wherever_a_text_is(folder, monkeypatch):
    monkeypatch.setenv("HOME", "/home/user")
    monkeypatch.setenv("DATA", "/data")
    monkeypatch.delenv("ABSENT", raising=False)
    write(
        "x.yaml",
        "output_dir: ~/run\nDATASET: {train: {file_path: $DATA/a.npy, lists: [~/b, '${DATA}/c']}}\n"
        "rates: {'bias$|norm$': 1}\nother: $ABSENT/x\nname: a~b\n",
    )
    config = load_config("x.yaml", ["MODEL.backbone.pretrained=~/bert", "a.0=~/x"])
    assert config.output_dir == "/home/user/run" and config.name == "a~b"
    assert config.DATASET.train == {
        "file_path": "/data/a.npy",
        "lists": ["/home/user/b", "/data/c"],
    }
    assert config.MODEL.backbone.pretrained == "/home/user/bert"
    assert config.other == "$ABSENT/x" and list(config.rates) == ["bias$|norm$"]
    assert str(position_of(config, ("output_dir",))) == "x.yaml:1"


def test_files_of_configurations_are_found_with_variables_too(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder / "home"))
    monkeypatch.setenv("BASES", str(folder / "bases"))
    monkeypatch.delenv("ABSENT", raising=False)
    write("bases/base.yaml", "epochs: 7\n")
    write("home/x.yaml", "_base_: $BASES/base.yaml\n")
    assert load_config("~/x.yaml").epochs == 7
    write("y.yaml", "_base_: $ABSENT/base.yaml\n")
    with pytest.raises(ConfigError, match="y.yaml:1: _base_: the environment variable ABSENT is"):
        load_config("y.yaml")


def test_a_list_that_ships_is_found_from_any_folder(folder):
    name = "configs/multimodal/actbert/msrvtt_validation.txt"
    write("x.yaml", f"exclude: {name}\nabsent: configs/absent.txt\n")
    config = load_config("x.yaml")
    assert Path(config.exclude).samefile(ROOT / name)
    assert config.absent == "configs/absent.txt"
    write(name, "mine\n")
    assert load_config("x.yaml").exclude == name


def test_a_variable_that_is_not_set_is_named(folder, monkeypatch):
    import_parts()
    monkeypatch.delenv("ABSENT", raising=False)
    overrides = [
        *("output_dir=$ABSENT/run", "DATASET.train.file_path=$ABSENT/a.npy"),
        *("MODEL.backbone.pretrained=${ABSENT}", "DATASET.train.bert_model=$ABSENT/vocab.txt"),
    ]
    with pytest.raises(ConfigError) as caught:
        check_config(load_config("actbert.yaml", overrides))
    lines = str(caught.value).splitlines()
    for key in ("output_dir", "file_path", "pretrained", "bert_model"):
        (line,) = [line for line in lines if f"{key}: " in line]
        assert "the environment variable ABSENT is not set" in line
