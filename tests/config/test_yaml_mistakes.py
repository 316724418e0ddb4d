"""YAML that users write by mistake: the line, and the cause in words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paddlevideo.config import apply_override, check_config, import_parts, load_config
from paddlevideo.config.tree import Config
from paddlevideo.config.yaml_text import parse_yaml
from paddlevideo.utils.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("epochs:1\nseed: 2\n", 1, 'write "epochs: 1"'),
        ("seed: 2\nepochs:1\n", 2, 'a space is missing after the colon: write "epochs: 1"'),
        ("MODEL:\n  framework:ActBert\n  a: 1\n", 2, 'write "framework: ActBert"'),
        ("MODEL:\n  a: 1\n  framework:ActBert # of words\n\nseed: 3\n", 3, "framework: ActBert"),
        ("a:\n  - Pad:3\n    b: 2\n", 2, 'write "- Pad: 3"'),
        ("x:1\ny:2\nz: 3\n", 1, 'write "x: 1"'),
        ("weight: {name: L2, value:1e-4}", 1, 'write "value: 1e-4"'),
        ("epochs：1\nseed: 2\n", 1, "full-width"),
        ("seed: 2\nepochs： 1\n", 2, "full-width"),
        ("MODEL:\n\tframework: ActBert\n", 2, "tab"),
        ("MODEL:\n  a: 1\n\tb: 2\n", 3, "tab"),
        ("epochs:\t1\n", 1, "tab"),
        ("MODEL:\n\u00a0\u00a0framework: ActBert\n", 2, "non-breaking space (U+00A0) in column 1"),
        ("MODEL:\n  a: 1\n\u00a0 b: 2\n", 3, "non-breaking space"),
        ("epochs:\u00a01\nseed: 1\n", 1, "non-breaking space (U+00A0) in column 8"),
        ("epochs: \u00a01\n", 1, "non-breaking space (U+00A0) in column 9"),
        ("a: b\u00a0\n", 1, "non-breaking space (U+00A0) in column 5"),
        ("a:\n\u3000b: 1\n", 2, "U+3000"),
        ("\u200ba: 1\n", 1, "an invisible character (U+200B) in column 1"),
        ("a: 1\n\ufeffb: 2\n", 2, "U+FEFF"),
        (
            "a: !!python/tuple [1, 2]\n",
            1,
            "!!python/tuple is not allowed here: write a list, [1, 2]",
        ),
        ("a: 1\nb: !!python/object:os.system {}\n", 2, "!!python/object:os.system is not allowed"),
        ("a: !!python/name:os.system\n", 1, "not allowed here: remove it"),
        ("a: !ENV x\n", 1, "put quotes around text, '!ENV x'"),
        ("a: 'x\nb: 1\n", 1, "quote that opens in this line"),
        ('b: 1\na: "x\n', 2, "quote that opens in this line"),
        ("a: [1, 2\nb: 1\n", 1, '"]" or "," is missing'),
        ("a: {x: 1\nb: 1\n", 1, '"}" or "," is missing'),
        ("a: %x\n", 1, 'begins with "%" needs quotes'),
        ("a:\n  - @x\n", 2, 'begins with "@" needs quotes'),
        ("a: `x`\n", 1, 'begins with "`" needs quotes'),
        ("a: |x\n", 1, 'begins with "|" needs quotes'),
        ("a: *x\n", 1, 'needs quotes, an alias its anchor: "&x"'),
        ("a:\n  - x\n  y\n", 3, '"y" is neither "key: value" nor "- item"'),
        ("a:\n  - x: 1\n  y: 2\n", 3, "not indented like its neighbours"),
        ("a: 1\n- b\n", 2, '"-" is wrong'),
        ("a:\n    b: 1\n  c: 2\n", 3, "not indented like its neighbours"),
        ("a:\n  b: 1\n   c: 2\n", 3, "indented further than the one above"),
        ("a: x: y\n", 1, 'a text with ": " in it needs quotes'),
        ('a: "C:\\data"\n', 1, "use single quotes"),
        ("a: 1\n<<<<<<< HEAD\nb: 2\n=======\nb: 3\n", 2, "git"),
        ("a: 010\n", 1, "010 is 8 in YAML"),
        ("a: \x00", 1, "UTF-16"),
        ("b: 1\na: \x7f", 2, "U+007F"),
    ],
)
def test_a_mistake_is_named_with_its_line(text, line, words):
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, "some.yaml")
    message = str(caught.value)
    assert message.startswith(f"some.yaml:{line}: ") and words in message
    assert "\n" not in message and "scanning" not in message and "block end" not in message


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12:30:00", "12:30:00"),
        ("1:30", "1:30"),
        ("127.0.0.1:80", "127.0.0.1:80"),
        ("http://host:80/a b", "http://host:80/a b"),
        (r"C:\data", r"C:\data"),
        ("~", None),
        ("NULL", None),
        ("None", "None"),
        ("on", True),
        ("No", False),
        ("1e-4", 1e-4),
        ("1e-04", 1e-4),
        ("0", 0),
        ("007", 7),
        ("0x10", 16),
        ("'010'", "010"),
        ("'\u00a0x'", "\u00a0x"),
        ("a\u00a0b", "a\u00a0b"),
        ("{a:b: 1}", {"a:b": 1}),
    ],
)
def test_what_is_legitimate_is_read(text, value):
    read = parse_yaml(f"a: {text}", "text")["a"]
    assert read == value and type(read) in (type(value), Config)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"epochs:1\n", 'x.yaml:1: a space is missing after the colon: write "epochs: 1"'),
        ("# mine\nepochs：1\n".encode(), "x.yaml:2: the colon is a full-width one"),
        (b"epochs = 1\nseed = 2\n", 'x.yaml:1: write "epochs: 1", with a colon'),
        (b"<!DOCTYPE html>\n<html>", "web page"),
        ("a: 1\n".encode("utf-16"), "UTF-16: save it as UTF-8"),
        ("a: 1\n".encode("utf-16-le"), "UTF-16"),
        ("a: \u4e2d\n".encode("gbk"), "not valid UTF-8"),
        (b"seed: 1\n_BASE_: x.yaml\n", 'x.yaml:2: unknown key "_BASE_". Did you mean "_base_"?'),
        (b"__base__: x.yaml\n", 'unknown key "__base__". Did you mean "_base_"?'),
        (b"_bases_: [x.yaml]\n", 'unknown key "_bases_". Did you mean "_base_"?'),
        (b"_base: x.yaml\n", 'unknown key "_base". Did you mean "_base_"?'),
    ],
)
def test_a_file_that_is_none_of_ours_is_named(tmp_path, monkeypatch, content, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.yaml").write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_config("x.yaml")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("MODEL:\n  framework:ActBert\n", 'x.yaml:1: MODEL: .*write "framework: ActBert"'),
        ("DATASET: batch_size：8\n", "full-width"),
        ("BASE: x.yaml\n", 'unknown section "BASE". Did you mean "_base_"'),
        ("epochs: １\n", "a whole number.*; write 1"),
        ("epochs: 12:30\n", 'a whole number, got "12:30"'),
        (
            "OPTIMIZER:\n  name: Adam\n  learning_rate:\n    name: CustomPiecewiseDecay\n"
            "    boundaries: (1, 2)\n    values: -1\n",
            r"a list is written \[1, 2\]",
        ),
    ],
)
def test_a_text_where_a_map_or_number_belongs_says_what_it_may_be(
    tmp_path, monkeypatch, text, words
):
    import_parts()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(ConfigError, match=words):
        check_config(load_config("x.yaml"))


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("epochs＝1", 'full-width, write "="'),
        ("epochs:1", 'write "=" instead of the colon'),
        ("epochs", "without spaces around the ="),
        ("x=!!python/tuple [1]", r"write a list, \[1, 2\]$"),
        ("x=@y", "needs quotes. Put quotes around text: -o 'x=\"..."),
        ("epochs=\u00a01", "non-breaking space"),
    ],
)
def test_overrides_are_explained_too(override, words):
    with pytest.raises(ConfigError, match=words):
        apply_override(Config({"epochs": 3}), override)


@given(st.text(alphabet=":-#[]{}'\"%@ \n\tab1&*|>!,=：\u00a0\r\x85\u2028?", max_size=40))
def test_any_text_is_read_or_explained(text):
    try:
        parse_yaml(text, "text")
    except ConfigError as error:
        assert "\n" not in str(error)
