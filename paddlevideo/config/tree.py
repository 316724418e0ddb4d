"""The configuration as a tree of maps and lists that records where each key was written."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from paddlevideo.registry import did_you_mean

#: Keys and list indices from the root to a value.
KeyPath = tuple[str | int, ...]

#: In a map of a file that has a ``_base_``: take this map instead of merging it into the base's.
REPLACE = "_replace_"


class Position(NamedTuple):
    """Where a key was written. ``line`` counts from 1; 0 stands for a source without lines."""

    source: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.source}:{self.line}" if self.line else self.source


class Config(dict[str, Any]):
    """A dict whose keys are also attributes, at every depth: ``config.MODEL.backbone.name``.

    Maps assigned to it become Configs too, also inside lists. A key that is the name of a
    method of dict needs brackets: ``config.OPTIMIZER.learning_rate["values"]``.
    """

    _positions: dict[str, Position]
    _origin: Position | None

    def __init__(
        self,
        entries: Mapping[str, Any] | Iterable[tuple[str, Any]] = (),
        origin: Position | None = None,
    ) -> None:
        """``origin`` says where the map as a whole comes from."""
        super().__init__()
        self._positions = {}
        self._origin = origin
        self.update(entries)

    def set_at(self, key: str, value: Any, position: Position | None) -> None:
        """Sets ``key`` and records where it was written."""
        self[key] = value
        if position is not None:
            self._positions[key] = position

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, as_config(value))
        self._positions.pop(key, None)

    def update(self, *entries: Any, **more: Any) -> None:
        """As dict.update; maps become Configs."""
        for key, value in dict(*entries, **more).items():
            self[key] = value

    def setdefault(self, key: str, default: Any = None) -> Any:
        """As dict.setdefault; a map becomes a Config."""
        if key not in self:
            self[key] = default
        return self[key]

    def to_dict(self) -> dict[str, Any]:
        """Returns plain dicts and lists that share nothing with this."""
        return to_plain(self)

    def copy(self) -> Config:
        """Returns a copy that shares its values with this one."""
        return copy.copy(self)

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            near = did_you_mean(name, self)
            raise AttributeError(f'the configuration has no "{name}" here.{near}') from None

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            super().__setattr__(name, value)
        else:
            self[name] = value

    def __delattr__(self, name: str) -> None:
        if name not in self:
            raise AttributeError(f'the configuration has no "{name}" here')
        del self[name]

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (dict(self), dict(self._positions), self._origin)


def _restore(
    entries: dict[str, Any], positions: dict[str, Position], origin: Position | None
) -> Config:
    """Restores a Config, for pickle and copy."""
    config = Config(entries, origin)
    config._positions = positions
    return config


def as_config(value: Any) -> Any:
    """Returns ``value`` with every map in it, also inside lists, as a Config."""
    if isinstance(value, Mapping) and not isinstance(value, Config):
        return Config(value)
    if isinstance(value, (list, tuple)):
        return [as_config(item) for item in value]
    return value


def to_plain(value: Any) -> Any:
    """Returns ``value`` as plain dicts and lists that share nothing with it."""
    if isinstance(value, Mapping):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    return value


def merge(base: Config, changes: Config) -> Config:
    """Returns a new Config: ``base`` with ``changes`` merged into it; neither is modified.

    Maps are merged key by key, unless the one in ``changes`` says ``_replace_: True``. Anything
    else, lists and null included, replaces the value in ``base``.
    """
    merged = base.copy()
    merged._origin = changes._origin or base._origin
    for key, value in changes.items():
        if key == REPLACE:
            continue
        if isinstance(value, Config):
            inherited = merged.get(key)
            if value.get(REPLACE) or not isinstance(inherited, Config):
                inherited = Config()
            value = merge(inherited, value)
        merged.set_at(key, value, changes._positions.get(key))
    return merged


def position_of(config: Config, path: KeyPath) -> Position | None:
    """Returns where the value at ``path``, or else the nearest map around it, was written.

    None for a configuration that was made in Python.
    """
    position, node = config._origin, config
    for key in path:
        if isinstance(node, Config):
            position = node._positions.get(str(key), position)
        node = child_of(node, key)
    return position


def child_of(node: Any, key: str | int) -> Any:
    """Returns the entry of a map or the item of a list, or None."""
    if isinstance(node, Mapping):
        return node.get(key)
    if isinstance(node, list) and isinstance(key, int) and key < len(node):
        return node[key]
    return None


def value_at(config: Config, path: KeyPath) -> Any:
    """Returns the value at ``path``, or None."""
    node: Any = config
    for key in path:
        node = child_of(node, key)
    return node


def dotted(path: KeyPath) -> str:
    """Returns ``("PIPELINE", "train", 0)`` as ``PIPELINE.train.0``, the form that ``-o`` takes."""
    return ".".join(map(str, path))
