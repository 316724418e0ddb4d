"""The feature stores that a rank reads: whether they are all there, and equal on all ranks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from paddlevideo.config.arguments import schema_of
from paddlevideo.files.whole import checksum
from paddlevideo.loader.store import FeatureStore, is_store
from paddlevideo.loader.store.manifest import COMPLETE
from paddlevideo.loader.store.split import split_path
from paddlevideo.registry import DATASETS, PIPELINES, Share
from paddlevideo.runtime import World
from paddlevideo.utils.errors import ConfigError, DataError
from paddlevideo.utils.nested import texts_in
from paddlevideo.utils.printable import some

#: Shards that a message names.
NAMED = 5
Steps = list[Any]


def check_stores(section: Any, steps: Any) -> list[tuple[str, list[str]]]:
    """Returns each store that a data set and its steps name, and checksums of its JSON files.

    Raises DataError if a shard that they read is absent or not of its size. Reads no shard.
    """
    shares = dict[str, set[Share | None]]()
    for values in (section, *_arguments(steps)):
        for _, text in texts_in(values):
            if text and is_store(text):
                shares.setdefault(text, set()).add(values.get("share"))
    faults, found = [], []
    for path, of_it in shares.items():
        for share in of_it:
            store = FeatureStore(path, share)
            if absent := store.absent():
                faults.append(
                    f"{path}: of the {len(store.shards)} shards that are read, absent or cut "
                    f"short: {some(absent, NAMED)}. Copy them here"
                )
        files = (Path(path, COMPLETE), split_path(path))
        found.append((path, [checksum(file) if file.is_file() else "" for file in files]))
    if faults:
        raise DataError("\n".join(faults))
    return found


def _arguments(steps: Any) -> Iterable[Mapping[str, Any]]:
    """Yields the arguments of the steps of a pipeline."""
    for step in steps or ():
        if isinstance(step, Mapping):
            yield from (value for value in step.values() if isinstance(value, Mapping))


def check_equal(world: World, found: list[tuple[str, list[str]]]) -> None:
    """Raises on all ranks if one has another store, or another split, than rank 0."""
    first = world.gather(found)[0]

    def compare() -> None:
        if len(found) != len(first):
            names = [[path for path, _ in each] or ["none"] for each in (found, first)]
            raise DataError(f"reads the stores {some(names[0])}, and rank 0 {some(names[1])}")
        for (path, sums), (other, expected) in zip(found, first, strict=True):
            if sums != expected:
                file = Path(path, COMPLETE) if sums[0] != expected[0] else split_path(path)
                raise DataError(f"{file}: is not equal to {other} of rank 0. Copy one to all")

    world.together(compare)


def with_share(section: dict[str, Any], steps: Steps, share: Share) -> tuple[dict[str, Any], Steps]:
    """Returns a data set's section and steps that read this rank's shards of its store.

    Steps that read the same store read the same shards. Raises ConfigError for a data set that
    cannot.
    """
    name, path = section[DATASETS.key], section.get("file_path")
    if not _takes_share(DATASETS.get(name)):
        raise ConfigError(
            "DATASET.shards: by_rank needs a data set that reads a feature store clip by clip (one "
            f"with an argument share); {name} does not. Leave the key out"
        )
    changed = []
    for step in steps:
        ((step_name, given),) = step.items() if isinstance(step, Mapping) else ((step, None),)
        arguments = dict(given or {})
        reads_it = path and path in arguments.values()
        if reads_it and _takes_share(PIPELINES.get(step_name)):
            arguments["share"] = share
        changed.append({step_name: arguments})
    return {**section, "share": share}, changed


def _takes_share(cls: Any) -> bool:
    return schema_of(cls).hints.get("share") == Share | None
