"""Registries: classes by their names in YAML files."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal, TypeVar, get_args

from paddlevideo.utils.errors import ConfigError
from paddlevideo.utils.ranges import Count, CountOrZero

Part = TypeVar("Part", bound=Callable[..., Any])

#: Annotates a constructor argument that names an existing file or folder, so that the
#: configuration check can report a missing one before anything is read.
InputPath = Annotated[str, "input path"]
#: Annotate a file or folder to write, and a path or known name.
OutputPath = Annotated[str, "output path"]
NameOrPath = Annotated[str, "name or path"]
#: What clips are for. An argument ``split: Split | None`` of a data set or a step chooses those of
#: a feature store; ``paddlevideo split`` assigns them.
Split = Literal["train", "valid", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
#: A rank and the number of ranks. An argument ``share: Share | None`` of a data set or a step
#: chooses this rank's shards of a feature store; ``DATASET.shards: by_rank`` fills it.
Share = tuple[CountOrZero, Count]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Returns ``' Did you mean "x"?'`` for the known name nearest to ``name``, or "".

    The end of a dotted name is enough: ``R@1`` for ``text_to_video.R@1``.
    """
    known = list(known)
    lower = {candidate.lower().rpartition(".")[2]: candidate for candidate in reversed(known)}
    lower |= {candidate.lower(): candidate for candidate in known}
    near = difflib.get_close_matches(name.lower(), lower, n=1)
    return f' Did you mean "{lower[near[0]]}"?' if near else ""


class Registry:
    """Named collection of classes or functions.

    >>> BACKBONES = Registry("backbone")
    >>> @BACKBONES.register()
    ... class MyBackbone: ...
    >>> BACKBONES.build({"name": "MyBackbone"})
    """

    def __init__(self, name: str, key: str = "name") -> None:
        """``name`` appears in messages; ``key`` is the configuration key that selects a part."""
        self.name = name
        self.key = key
        self._parts: dict[str, Callable[..., Any]] = {}

    def register(self, name: str | None = None) -> Callable[[Part], Part]:
        """Returns a decorator that registers a class or function as ``name`` or its own name.

        Raises ValueError if another part has that name.
        """

        def add(part: Part) -> Part:
            label = name or part.__name__
            if self._parts.get(label, part) is not part:
                raise ValueError(f'{self.name} "{label}" is registered twice')
            self._parts[label] = part
            return part

        return add

    def get(self, name: str) -> Callable[..., Any]:
        """Returns the part ``name``. Raises ConfigError, with the nearest name, if unknown."""
        if name not in self._parts:
            known = ", ".join(self) or "none"
            raise ConfigError(
                f'unknown {self.name} "{name}".{did_you_mean(name, self._parts)} Known: {known}. '
                "--import my.module loads parts of your own"
            )
        return self._parts[name]

    def build(self, config: Mapping[str, Any], **extra: Any) -> Any:
        """Calls the part that ``config[key]`` names with the other entries and ``extra``.

        Raises ConfigError if the key is missing or unknown.
        """
        arguments = {**config, **extra}
        if self.key not in arguments:
            raise ConfigError(f'a {self.name} needs the key "{self.key}"')
        return self.get(arguments.pop(self.key))(**arguments)

    def __contains__(self, name: object) -> bool:
        return name in self._parts

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._parts))


FRAMEWORKS = Registry("framework", key="framework")
BACKBONES = Registry("backbone")
LOSSES = Registry("loss")
HEADS = Registry("head")
DATASETS = Registry("dataset", key="format")
PIPELINES = Registry("pipeline step")
METRICS = Registry("metric")
OPTIMIZERS = Registry("optimizer")
SCHEDULES = Registry("learning-rate schedule")

#: Arguments of a framework that are parts themselves.
MODEL_PARTS = {"backbone": BACKBONES, "loss": LOSSES, "retrieval_head": HEADS, "head": HEADS}
