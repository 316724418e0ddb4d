"""YAML text to values that know their lines, and back. YAML 1.1, with ``1e-4`` as a number."""

from __future__ import annotations

import re
from typing import Any, NoReturn

import yaml

from paddlevideo.config.tree import Config, Position, to_plain
from paddlevideo.utils.errors import ConfigError

#: Values that a text may expand to: far beyond any configuration, and a bound for aliases of
#: aliases of aliases.
MAX_VALUES = 100_000

# YAML 1.1 asks for a point in the mantissa, and reads 1e-4 as text.
_FLOAT_TAG = "tag:yaml.org,2002:float"
_POINTLESS_FLOAT = re.compile(r"[-+]?(\d+|\d+\.\d*|\.\d+)[eE][-+]?\d+$")
_FLOAT_START = list("-+.0123456789")

# Unicode's, which PyYAML writes without quotes and reads back as spaces.
_LINE_BREAKS = frozenset("\x85\u2028\u2029")


class _Loader(yaml.SafeLoader):
    """Builds numbers, text, booleans, null and dates, and nothing else."""

    def construct_text(self, node: yaml.ScalarNode) -> str:
        return str(node.value)


class _Dumper(yaml.SafeDumper):
    """Quotes whatever ``_Loader`` would not read as the same text."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_text(self, text: str) -> yaml.ScalarNode:
        style = '"' if _LINE_BREAKS.intersection(text) else None
        return self.represent_scalar("tag:yaml.org,2002:str", text, style)


_Loader.add_implicit_resolver(_FLOAT_TAG, _POINTLESS_FLOAT, _FLOAT_START)
_Loader.add_constructor("tag:yaml.org,2002:value", _Loader.construct_text)  # a lone "="
_Dumper.add_implicit_resolver(_FLOAT_TAG, _POINTLESS_FLOAT, _FLOAT_START)
_Dumper.add_representer(str, _Dumper.represent_text)


def parse_yaml(text: str, source: str, numbered: bool = True) -> Any:
    """The value that ``text`` stands for; its maps are Configs.

    ``source`` names the text in messages and positions, with line numbers if ``numbered``.
    Raises ConfigError for what is not YAML, for duplicate keys and for keys that are not text.
    """
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            return None if node is None else _NodeReader(loader, source, numbered).read(node)
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise ConfigError(_explain(error, text, source, numbered)) from None
    except RecursionError:
        raise ConfigError(f"{source}: maps or lists are nested too deeply") from None


def dump_yaml(value: Any) -> str:
    """YAML that ``parse_yaml`` reads back as an equal value; keys keep their order."""
    return yaml.dump(
        to_plain(value),
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=None,  # one line for a list or map of scalars
        width=float("inf"),
    )


class _NodeReader:
    """Turns PyYAML's nodes, which know their lines, into values."""

    def __init__(self, loader: _Loader, source: str, numbered: bool) -> None:
        self.loader = loader
        self.source = source
        self.numbered = numbered
        self.values = 0
        self.enclosing: set[int] = set()

    def read(self, node: yaml.Node) -> Any:
        """Raises ConfigError with the line of what is wrong."""
        self.values += 1
        if self.values > MAX_VALUES:
            self.fail(node, f"aliases make more than {MAX_VALUES} values of this text")
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node)
        if id(node) in self.enclosing:
            self.fail(node, "an alias stands inside what it refers to")
        self.enclosing.add(id(node))
        try:
            return self.map(node) if isinstance(node, yaml.MappingNode) else self.list(node)
        finally:
            self.enclosing.remove(id(node))

    def scalar(self, node: yaml.ScalarNode) -> Any:
        try:
            return self.loader.construct_object(node)
        except (ValueError, LookupError, AttributeError):
            kind = node.tag.rpartition(":")[2]
            self.fail(
                node, f'"{node.value}" is no valid {kind}; put quotes around it if it is text'
            )

    def list(self, node: yaml.Node) -> list[Any]:
        self.expect_tag(node, "seq")
        return [self.read(item) for item in node.value]

    def map(self, node: yaml.MappingNode) -> Config:
        self.expect_tag(node, "map")
        self.refuse_duplicates(node)
        self.loader.flatten_mapping(node)  # puts what "<<" merges in before the map's own keys
        config = Config()
        for key_node, value_node in node.value:
            config.place(self.key(key_node), self.read(value_node), self.position(key_node))
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
                    self.fail(key_node, f'the key "{key}" stands here and in line {lines[key]}')
                lines[key] = line

    def expect_tag(self, node: yaml.Node, kind: str) -> None:
        if node.tag != f"tag:yaml.org,2002:{kind}":
            self.fail(node, f"the tag {node.tag} is not allowed here")

    def position(self, node: yaml.Node) -> Position:
        return Position(self.source, node.start_mark.line + 1 if self.numbered else 0)

    def fail(self, node: yaml.Node, problem: str) -> NoReturn:
        raise ConfigError(f"{self.position(node)}: {problem}")


def _explain(error: yaml.YAMLError, text: str, source: str, numbered: bool) -> str:
    """One line for a syntax error: where, what, and advice about tabs."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is not None:
        line = mark.line + 1
        parts = (getattr(error, "context", None), getattr(error, "problem", None))
        problem = ", ".join(part for part in parts if part)
    else:  # a character that YAML does not admit at all
        line = text.count("\n", 0, getattr(error, "position", 0)) + 1
        problem = getattr(error, "reason", str(error))
    lines = text.splitlines()
    if numbered and line <= len(lines) and "\t" in lines[line - 1]:
        problem += ". There is a tab in this line: YAML wants spaces"
    return f"{Position(source, line if numbered else 0)}: {problem}"
