from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paddlevideo.config import Config, apply_override, position_of
from paddlevideo.config.overrides import COMMAND_LINE
from paddlevideo.config.tree import value_at
from paddlevideo.config.yaml_text import dump_yaml, parse_yaml
from paddlevideo.utils.errors import ConfigError
from tests.config.test_yaml_text import texts, values

names = st.text(st.characters(codec="ascii", categories=["L", "Nd"]), min_size=1, max_size=5)
paths = st.lists(names, min_size=1, max_size=4)

TEXT = """
epochs: 3
DATASET: {batch_size: 2}
PIPELINE:
  train:
    transform:
    - FeaturePadding:
    - RandomCap:
        caption_path: a.json
  test:
MODEL: {backbone: null, sizes: [1, [2, 3]], empty: []}
"""


@pytest.fixture
def config():
    return parse_yaml(TEXT, "x.yaml")


@settings(deadline=None)
@given(paths, values)
def test_any_value_set_at_any_path_reads_back(path, value):
    config = Config({"other": 1})
    apply_override(config, f"{'.'.join(path)}={dump_yaml(value)}")
    assert value_at(config, tuple(path)) == value
    assert position_of(config, tuple(path)) == COMMAND_LINE
    assert path[0] == "other" or config.other == 1


@settings(deadline=None)
@given(st.integers(0, 2), values)
def test_any_value_set_in_a_list_reads_back(number, value):
    config = Config({"a": {"b": [1, {"c": 2}, None]}})
    apply_override(config, f"a.b.{number}={dump_yaml(value)}")
    expected = [1, {"c": 2}, None]
    expected[number] = value
    assert config.a.b == expected


@settings(deadline=None)
@given(texts)
def test_quoted_text_keeps_its_equals_signs(text):
    config = Config()
    apply_override(config, f"a=={text}=" if text.isalnum() else "a==x=")
    assert config.a == (f"={text}=" if text.isalnum() else "=x=")


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("epochs=5", ("epochs",), 5),
        ("epochs=", ("epochs",), None),
        ("new=[1, 2e-3]", ("new",), [1, 2e-3]),
        ("DATASET.train.file_path=a=b.npy", ("DATASET", "train"), {"file_path": "a=b.npy"}),
        (
            "PIPELINE.train.transform.1.RandomCap.caption_path=b.json",
            ("PIPELINE", "train", "transform", 1),
            {"RandomCap": {"caption_path": "b.json"}},
        ),
        (
            "PIPELINE.train.transform.0.FeaturePadding.max_region_num=9",
            ("PIPELINE", "train", "transform", 0),
            {"FeaturePadding": {"max_region_num": 9}},
        ),
        ("PIPELINE.test.transform=[]", ("PIPELINE", "test"), {"transform": []}),
        ("MODEL.backbone.x.y=1", ("MODEL", "backbone"), {"x": {"y": 1}}),
        ("MODEL.sizes.1.0=9", ("MODEL", "sizes"), [1, [9, 3]]),
        ("DATASET={a: 1}", ("DATASET",), {"a": 1}),
        ("name=__import__('os').getcwd()", ("name",), "__import__('os').getcwd()"),
    ],
)
def test_examples(config, override, path, value):
    apply_override(config, override)
    assert value_at(config, path) == value


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("epochs", "expects KEY.PATH=VALUE"),
        ("=3", "expects KEY.PATH=VALUE"),
        ("a..b=3", "expects KEY.PATH=VALUE"),
        ("_base_=x.yaml", "in files only"),
        ("epochs.x=1", "epochs is 3: it has no keys"),
        ("DATASET.batch_size.x.y=1", "DATASET.batch_size is 2"),
        ("PIPELINE.train.transform.2=1", "has 2 items: 0 to 1"),
        ("PIPELINE.train.transform.-1=1", "expected an index"),
        ("PIPELINE.train.transform.RandomCap.caption_path=x", "RandomCap is at index 1"),
        ("MODEL.empty.0=1", "an empty list"),
        ("a=[1", "-o a: "),
        ("a=@x", "Put quotes around text"),
        ("a=!!python/name:os.system x", "not allowed here: remove it"),
    ],
)
def test_faults_say_what_can_be_set(config, override, words):
    with pytest.raises(ConfigError) as caught:
        apply_override(config, override)
    assert words in str(caught.value)


def test_an_item_of_a_list_is_placed_on_the_command_line(config):
    apply_override(config, "MODEL.sizes.1.0=x")
    assert position_of(config, ("MODEL", "sizes", 1, 0)) == COMMAND_LINE
    assert position_of(config, ("PIPELINE", "train", "transform", 1, "RandomCap")).line == 8
