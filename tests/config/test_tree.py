from __future__ import annotations

import copy
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paddlevideo.config import Config, Position, merge, position_of
from paddlevideo.config.yaml_text import parse_yaml

keys = st.sampled_from(["a", "b", "c", "values"])
scalars = st.none() | st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=2)
maps = st.dictionaries(
    keys, st.recursive(scalars, lambda inner: st.dictionaries(keys, inner)), max_size=4
)


def leaves(value, path=()):
    """Paths and values of all that is not a map; an empty map counts as a leaf."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from leaves(item, (*path, key))
    else:
        yield path, value


def at(value, path):
    for key in path:
        value = value[key]
    return value


def test_attributes_and_keys_are_the_same_at_every_depth():
    config = Config({"MODEL": {"backbone": {"layers": 2}}, "steps": [{"Pad": {"length": 3}}]})
    assert config.MODEL.backbone.layers == config["MODEL"]["backbone"]["layers"] == 2
    assert config.steps[0].Pad.length == 3
    config.MODEL.loss = {"name": "L"}
    assert config.MODEL.loss.name == "L"
    del config.MODEL.loss
    assert "loss" not in config.MODEL
    config.setdefault("DATASET", {"batch_size": 3})
    assert config.DATASET.batch_size == 3


def test_an_absent_attribute_names_the_nearest():
    with pytest.raises(AttributeError, match='Did you mean "epochs"'):
        _ = Config({"epochs": 1}).epoch
    with pytest.raises(AttributeError):
        del Config().epochs
    assert not hasattr(Config(), "epochs")


@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, Config.copy, lambda c: pickle.loads(pickle.dumps(c))]
)
def test_copies_are_configs_that_keep_positions(duplicate):
    config = parse_yaml("a:\n  b: 1\nc: [1]", "x.yaml")
    twin = duplicate(config)
    assert twin == config and twin is not config and isinstance(twin.a, Config)
    assert position_of(twin, ("a", "b")) == Position("x.yaml", 2)


def test_to_dict_is_plain():
    plain = Config({"a": {"b": [{"c": 1}]}}).to_dict()
    assert type(plain["a"]) is dict and type(plain["a"]["b"][0]) is dict


def test_a_changed_value_forgets_its_position():
    config = parse_yaml("a: 1\nb: 2", "x.yaml")
    config.b = 3
    assert position_of(config, ("b",)) is None
    assert str(position_of(config, ("a",))) == "x.yaml:1"


@settings(deadline=None)
@given(maps, maps)
def test_merge_keeps_what_changes_say_and_the_rest_of_the_base(base, changes):
    merged = merge(Config(base), Config(changes))
    for path, value in leaves(changes):
        if value != {}:
            assert at(merged, path) == value
    for path, value in leaves(base):
        touched = any(path[: len(p)] == p or p[: len(path)] == path for p, _ in leaves(changes))
        if not touched:
            assert at(merged, path) == value


@settings(deadline=None)
@given(maps, maps)
def test_merge_modifies_neither_and_is_idempotent(base, changes):
    first, second = Config(copy.deepcopy(base)), Config(copy.deepcopy(changes))
    merged = merge(first, second)
    assert (first, second) == (base, changes)
    assert merge(merged, second) == merged
    assert merge(first, Config()) == base == merge(Config(), first)


def test_replace_takes_a_map_whole_and_is_gone_afterwards():
    base = Config({"a": {"x": 1, "y": {"z": 2}}})
    assert merge(base, Config({"a": {"_replace_": True, "y": {}}})) == {"a": {"y": {}}}
    assert merge(base, Config({"a": {"_replace_": False, "x": 3}})).a == {"x": 3, "y": {"z": 2}}
    assert merge(base, Config({"new": {"_replace_": True, "x": 3}})).new == {"x": 3}
