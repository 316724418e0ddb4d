"""Checks a whole configuration before anything is built, and reports all errors at once."""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import PurePath
from typing import Any, Literal

from paddlevideo.config.arguments import (
    Fault,
    argument_faults,
    prefix_path,
    schema_of,
    unknown,
    value_faults,
)
from paddlevideo.config.data import DATA, fill_data
from paddlevideo.config.overrides import COMMAND_LINE
from paddlevideo.config.settings import (
    IGNORED_SETTINGS,
    NO_MORE_SHARDING,
    REFUSED_SETTINGS,
    AccumulationSettings,
    DatasetSettings,
    RunSettings,
)
from paddlevideo.config.tree import Config, KeyPath, as_config, dotted, position_of, value_at
from paddlevideo.config.yaml_mistakes import entry_advice
from paddlevideo.registry import (
    DATASETS,
    FRAMEWORKS,
    METRICS,
    MODEL_PARTS,
    OPTIMIZERS,
    PIPELINES,
    SCHEDULES,
    SPLITS,
    Registry,
    did_you_mean,
)
from paddlevideo.utils.errors import ConfigError

#: "export" needs the model alone: no data file has to exist.
Mode = Literal["train", "test", "export"]

SECTIONS = ("MODEL", "DATASET", "PIPELINE", "OPTIMIZER", "METRIC", "GRADIENT_ACCUMULATION")

#: A message lists the names of a registry if there are at most this many.
MOST_CHOICES = 12
_PART_PACKAGES = (
    *("modeling", "loader", "metrics", "solver"),
    *("captioning", "questions", "retrieval", "timelines"),
)


def import_parts(modules: Iterable[str] = ()) -> None:
    """Imports the modules that register parts: the package's own, and the user's ``modules``.

    The user's may be in the working directory. Raises ConfigError for a module that does not
    exist; other errors of a module propagate.
    """
    for package in _PART_PACKAGES:
        importlib.import_module(f"paddlevideo.{package}")
    modules = list(modules)
    if modules and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    for name in modules:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise
            raise ConfigError(
                f'--import: there is no module "{name}" in this folder, in that of main.py, or in '
                "PYTHONPATH"
            ) from None


def modules_of(config: Mapping[str, Any]) -> list[str]:
    """Returns the modules that ``imports`` names; none if it is not a list of names."""
    modules = config.get("imports") or []
    is_list = isinstance(modules, list) and all(isinstance(name, str) for name in modules)
    return list(modules) if is_list else []


def check_config(
    config: Mapping[str, Any], mode: Mode = "train", validate: bool = False, files: bool = True
) -> list[str]:
    """Checks names, types, ranges, what ``mode`` needs and, if ``files``, that inputs exist.

    Allowed values come from the constructors of the parts, which must have been registered
    (``import_parts``). Returns warnings about PaddleVideo's settings that are ignored. Raises one
    ConfigError with a line ``file:line: KEY.PATH: what is wrong`` for each error.
    """
    check = _Check(as_config(config), mode, validate, files)
    raise_faults(check.config, check.faults())
    return [
        fault_line(check.config, Fault((key,), f"ignored: {IGNORED_SETTINGS[key]}"))
        for key in config
        if key in IGNORED_SETTINGS
    ]


def raise_faults(config: Config, faults: Iterable[Fault]) -> None:
    """Raises one ConfigError with a line for each of ``faults``, if there are any."""
    lines = list(dict.fromkeys(fault_line(config, fault) for fault in faults))
    if len(lines) > 1:
        lines = ["\n  ".join([f"the configuration has {len(lines)} errors:", *lines])]
    if lines:
        raise ConfigError(lines[0])


def fault_line(config: Config, fault: Fault) -> str:
    """Returns a fault as it is printed, with its line and what a text was probably meant to be."""
    position, value = position_of(config, fault.path), value_at(config, fault.path)
    message = fault.message
    if isinstance(value, str) and fault.message.startswith("expected a map"):
        message = "; ".join(filter(None, (message, entry_advice(value))))
    where = (str(position) if position else "", dotted(fault.path), message)
    return ": ".join(part for part in where if part)


