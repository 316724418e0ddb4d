"""The YAML files of configs/extract/, and what is wrong with others."""

import json
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from paddlevideo.extract.schema import ActionSettings, ClipSettings, ImageInput, RegionSettings
from paddlevideo.extract.settings import as_yaml_map, class_names, describe, load_settings
from paddlevideo.utils.errors import ConfigError, DataError

FOLDER = Path(__file__).parents[2] / "configs" / "extract"
DOCUMENTED = {"clips": ClipSettings, "regions": RegionSettings, "actions": ActionSettings}


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder with every model and list that a shipped file names."""
    (tmp_path / "models").mkdir()
    for name in ("detector.onnx", "crops.onnx", "actions.onnx"):
        (tmp_path / "models" / name).touch()
    (tmp_path / "models" / "classes.txt").write_text("cat\n\ndog \n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_shipped_files_are_valid(home):
    assert {path.name for path in FOLDER.iterdir()} >= {
        "classical.yaml",
        "picodet.yaml",
        "onnx.yaml",
        "imagenet.yaml",
        "paddledetection.yaml",
    }
    classical = load_settings("extract/classical.yaml")
    assert type(classical.regions.detector).__name__ == "ClassicalDetector"
    picodet = load_settings("picodet.yaml", ["regions.detector.model=models/detector.onnx"])
    assert len(class_names(picodet.regions.detector.classes)) == 80
    assert picodet.regions.detector.input.size == [416, 416]
    model = "regions.detector.model=models"
    exported = load_settings("paddledetection.yaml", [model]).regions.detector
    assert exported.classes == picodet.regions.detector.classes and exported.nms == 1
    imagenet = load_settings("imagenet.yaml")
    assert imagenet.regions.vectors.model == imagenet.actions.vectors.model == "efficientnet_lite0"
    earlier = load_settings("onnx.yaml", ["actions.vectors.name=onnx"])
    onnx = load_settings("onnx.yaml")
    assert earlier == onnx, "the name before other runtimes were known"
    assert onnx.actions.vectors.outputs.scores == "scores"
    assert class_names(onnx.regions.detector.classes) == ["cat", "dog"]


def test_the_default_file_says_the_defaults(home):
    """What is written in classical.yaml is what holds without it, but for the whole frame."""
    plain = yaml.safe_load((FOLDER / "classical.yaml").read_text("utf-8"))
    for section, schema in DOCUMENTED.items():
        keys = {item.name for item in fields(schema)}
        assert set(plain[section]) == keys, "every key is shown"
        for item in fields(schema):
            if item.name not in ("detector", "vectors", "whole_frame", "max_regions"):
                assert plain[section][item.name] == item.default
    shown = yaml.safe_load((FOLDER / "picodet.yaml").read_text("utf-8"))["regions"]["detector"]
    assert set(shown["input"]) == {item.name for item in fields(ImageInput)}


def test_picodet_asks_for_its_model(home):
    with pytest.raises(ConfigError, match=r"regions.detector.model: missing"):
        load_settings("picodet.yaml")
    with pytest.raises(ConfigError, match=r'no file or folder "no.onnx"'):
        load_settings("picodet.yaml", ["regions.detector.model=no.onnx"])


MODEL = "regions.detector.model=models/detector.onnx"


@pytest.mark.parametrize(
    "overrides, message",
    [
        (["regions.frame=3"], r'regions.frame: unknown argument "frame". Did you mean "frames"'),
        (["region={}"], 'unknown section "region". Did you mean "regions"'),
        (["regions=3"], "-o cannot|regions: expected a map"),
        (["regions.frames=0"], "regions.frames: expected 1 or more, got 0"),
        (["actions.frames=1"], "actions.frames: expected 2 or more"),
        (["clips.seconds=0"], "clips.seconds: expected 0.001 or more"),
        (["regions.max_regions=many"], 'expected a whole number, got "many"'),
        (["regions.detector.name=picodte"], 'unknown detector "picodte". Did you mean "picodet"'),
        (
            ["regions.vectors={}"],
            r"regions.vectors.name: missing; it names a .*Known: classical, cr",
        ),
        (
            ["regions.vectors=crops"],
            'vectors: expected a map with the key "name", one of: classical',
        ),
        (["regions.vectors.sides=3"], 'unknown argument "sides". Did you mean "side"'),
        (["regions.vectors.name=detector", "regions.vectors.side=1"], "unknown argument"),
        (["regions.vectors={name: detector}"], "the detector has no outputs.vectors"),
        (["regions.frames=0", "actions.frames=1"], "has 2 errors"),
    ],
)
def test_a_mistake_is_named(home, overrides, message):
    with pytest.raises(ConfigError, match=message):
        load_settings("classical.yaml", overrides)


@pytest.mark.parametrize(
    "override, message",
    [
        ("regions.detector.strides=[8, 16]", "expected 2 scores and boxes, one for each stride"),
        ("regions.detector.nms=1.5", "regions.detector.nms: expected 0 to 1"),
        ("regions.detector.input.std=[1, 0, 1]", "cannot be divided by 0"),
        ("regions.detector.input.std=[1, 1]", "expected 3 values, got 2"),
        ("regions.detector.input.fit=strech", "expected .stretch. or"),
        ("regions.vectors={name: detector}", "the detector has no outputs.vectors"),
    ],
)
def test_a_mistake_about_a_network_is_named(home, override, message):
    with pytest.raises(ConfigError, match=message):
        load_settings("picodet.yaml", [MODEL, override])


def test_class_names_that_cannot_be_read(tmp_path):
    with pytest.raises(DataError, match="cannot be read as a list of class names"):
        class_names(str(tmp_path / "none.txt"))


def test_a_description_has_the_defaults_too(home):
    plain = describe(load_settings("classical.yaml", ["regions.vectors={name: classical}"]))
    assert plain["regions"]["vectors"] == {"kind": "ClassicalVectors", "side": 160}


@pytest.mark.parametrize("name", ["onnx.yaml", "imagenet.yaml", "classical.yaml"])
def test_a_description_can_be_read_again(home, tmp_path, name):
    settings = load_settings(name)
    plain = json.dumps(describe(settings))
    described = json.loads(plain)
    if name == "onnx.yaml":  # as weights have it that were trained before other runtimes were known
        described["actions"]["vectors"]["kind"] = "OnnxActions"
    (tmp_path / "again.yaml").write_text(json.dumps(as_yaml_map(described)))
    assert json.dumps(describe(load_settings(tmp_path / "again.yaml"))) == plain
