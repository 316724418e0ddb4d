"""The key ``data``: one feature store for all data sets and steps that name no file of their own.

The configuration keeps the key as it was written, so that ``-o data=`` works on the ``config.yaml``
beside weights too; data sets and steps are built from :func:`with_data`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from paddlevideo.config.arguments import schema_of
from paddlevideo.config.tree import Config, KeyPath, as_config, child_of, position_of
from paddlevideo.registry import DATASETS, PIPELINES, SPLITS, Split

DATA = "data"
#: Arguments that ``data`` fills: features always, clips and captions where an argument
#: ``split: Split | None`` says which of them are read.
FEATURES, CLIPS = "features_path", ("file_path", "caption_path")


def with_data(config: Any) -> Config:
    """Returns a copy in which ``data`` is written out: the paths and ``split`` of each section."""
    return fill_data(config)[0]


def fill_data(config: Any) -> tuple[Config, frozenset[KeyPath]]:
    """Returns what :func:`with_data` returns, and the paths of the keys that it fills.

    In the section of a split and in the steps of its pipeline:

    - ``features_path``, where it is absent, becomes the store;
    - ``file_path`` and ``caption_path`` too, in parts that also have the argument
      ``split: Split | None``, which becomes the name of the section unless it is given.
    """
    config = as_config(copy.deepcopy(config))
    data = config.get(DATA)
    if not isinstance(data, str) or not data:
        return config, frozenset()
    position = position_of(config, (DATA,))
    filled: list[KeyPath] = []
    for path, section, part in _parts(config):
        for key, value in _missing(section, schema_of(part).hints, data, str(path[1])):
            section.set_at(key, value, position)
            filled.append((*path, key))
    return config, frozenset(filled)


def _missing(
    section: Config, hints: Mapping[str, Any], data: str, split: str
) -> Iterator[tuple[str, str]]:
    """Yields the keys that a section lacks, and their values."""
    if FEATURES in hints and section.get(FEATURES) is None:
        yield FEATURES, data
    for key in CLIPS:
        if key in hints and hints.get("split") == Split | None and section.get(key) is None:
            yield key, data
            if section.get("split") is None:
                yield "split", split


def _parts(config: Config) -> Iterator[tuple[KeyPath, Config, Callable[..., Any]]]:
    """Yields data sets and steps: their paths, maps and classes. Errors are left to the check."""
    for split in SPLITS:
        section = child_of(config.get("DATASET"), split)
        name = section.get(DATASETS.key) if isinstance(section, Config) else None
        if isinstance(name, str) and name in DATASETS:
            yield ("DATASET", split), section, DATASETS.get(name)
        steps = child_of(child_of(config.get("PIPELINE"), split), "transform")
        for index, step in enumerate(steps if isinstance(steps, list) else ()):
            if not isinstance(step, Config) or len(step) != 1:
                continue
            ((name, arguments),) = step.items()
            if name in PIPELINES and (arguments is None or isinstance(arguments, Config)):
                if arguments is None:
                    step[name] = Config()
                path = ("PIPELINE", split, "transform", index, name)
                yield path, step[name], PIPELINES.get(name)
