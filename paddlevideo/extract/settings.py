"""Reads and checks the YAML files of ``configs/extract/``."""

from __future__ import annotations

import dataclasses
import json
import os
import typing
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from paddlevideo.config.arguments import Fault, unknown
from paddlevideo.config.check import PartCheck, raise_faults
from paddlevideo.config.files import load_config
from paddlevideo.config.tree import value_at
from paddlevideo.extract.models import EFFICIENTNET, KNOWN_NAMES
from paddlevideo.extract.schema import (
    ACTIONS,
    DETECTORS,
    VECTORS,
    ActionSettings,
    ClipSettings,
    Names,
    RegionSettings,
    Settings,
)
from paddlevideo.registry import Registry
from paddlevideo.utils.errors import DataError

#: Each section, and the registries of those of its keys that name a part.
SECTIONS: Mapping[str, tuple[type, Mapping[str, Registry]]] = {
    "clips": (ClipSettings, {}),
    "regions": (RegionSettings, {"detector": DETECTORS, "vectors": VECTORS}),
    "actions": (ActionSettings, {"vectors": ACTIONS}),
}

#: Names of classes of settings before they were renamed, in what stores and weights keep.
EARLIER = {"OnnxActions": "network"}


def load_settings(path: str | os.PathLike[str], overrides: Iterable[str] = ()) -> Settings:
    """Returns the settings in a YAML file; a name that is not a file is looked up in ``configs/``.

    Raises ConfigError with a line ``file:line: KEY.PATH: what is wrong`` for each fault.
    """
    config = load_config(path, overrides)
    check = _ExtractionCheck(config)
    raise_faults(config, list(check.faults()) or list(check.disagreements()))
    sections = {
        name: _build(schema, config.get(name) or {}, parts)
        for name, (schema, parts) in SECTIONS.items()
    }
    return Settings(**sections)


def describe(settings: Any) -> dict[str, Any]:
    """Returns everything that is set, defaults too, as plain values; each map names its class."""
    values = {item.name: getattr(settings, item.name) for item in dataclasses.fields(settings)}
    plain = {
        name: describe(value) if dataclasses.is_dataclass(value) else value
        for name, value in values.items()
    }
    return {"kind": type(settings).__name__, **plain}


def as_yaml_map(described: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what :func:`load_settings` reads, from what :func:`describe` returned.

    Checksums of models are left out: the caller compares them.
    """
    sections = {}
    for name, (_, parts) in SECTIONS.items():
        sections[name] = _plain(described[name])
        for key, registry in parts.items():
            kind = described[name][key]["kind"]
            known = {registry.get(part).__name__: part for part in reversed(list(registry))}
            known |= EARLIER
            sections[name][key] = {registry.key: known.get(kind, kind), **sections[name][key]}
    return sections


def _plain(described: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _plain(value) if isinstance(value, Mapping) else value
        for key, value in described.items()
        if key not in ("kind", "sha256")
    }


def class_names(names: Names) -> list[str] | None:
    """Returns the names of classes, from a file if need be. Raises DataError."""
    if not isinstance(names, str):
        return names
    if names in KNOWN_NAMES:
        return list(json.loads(KNOWN_NAMES[names]("classes").read_text("utf-8")))
    try:
        lines = Path(names).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{names}: cannot be read as a list of class names ({error})") from None
    return [line.strip() for line in lines if line.strip()]


def portable(settings: Settings) -> Settings:
    """Returns settings that mean the same in another folder or on another machine.

    Paths of models are absolute; names of classes take the place of their files. Raises DataError
    where those cannot be read.
    """

    def part(given: Any) -> Any:
        changes: dict[str, Any] = {}
        if getattr(given, "model", EFFICIENTNET) != EFFICIENTNET:
            changes["model"] = os.path.abspath(given.model)
        if getattr(given, "classes", None) is not None:
            changes["classes"] = class_names(given.classes)
        return dataclasses.replace(given, **changes)

    regions, actions = settings.regions, settings.actions
    return dataclasses.replace(
        settings,
        regions=dataclasses.replace(
            regions, detector=part(regions.detector), vectors=part(regions.vectors)
        ),
        actions=dataclasses.replace(actions, vectors=part(actions.vectors)),
    )


class _ExtractionCheck(PartCheck):
    def faults(self) -> Iterator[Fault]:
        """Yields faults of single keys."""
        for name in self.config:
            if name not in SECTIONS:
                yield Fault((name,), unknown("section", name, list(SECTIONS)))
        for name, (schema, parts) in SECTIONS.items():
            yield from self.settings((name,), schema, parts)

    def disagreements(self) -> Iterator[Fault]:
        """Yields faults of several keys together; each of them must be valid."""
        for section, (_, parts) in SECTIONS.items():
            for key in parts:
                std = (section, key, "input", "std")
                if any(value == 0 for value in value_at(self.config, std) or ()):
                    yield Fault(std, "a channel cannot be divided by 0")
        detector = value_at(self.config, ("regions", "detector"))
        outputs = detector.get("outputs") or {}
        if detector["name"] == "picodet":
            strides = detector.get("strides", [8, 16, 32, 64])
            if not len(strides) == len(outputs["scores"]) == len(outputs["boxes"]):
                outputs_path = ("regions", "detector", "outputs")
                yield Fault(
                    outputs_path, f"expected {len(strides)} scores and boxes, one for each stride"
                )
        path = ("regions", "vectors", "name")
        gives_vectors = detector["name"] == "boxes" and outputs.get("vectors")
        if value_at(self.config, path) == "detector" and not gives_vectors:
            yield Fault(
                path, "the detector has no outputs.vectors: choose other vectors, or name them"
            )


def _build(schema: Any, values: Mapping[str, Any], parts: Mapping[str, Registry]) -> Any:
    """Returns a dataclass of a checked map, with the dataclasses in it.

    ``parts``: the registries of the keys that name a part.
    """
    hints = typing.get_type_hints(schema)
    built: dict[str, Any] = dict(values)
    for name, value in values.items():
        if name in parts:
            registry = parts[name]
            given = {key: inner for key, inner in value.items() if key != registry.key}
            built[name] = _build(registry.get(value[registry.key]), given, {})
        elif dataclasses.is_dataclass(hints[name]) and isinstance(value, Mapping):
            built[name] = _build(hints[name], value, {})
    return schema(**built)
