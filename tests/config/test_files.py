from __future__ import annotations

from pathlib import Path

import pytest

from paddlevideo.config import dump_config, files, load_config, position_of
from paddlevideo.utils.errors import ConfigError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes a file below a working directory of its own."""
    monkeypatch.chdir(tmp_path)

    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write


def fault(name) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(name)
    return str(caught.value)


# ------------------------------------------------------------------------- looking up


def test_a_bare_name_is_found_below_the_shipped_configs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    expected = ROOT / "configs/multimodal/actbert/actbert.yaml"
    assert files.find_config("actbert.yaml") == expected
    assert files.find_config("actbert/actbert.yaml") == expected


def test_configs_inside_the_package_come_first(tmp_path, monkeypatch, write):
    path = write("site/paddlevideo/configs/some/actbert.yaml", "epochs: 1")
    monkeypatch.setattr(files, "_PACKAGE", tmp_path / "site/paddlevideo")
    assert files.find_config("actbert.yaml") == path


def test_a_file_that_exists_wins_then_configs_of_the_working_directory(write):
    write("configs/deep/actbert.yaml", "epochs: 2")
    assert load_config("actbert.yaml").epochs == 2
    write("actbert.yaml", "epochs: 3")
    assert load_config("actbert.yaml").epochs == 3


def test_names_that_are_not_one_file(write):
    write("configs/a/same.yaml", "")
    write("configs/b/same.yaml", "")
    assert "may be any of configs/a/same.yaml, configs/b/same.yaml" in fault("same.yaml")
    assert 'Did you mean "actbert_msrvtt.yaml"' in fault("actbert_msrvt.yaml")
    assert 'Did you mean "actbert.yaml"' in fault("/nowhere/actbert.yml")
    assert "is a folder" in fault("configs")
    assert "is empty" in fault("")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "x.yaml:1: expected a map of sections (MODEL: ...), got nothing"),
        (b"# only a comment\n", "got nothing"),
        (b"- a\n- b\n", "got a list"),
        (b"text", "got a str"),
        (b"a: 1\nb: \xff\n", "x.yaml:2: the file is not valid UTF-8"),
        (b"a: 1\na: 2\n", 'x.yaml:2: the key "a" is in this line and in line 1'),
    ],
)
def test_files_that_are_no_configuration(write, content, message):
    write("x.yaml", "").write_bytes(content)
    assert message in fault("x.yaml")


def test_a_byte_order_mark_and_windows_line_ends_are_no_fault(write):
    write("x.yaml", "").write_bytes(b"\xef\xbb\xbfa: 1\r\nb:\r\n  c: 2\r\n")
    config = load_config("x.yaml")
    assert config == {"a": 1, "b": {"c": 2}}
    assert str(position_of(config, ("b", "c"))) == "x.yaml:3"


# ------------------------------------------------------------------------- inheritance


def test_bases_are_merged_in_order_and_positions_stay(write):
    write("base/one.yaml", "epochs: 1\nMODEL:\n  a: 1\n  b: [1, 2]\n")
    write("base/two.yaml", "_base_: one.yaml\nMODEL: {c: 3}\nseed: 5\n")
    write("x.yaml", "_base_: [base/one.yaml, base/two.yaml]\nMODEL:\n  b: [9]\n  a: null\n")
    config = load_config("x.yaml")
    assert config == {"epochs": 1, "MODEL": {"a": None, "b": [9], "c": 3}, "seed": 5}
    assert list(config) == ["epochs", "MODEL", "seed"]
    places = {path: str(position_of(config, path.split("."))) for path in ("MODEL.b", "MODEL.c")}
    assert places == {"MODEL.b": "x.yaml:3", "MODEL.c": "base/two.yaml:2"}
    assert str(position_of(config, ("absent",))) == "x.yaml:1"


def test_a_map_can_be_replaced(write):
    write("base.yaml", "loss: {name: A, weight: 1}")
    write("x.yaml", "_base_: base.yaml\nloss: {_replace_: True, name: B}")
    assert load_config("x.yaml") == {"loss": {"name": "B"}}


def test_a_base_may_be_shipped(write):
    write("mine/x.yaml", "_base_: actbert.yaml\nepochs: 77\n")
    config = load_config("mine/x.yaml")
    assert config.epochs == 77 and config.MODEL.framework == "ActBert"


def test_faults_of_bases_name_the_line(write):
    write("a.yaml", "_base_: b.yaml")
    write("b.yaml", "_base_: [a.yaml]")
    assert "circular: a.yaml -> b.yaml -> a.yaml" in fault("a.yaml")
    write("c.yaml", "epochs: 1\n_base_: absent.yaml")
    assert fault("c.yaml").startswith('c.yaml:2: _base_: there is no configuration file "absent')
    write("d.yaml", "\n_base_: {a: 1}")
    assert fault("d.yaml") == "d.yaml:2: _base_ must be a file name or a list of them"


# ----------------------------------------------------------------------------- writing


@pytest.mark.parametrize("name", ["actbert.yaml", "actbert_msrvtt.yaml"])
def test_what_is_dumped_loads_as_the_same(write, name):
    config = load_config(name, ["OPTIMIZER.learning_rate.values=[1e-4, 1.5e-7]"])
    write("again.yaml", dump_config(config))
    assert load_config("again.yaml") == config
