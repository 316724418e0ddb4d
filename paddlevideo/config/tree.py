"""The configuration as a tree of maps and lists that remembers where each key was written."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from paddlevideo.registry import did_you_mean

#: Keys from the root to a value; list items are numbered from 0.
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

    Maps that are put into it become Configs too, also inside lists. A key that is the name of a
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

    def place(self, key: str, value: Any, position: Position | None) -> None:
        """Sets ``key`` and remembers where it was written."""
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
        """As plain dicts and lists that share nothing with this."""
        return to_plain(self)

    def copy(self) -> Config:
        """A copy whose values are shared with this one."""
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
    """What pickle and copy call."""
    config = Config(entries, origin)
    config._positions = positions
    return config


def as_config(value: Any) -> Any:
    """``value`` with every map in it, also inside lists, as a Config; Configs stay themselves."""
    if isinstance(value, Mapping) and not isinstance(value, Config):
        return Config(value)
    if isinstance(value, (list, tuple)):
        return [as_config(item) for item in value]
    return value


def to_plain(value: Any) -> Any:
    """``value`` as plain dicts and lists that share nothing with it."""
    if isinstance(value, Mapping):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    return value


def merge(base: Config, changes: Config) -> Config:
    """``base`` with ``changes`` on top, as a new Config; neither is modified.

    Maps are merged key by key, unless the one in ``changes`` says ``_replace_: True``. Anything
    else, lists and null included, takes the place of what ``base`` has.
    """
    merged = base.copy()
    merged._origin = changes._origin or base._origin
    for key, value in changes.items():
        if key == REPLACE:
            continue
        if isinstance(value, Config):
            below = merged.get(key)
            if value.get(REPLACE) or not isinstance(below, Config):
                below = Config()
            value = merge(below, value)
        merged.place(key, value, changes._positions.get(key))
    return merged


def position_of(config: Config, path: KeyPath) -> Position | None:
    """Where the value at ``path`` was written, or what encloses it if it was not written.

    None for a configuration that was made in Python.
    """
    found, node = config._origin, config
    for key in path:
        if isinstance(node, Config):
            found = node._positions.get(str(key), found)
        node = child_of(node, key)
    return found


def child_of(node: Any, key: str | int) -> Any:
    """The entry of a map or the item of a list; None where there is none."""
    if isinstance(node, Mapping):
        return node.get(key)
    if isinstance(node, list) and isinstance(key, int) and key < len(node):
        return node[key]
    return None


def value_at(config: Config, path: KeyPath) -> Any:
    """The value at ``path``; None where there is none."""
    node: Any = config
    for key in path:
        node = child_of(node, key)
    return node


def dotted(path: KeyPath) -> str:
    """``("PIPELINE", "train", 0)`` as ``PIPELINE.train.0``, the form that ``-o`` takes."""
    return ".".join(map(str, path))
