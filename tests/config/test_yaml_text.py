from __future__ import annotations

import datetime
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paddlevideo.config.yaml_text import dump_yaml, parse_yaml
from paddlevideo.utils.errors import ConfigError

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_subnormal=False)
    | texts
    | st.sampled_from(["1e-4", "null", "yes", "=", "<<", "0x1f", "1:30", "2024-01-31", "a: b", "#"])
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None)
@given(values)
def test_what_is_dumped_reads_back(value):
    assert parse_yaml(dump_yaml(value), "text") == value


@settings(deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False))
def test_any_way_to_write_a_number_is_a_number(number):
    for text in (repr(number), f"{number:e}", f"{number:.3g}"):
        value = parse_yaml(text, "text")
        assert isinstance(value, (int, float)) and value == float(text)


@pytest.mark.parametrize("text", ["1e-4", "+1E5", "1.e3", ".5e-2", "-2e+7"])
def test_exponents_need_no_point(text):
    assert parse_yaml(f"rate: {text}", "text") == {"rate": float(text)}


@pytest.mark.parametrize("text", ["e5", "1e", "1e-4x", "v1e4", "'1e-4'", '"1e-4"', "."])
def test_what_only_looks_like_a_number_is_text(text):
    assert isinstance(parse_yaml(text, "text"), str)


def test_scalars_of_yaml_1_1():
    text = "{a: yes, b: 0x1f, c: .inf, d: ~, e: 2024-01-31, f: =}"
    expected = {"a": True, "b": 31, "c": math.inf, "d": None, "f": "="}
    assert parse_yaml(text, "text") == {**expected, "e": datetime.date(2024, 1, 31)}


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: 1\nb: 2\na: 3", 3, 'the key "a" is in this line and in line 1'),
        ("a:\n  b: {c: 1, c: 2}", 2, 'the key "c"'),
        ("a:\n\tb: 1", 2, "there is a tab"),
        ("a: [1, 2\nb: 3", 1, '"]" or "," is missing'),
        ("a: 'text\nb: 3\n", 1, "the quote that opens in this line"),
        ("a: 1\n1: 2", 2, 'put quotes around "1"'),
        ("a: 1\non: 2", 2, 'put quotes around "on"'),
        ("a: 1\n? [x]\n: 2", 2, "a key must be text"),
        ("a: 1\nb: 2024-13-45", 2, "not a valid timestamp"),
        ("a: !!int x", 1, "not a valid int"),
        ("a: !!bool perhaps", 1, "not a valid bool"),
        ("a: 1\nb: !!python/object/apply:os.system [ls]", 2, "not allowed"),
        ("a: !!python/name:os.system x", 1, "!!python/name:os.system is not allowed"),
        ("a: !!set {x}", 1, "not allowed"),
        ("a: 1\nb: \x00", 2, "zero byte: is the file UTF-16?"),
        ("a: *nowhere", 1, 'its anchor: "&nowhere"'),
        ("a: &a [1, *a]", 1, "inside what it refers to"),
        ("a: 1\n---\nb: 2", 2, "second document"),
    ],
)
def test_faults_name_file_and_line(text, line, words):
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, "some.yaml")
    message = str(caught.value)
    assert message.startswith(f"some.yaml:{line}: ") and words in message
    assert "\n" not in message


def test_aliases_cannot_fill_the_memory():
    lines = ["a0: &a0 [1, 2, 3, 4, 5, 6, 7, 8, 9]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    with pytest.raises(ConfigError, match="aliases"):
        parse_yaml("\n".join(lines), "text")


def test_deep_nesting_is_a_config_error():
    with pytest.raises(ConfigError, match="nested too deeply"):
        parse_yaml("[" * 1500 + "]" * 1500, "text")


def test_merge_keys_and_aliases_give_independent_copies():
    value = parse_yaml("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: *a", "text")
    assert value == {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}, "c": {"x": 1, "y": 2}}
    value.a.x = 5
    assert value.c.x == 1