class PartCheck:
    """Checks maps of a configuration as parts of registries and as dataclasses.

    Methods yield faults with paths from the root.
    """

    #: Added to the message for an unknown part: how to load one's own.
    own_parts = ""

    def __init__(self, config: Config) -> None:
        self.config = config

    def settings(
        self, path: KeyPath, schema: type, parts: Mapping[str, Registry] | None = None
    ) -> Iterator[Fault]:
        """Checks the map at ``path`` as the arguments of a dataclass; null is an empty map.

        ``parts``: the registries of those of its entries that name a part.
        """
        value = value_at(self.config, path)
        value = {} if value is None else value
        if not isinstance(value, Mapping):
            yield from prefix_path(path, value_faults(value, schema))
            return
        yield from prefix_path(path, argument_faults(schema, value, checked=parts or ()))
        for key, registry in (parts or {}).items():
            if key in value:
                yield from self.part((*path, key), registry)

    def part(
        self,
        path: KeyPath,
        registry: Registry,
        files: bool = True,
        nested: Mapping[str, Registry] | None = None,
    ) -> Iterator[Fault]:
        """Checks the map at ``path``, which names a part of ``registry``.

        ``nested``: those of its entries that are parts themselves, where they are maps.
        """
        config = value_at(self.config, path)
        if not isinstance(config, Config):
            known = ", ".join(registry)
            choices = f", one of: {known}" if len(list(registry)) <= MOST_CHOICES else ""
            yield Fault(path, f'expected a map with the key "{registry.key}"{choices}')
            return
        inner = {key for key in nested or {} if isinstance(config.get(key), Config)}
        for key in sorted(inner):
            yield from self.part((*path, key), (nested or {})[key], files)
        name = config.get(registry.key)
        if not isinstance(name, str):
            near = did_you_mean(registry.key, config.keys() - inner)
            near = near or f" Known: {', '.join(registry)}" * (len(list(registry)) <= MOST_CHOICES)
            wanted = f"missing; it names a {registry.name}.{near}"
            yield Fault((*path, registry.key), wanted if name is None else "expected text")
        elif name not in registry:
            yield Fault((*path, registry.key), self.unknown_part(registry, name))
        else:
            given = {key: value for key, value in config.items() if key != registry.key}
            yield from prefix_path(path, argument_faults(registry.get(name), given, files, inner))

    def unknown_part(self, registry: Registry, name: str) -> str:
        """Returns the message for a part that is not registered."""
        known = list(registry)
        advice = "" if did_you_mean(name, known) else self.own_parts
        return f"{unknown(registry.name, name, known)}{advice}"


