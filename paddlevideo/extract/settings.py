"""What is extracted, and how: a YAML file of ``configs/extract/``, checked key by key."""

from __future__ import annotations

import dataclasses
import os
import typing
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from paddlevideo.config.arguments import Fault, argument_faults, prefix_path, unknown
from paddlevideo.config.check import fault_line
from paddlevideo.config.files import load_config
from paddlevideo.config.tree import Config, KeyPath, value_at
from paddlevideo.extract.schema import (
    ACTIONS,
    DETECTORS,
    VECTORS,
    ActionSettings,
    ClipSettings,
    Kinds,
    Names,
    RegionSettings,
    Settings,
)
from paddlevideo.utils.errors import ConfigError, DataError

#: Each section, and those of its keys that are maps with a ``name``.
SECTIONS: Mapping[str, tuple[type, Mapping[str, Kinds]]] = {
    "clips": (ClipSettings, {}),
    "regions": (RegionSettings, {"detector": DETECTORS, "vectors": VECTORS}),
    "actions": (ActionSettings, {"vectors": ACTIONS}),
}


def load_settings(path: str | os.PathLike[str], overrides: Iterable[str] = ()) -> Settings:
    """The settings in a YAML file; a name that is no file is looked up in ``configs/``.

    Raises ConfigError with a line ``file:line: KEY.PATH: what is wrong`` for each fault.
    """
    config = load_config(path, overrides)
    faults = list(_faults(config)) or list(_disagreements(config))
    lines = [fault_line(config, fault) for fault in faults]
    if len(lines) > 1:
        raise ConfigError("\n  ".join([f"the configuration has {len(lines)} faults:", *lines]))
    if lines:
        raise ConfigError(lines[0])
    sections = {name: _section(name, config.get(name) or {}) for name in SECTIONS}
    return Settings(**sections)


def describe(part: Any) -> dict[str, Any]:
    """Everything that is set, defaults too, as plain values; each map names its class."""
    values = {item.name: getattr(part, item.name) for item in dataclasses.fields(part)}
    plain = {
        name: describe(value) if dataclasses.is_dataclass(value) else value
        for name, value in values.items()
    }
    return {"kind": type(part).__name__, **plain}


def class_names(names: Names) -> list[str] | None:
    """The names of classes, read where a file has them. Raises DataError if it cannot be read."""
    if not isinstance(names, str):
        return names
    try:
        lines = Path(names).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as fault:
        raise DataError(f"{names}: cannot be read as a list of class names ({fault})") from None
    return [line.strip() for line in lines if line.strip()]


# ------------------------------------------------------------------------- the check


def _faults(config: Config) -> Iterator[Fault]:
    for name in config:
        if name not in SECTIONS:
            yield Fault((name,), unknown("section", name, list(SECTIONS)))
    for name, (schema, kinds) in SECTIONS.items():
        section = config.get(name)
        if section is None:
            section = {}
        if not isinstance(section, Mapping):
            yield Fault((name,), "expected a map")
            continue
        yield from prefix_path((name,), argument_faults(schema, section, checked=kinds))
        for key, choices in kinds.items():
            if key in section:
                yield from _kind_faults((name, key), section[key], choices)


def _kind_faults(path: KeyPath, value: Any, kinds: Kinds) -> Iterator[Fault]:
    known = ", ".join(kinds)
    if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
        yield Fault(path, f'expected a map with the key "name", one of: {known}')
    elif value["name"] not in kinds:
        yield Fault((*path, "name"), unknown(str(path[-1]), value["name"], list(kinds)))
    else:
        given = {key: item for key, item in value.items() if key != "name"}
        yield from prefix_path(path, argument_faults(kinds[value["name"]], given))


def _disagreements(config: Config) -> Iterator[Fault]:
    """What no single key tells; asked for when the keys are right one by one."""
    for section, key in (("regions", "detector"), ("regions", "vectors"), ("actions", "vectors")):
        path = (section, key)
        if any(std == 0 for std in value_at(config, (*path, "input", "std")) or ()):
            yield Fault((*path, "input", "std"), "a channel cannot be divided by 0")
    detector = value_at(config, ("regions", "detector"))
    outputs = detector.get("outputs") or {}
    if detector["name"] == "picodet":
        strides = detector.get("strides", [8, 16, 32, 64])
        if not len(strides) == len(outputs["scores"]) == len(outputs["boxes"]):
            place = ("regions", "detector", "outputs")
            yield Fault(place, f"expected {len(strides)} scores and boxes, one for each stride")
    wanted = value_at(config, ("regions", "vectors", "name")) == "detector"
    if wanted and not (detector["name"] == "boxes" and outputs.get("vectors")):
        message = "the detector has no outputs.vectors: choose other vectors, or name them"
        yield Fault(("regions", "vectors", "name"), message)


# ----------------------------------------------------------------------- the building


def _section(name: str, values: Mapping[str, Any]) -> Any:
    schema, kinds = SECTIONS[name]
    parts = {key: _kind(values[key], choices) for key, choices in kinds.items()}
    return schema(**{**values, **parts})


def _kind(values: Mapping[str, Any], kinds: Kinds) -> Any:
    given = {key: value for key, value in values.items() if key != "name"}
    return _built(kinds[values["name"]], given)


def _built(schema: Any, values: Mapping[str, Any]) -> Any:
    """A dataclass of a checked map, with the dataclasses in it."""
    hints = typing.get_type_hints(schema)
    inner = {
        name: _built(hints[name], value)
        for name, value in values.items()
        if dataclasses.is_dataclass(hints[name])
    }
    return schema(**{**values, **inner})
