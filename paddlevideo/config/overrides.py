"""Changes from the command line: ``-o a.b.0.c=value``."""

from __future__ import annotations

from typing import Any

from paddlevideo.config.tree import Config, KeyPath, Position, child_of, dotted
from paddlevideo.config.yaml_text import parse_yaml
from paddlevideo.utils.errors import ConfigError

COMMAND_LINE = Position("command line")


def apply_override(config: Config, override: str) -> None:
    """Sets one ``KEY.PATH=VALUE`` in ``config``.

    The value is YAML (``null``, ``[1, 2]``, ``{name: L2, value: 1e-4}``), and may contain ``=``.
    A number in the path is the index of a list's item. Keys that a map lacks are created, and so
    are maps where the value was null. Raises ConfigError if that is not possible.
    """
    key, equals, text = override.partition("=")
    path = tuple(key.strip().split("."))
    if not equals or not all(path):
        raise ConfigError(f'-o expects KEY.PATH=VALUE, got "{override}"{_advice(override)}')
    if path[0].startswith("_"):
        raise ConfigError(f'-o cannot set "{path[0]}": it works in files only')
    try:
        value = parse_yaml(text, f"-o {key}", numbered=False)
    except ConfigError as error:
        if text.lstrip().startswith("!"):
            raise
        raise ConfigError(f"{error}. Put quotes around text: -o '{key}=\"...\"'") from None
    set_value(config, path, value, COMMAND_LINE)


def _advice(override: str) -> str:
    """Returns the likely mistake in an override that has no key or no equals sign."""
    if "＝" in override:
        return ': its "＝" is full-width, write "="'
    if ":" in override and "=" not in override:
        return ': write "=" instead of the colon'
    return ", without spaces around the =" if override.strip("=") else ""


def set_value(config: Config, path: tuple[str, ...], value: Any, position: Position) -> None:
    """Sets the value at ``path``, whose numbers are still text. Raises ConfigError."""
    node: Any = config
    parent, parent_key = config, path[0]  # the innermost map of the path, and its key
    for depth, key in enumerate(path[:-1]):
        step = _step(node, key, path[:depth])
        if isinstance(node, Config):
            parent, parent_key = node, key
        child = child_of(node, step)
        if child is None:
            child = Config()
            _put(node, step, child, position)
        node = child
    _put(node, _step(node, path[-1], path[:-1]), value, position)
    if isinstance(node, list):  # items have no positions
        parent.set_at(parent_key, parent[parent_key], position)


def _put(node: Config | list[Any], step: str | int, value: Any, position: Position) -> None:
    if isinstance(node, Config):
        node.set_at(str(step), value, position)
    else:
        node[int(step)] = value


def _step(node: Any, key: str, path: KeyPath) -> str | int:
    """Returns ``key`` as the index of ``node``, the value at ``path``. Raises ConfigError."""
    where = f"-o {dotted((*path, key))}: {dotted(path)}"
    if isinstance(node, Config):
        return key
    if not isinstance(node, list):
        raise ConfigError(f"{where} is {node!r}: it has no keys")
    if not node:
        raise ConfigError(f"{where} is an empty list: set the whole list")
    if not (key.isascii() and key.isdigit()):
        named = [str(i) for i, item in enumerate(node) if isinstance(item, Config) and key in item]
        advice = f" ({key} is at index {' and '.join(named)})" if named else ""
        raise ConfigError(f'{where} is a list: expected an index, got "{key}"{advice}')
    if int(key) >= len(node):
        raise ConfigError(f"{where} has {len(node)} items: 0 to {len(node) - 1}")
    return int(key)
