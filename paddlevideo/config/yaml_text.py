"""YAML text to values with line numbers, and back. YAML 1.1, with ``1e-4`` as a number."""

from __future__ import annotations

import re
from typing import Any, NoReturn

import yaml

from paddlevideo.config.tree import Config, Position, to_plain
from paddlevideo.config.yaml_mistakes import (
    UNUSUAL_SPACE,
    entry_advice,
    find_mistake,
    unusual_space,
)
from paddlevideo.utils.errors import ConfigError

#: Maximum number of values after expanding aliases, far above any configuration: seven lines of
#: aliases of aliases took 430 MB and two minutes.
MAX_VALUES = 100_000

# YAML 1.1 requires a point in the mantissa, and reads 1e-4 as text.
_FLOAT_TAG = "tag:yaml.org,2002:float"
_NUMBER_TAGS = (_FLOAT_TAG, "tag:yaml.org,2002:int")
_POINTLESS_FLOAT = re.compile(r"[-+]?(\d+|\d+\.\d*|\.\d+)[eE][-+]?\d+$")
_FLOAT_START = list("-+.0123456789")

_OCTAL = re.compile(r"[-+]?0[0-7]+$")


class _Loader(yaml.SafeLoader):
    """Builds numbers, text, booleans, null and dates, and nothing else."""

    def construct_text(self, node: yaml.ScalarNode) -> str:
        return str(node.value)


class _Dumper(yaml.SafeDumper):
    """Quotes text that ``_Loader`` would read as something else."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_text(self, text: str) -> yaml.ScalarNode:
        style = '"' if UNUSUAL_SPACE.search(text) or "\x85" in text else None
        return self.represent_scalar("tag:yaml.org,2002:str", text, style)


_Loader.add_implicit_resolver(_FLOAT_TAG, _POINTLESS_FLOAT, _FLOAT_START)
_Loader.add_constructor("tag:yaml.org,2002:value", _Loader.construct_text)  # a lone "="
_Dumper.add_implicit_resolver(_FLOAT_TAG, _POINTLESS_FLOAT, _FLOAT_START)
_Dumper.add_representer(str, _Dumper.represent_text)


def parse_yaml(text: str, source: str, numbered: bool = True) -> Any:
    """Returns the value of a YAML text; its maps are Configs.

    ``source`` names the text in messages and positions, with line numbers if ``numbered``.
    Raises ConfigError for invalid YAML, for duplicate keys and for keys that are not text.
    """
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            return None if node is None else _NodeReader(loader, source, numbered).read(node)
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        line, message = find_mistake(error, text)
        raise ConfigError(f"{Position(source, line if numbered else 0)}: {message}") from None
    except RecursionError:
        raise ConfigError(f"{source}: maps or lists are nested too deeply") from None


def dump_yaml(value: Any) -> str:
    """Returns YAML that ``parse_yaml`` reads as an equal value; keys keep their order."""
    return yaml.dump(
        to_plain(value),
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=None,  # one line for a list or map of scalars
        width=float("inf"),
    )


class _NodeReader:
    """Turns PyYAML's nodes, which have line numbers, into values."""

    def __init__(self, loader: _Loader, source: str, numbered: bool) -> None:
        self.loader = loader
        self.source = source
        self.numbered = numbered
        self.values = 0
        self.enclosing: set[int] = set()

    def read(self, node: yaml.Node) -> Any:
        """Returns the value of a node. Raises ConfigError with the line of the error."""
        self.values += 1
        if self.values > MAX_VALUES:
            self.fail(node, f"aliases expand this text to more than {MAX_VALUES} values")
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node)
        if id(node) in self.enclosing:
            self.fail(node, "an alias is inside what it refers to")
        self.enclosing.add(id(node))
        value = self.map(node) if isinstance(node, yaml.MappingNode) else self.list(node)
        self.enclosing.remove(id(node))
        return value

    def scalar(self, node: yaml.ScalarNode) -> Any:
        if node.tag not in self.loader.yaml_constructors:
            self.refuse_tag(node)
        if node.style is None:  # without quotes
            self.check_plain(node)
            if node.tag in _NUMBER_TAGS and ":" in node.value:
                return node.value  # YAML 1.1 reads 12:30 as minutes: 750
        try:
            return self.loader.construct_object(node)
        except (ValueError, LookupError, AttributeError):
            kind = node.tag.rpartition(":")[2]
            self.fail(
                node, f'"{node.value}" is not a valid {kind}; put quotes around it if it is text'
            )

    def check_plain(self, node: yaml.ScalarNode) -> None:
        """Rejects a value that YAML does not read as it looks."""
        value = node.value
        space = UNUSUAL_SPACE.match(value) or UNUSUAL_SPACE.search(value, len(value) - 1)
        if space:
            message = unusual_space(space, node.start_mark.column)
            self.fail(node, f"{message}, or put quotes around text that has it")
        if _OCTAL.match(value) and int(value, 8) != int(value):
            self.fail(
                node,
                f"{value} is {int(value, 8)} in YAML, an octal number: write it without the 0 in "
                "front, or in quotes if it is text",
            )

    def list(self, node: yaml.Node) -> list[Any]:
        self.expect_tag(node, "seq")
        return [self.read(item) for item in node.value]

    def map(self, node: yaml.MappingNode) -> Config:
        self.expect_tag(node, "map")
        self.refuse_duplicates(node)
        self.loader.flatten_mapping(node)  # inserts the entries of "<<" before the map's own
        config = Config()
        for key_node, value_node in node.value:
            key = self.key(key_node)
            is_alone = node.flow_style and key_node.style is None and _is_absent(value_node)
            if is_alone and (message := entry_advice(key)):  # {a:1}
                self.fail(key_node, message)
            config.set_at(key, self.read(value_node), self.position(key_node))
        return config

    def key(self, node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode):
            self.fail(node, "a key must be text, this one is a map or a list")
        key = self.scalar(node)
        if not isinstance(key, str):
            self.fail(node, f'a key must be text: put quotes around "{node.value}"')
        return str(key)

    def refuse_duplicates(self, node: yaml.MappingNode) -> None:
        lines: dict[str, int] = {}
        for key_node, _ in node.value:
            if isinstance(key_node, yaml.ScalarNode):
                key, line = key_node.value, key_node.start_mark.line + 1
                if key in lines:
                    self.fail(key_node, f'the key "{key}" is in this line and in line {lines[key]}')
                lines[key] = line

    def expect_tag(self, node: yaml.Node, kind: str) -> None:
        if node.tag != f"tag:yaml.org,2002:{kind}":
            self.refuse_tag(node)

    def refuse_tag(self, node: yaml.Node) -> NoReturn:
        tag = node.tag.replace("tag:yaml.org,2002:", "!!")
        advice = "remove it"
        if tag == "!!python/tuple":
            advice = "write a list, [1, 2]"
        elif node.tag.startswith("!") and isinstance(node, yaml.ScalarNode):
            advice = f"put quotes around text, '{node.tag}{node.value and ' '}{node.value}'"
        self.fail(node, f"the tag {tag} is not allowed here: {advice}")

    def position(self, node: yaml.Node) -> Position:
        return Position(self.source, node.start_mark.line + 1 if self.numbered else 0)

    def fail(self, node: yaml.Node, problem: str) -> NoReturn:
        raise ConfigError(f"{self.position(node)}: {problem}")


def _is_absent(node: yaml.Node) -> bool:
    """Whether nothing is written where a value may be."""
    return isinstance(node, yaml.ScalarNode) and node.style is None and node.value == ""