class _Check(PartCheck):
    """One check of one configuration."""

    own_parts = ". --import my.module loads parts of your own"

    def __init__(self, config: Config, mode: Mode, validate: bool, files: bool = True) -> None:
        config, self.from_data = fill_data(config)
        super().__init__(config)
        self.training = mode == "train"
        self.purpose = {"train": "training", "test": "a test", "export": "an export"}[mode]
        validates = validate or config.get("validate") is True
        splits: dict[Mode, tuple[str, ...]]
        splits = {"train": SPLITS[: 1 + validates], "test": ("test",), "export": ()}
        self.read_splits, self.files = splits[mode], files

    def faults(self) -> Iterator[Fault]:
        """Yields all faults, section by section; those of ``data`` once, not where it is used."""
        yield from self.data()
        could_fill = fill_data({**self.config, DATA: "STORE"})[1]
        for fault in self.sections():
            if fault.message == "missing" and fault.path in could_fill:
                yield fault._replace(message=f"missing; {DATA}: STORE names all such files at once")
            elif fault.path not in self.from_data:
                yield fault

    def data(self) -> Iterator[Fault]:
        """Checks the store of all data sets."""
        data = self.config.get(DATA)
        is_read = self.files and any(path[1] in self.read_splits for path in self.from_data)
        hint = schema_of(RunSettings).hints[DATA]
        yield from prefix_path((DATA,), value_faults(data, hint, files=is_read))
        if data and not self.from_data and position_of(self.config, (DATA,)) == COMMAND_LINE:
            yield Fault(
                (DATA,),
                "nothing reads it: every data set of this configuration names its own files. Set "
                "their file_path and features_path, or set them to null",
            )

    def sections(self) -> Iterator[Fault]:
        """Yields the faults of all sections."""
        yield from self.top_level()
        yield from self.missing_sections()
        yield from self.without_effect()
        yield from self.model()
        yield from self.dataset()
        yield from self.pipelines()
        yield from self.optimizer()
        if self.config.get("METRIC") is not None:
            yield from self.part(("METRIC",), METRICS)
        if self.config.get("GRADIENT_ACCUMULATION") is not None:
            yield from self.settings(("GRADIENT_ACCUMULATION",), AccumulationSettings)

    # --------------------------------------------------------------------- top level

    def top_level(self) -> Iterator[Fault]:
        """Checks run settings, and keys that are neither settings nor sections."""
        known = {setting.name for setting in fields(RunSettings)}
        given = {key: value for key, value in self.config.items() if key in known - {DATA}}
        if given.get("sharding") in (2, 3):
            yield Fault(("sharding",), f"{given.pop('sharding')}: {NO_MORE_SHARDING}")
        yield from argument_faults(RunSettings, given)
        for key in sorted(self.config.keys() - known - set(SECTIONS) - set(IGNORED_SETTINGS)):
            if key in REFUSED_SETTINGS:
                yield Fault((key,), REFUSED_SETTINGS[key])
            else:
                kind = "section" if key.isupper() else "setting"
                yield Fault((key,), unknown(kind, key, known.union(SECTIONS, ["_base_"])))
        yield from self.names()

    def names(self) -> Iterator[Fault]:
        """Checks the form of settings that are text."""
        name = self.config.get("model_name", "model")
        if isinstance(name, str) and PurePath(name).name != name:
            yield Fault(("model_name",), f'"{name}" must be usable as the name of a file')
        device = self.config.get("device", "auto")
        if isinstance(device, str) and not re.fullmatch(r"auto|cpu|gpu(:\d+)?", device):
            yield Fault(("device",), f'expected auto, cpu, gpu or gpu:1, got "{device}"')

    def missing_sections(self) -> Iterator[Fault]:
        """Yields sections and keys that the mode needs and that are missing."""
        needed: list[tuple[str, ...]] = [("MODEL",)]
        needed += [("DATASET", split) for split in self.read_splits]
        if self.training:
            needed += [("OPTIMIZER",), ("model_name",), ("epochs",)]
        for path in needed:
            if value_at(self.config, path) is None:
                purpose = "--validate" if path[-1] == "valid" else self.purpose
                yield Fault(path, f"missing; {purpose} needs it")

    def without_effect(self) -> Iterator[Fault]:
        """Yields settings that have no effect in this run."""
        patience = self.config.get("patience")
        if self.training and "valid" not in self.read_splits and _is_positive(patience):
            yield Fault(
                ("patience",),
                f"{patience} validations are counted, but nothing is validated: add --validate, or "
                "set patience to 0",
            )

    def model(self) -> Iterator[Fault]:
        """Checks the framework and its parts. A test takes its weights from the command line."""
        if self.config.get("MODEL") is not None:
            yield from self.part(("MODEL",), FRAMEWORKS, self.files and self.training, MODEL_PARTS)

    def dataset(self) -> Iterator[Fault]:
        """Checks the data set of each split and the settings of batches."""
        section = self.config.get("DATASET")
        if not isinstance(section, Config):
            if section is not None:
                yield Fault(("DATASET",), "expected a map")
            return
        for split in SPLITS:
            if section.get(split) is not None:
                files = self.files and split in self.read_splits
                yield from self.part(("DATASET", split), DATASETS, files)
        settings = {key: value for key, value in section.items() if key not in SPLITS}
        yield from prefix_path(("DATASET",), argument_faults(DatasetSettings, settings))

    # --------------------------------------------------------------------- pipelines

    def pipelines(self) -> Iterator[Fault]:
        """Checks the steps of each split; a pipeline may be null."""
        section = self.config.get("PIPELINE")
        if section is None:
            return
        if not isinstance(section, Config):
            yield Fault(("PIPELINE",), "expected a map of train, valid and test")
            return
        for split, pipeline in section.items():
            if split not in SPLITS:
                yield Fault(("PIPELINE", split), unknown("split", split, SPLITS))
            elif pipeline is not None:
                yield from self.pipeline(split, pipeline)

    def pipeline(self, split: str, pipeline: Any) -> Iterator[Fault]:
        """Checks one split's ``transform``."""
        path: KeyPath = ("PIPELINE", split)
        if not isinstance(pipeline, Config):
            yield Fault(path, 'expected a map with the key "transform"')
            return
        for key in sorted(pipeline.keys() - {"transform"}):
            yield Fault((*path, key), unknown("key", key, ["transform"]))
        steps = pipeline.get("transform") or []
        if not isinstance(steps, list):
            yield Fault((*path, "transform"), 'expected a list of steps, each with a "-" before it')
            return
        for index, step in enumerate(steps):
            yield from self.step(
                (*path, "transform", index), step, self.files and split in self.read_splits
            )

    def step(self, path: KeyPath, step: Any, files: bool) -> Iterator[Fault]:
        """Checks one step: a map of its name to its arguments or null."""
        if isinstance(step, str):
            yield Fault(path, f'expected a map: write "{step}:" with a colon after it')
        elif not isinstance(step, Config) or not step:
            yield Fault(path, "expected a map with one key, the name of a step")
        elif len(step) > 1:
            names = ", ".join(step)
            yield Fault(
                path,
                f"a step is a map with one key, this one has {names}: indent a step's arguments "
                'below its name, and put "-" before each step',
            )
        else:
            (name, arguments), *_ = step.items()
            if name not in PIPELINES:
                yield Fault((*path, name), self.unknown_part(PIPELINES, name))
            elif arguments is not None and not isinstance(arguments, Config):
                yield Fault((*path, name), "expected a map of arguments, or nothing")
            else:
                faults = argument_faults(PIPELINES.get(name), arguments or {}, files)
                yield from prefix_path((*path, name), faults)

    # --------------------------------------------------------------------- optimizer

    def optimizer(self) -> Iterator[Fault]:
        """Checks the optimizer and its schedule, and builds them for checks beyond signatures."""
        section = self.config.get("OPTIMIZER")
        if section is None:
            return
        faults = list(self.part(("OPTIMIZER",), OPTIMIZERS))
        if isinstance(section, Config) and isinstance(section.get("learning_rate"), Config):
            faults += self.part(("OPTIMIZER", "learning_rate"), SCHEDULES)
        yield from faults
        if not faults and is_dataclass(OPTIMIZERS.get(section["name"])):
            try:
                OPTIMIZERS.build(section)
            except ConfigError as error:
                yield self.fault_of_optimizer(str(error))

    def fault_of_optimizer(self, message: str) -> Fault:
        """Returns the error message of an optimizer, which may begin with a key, as a Fault."""
        key, _, rest = message.partition(" ")
        if not re.fullmatch(r"OPTIMIZER(\.\w+)+", key):
            return Fault(("OPTIMIZER",), message)
        return Fault(tuple(key.split(".")), rest)


def _is_positive(value: Any) -> bool:
    return isinstance(value, int) and value > 0
