"""Limits of a model for its data: word ids, classes, widths.

Metadata of a data set are compared before any sample is read, and then each sample: beyond a limit
Paddle would access invalid memory, or stop with a traceback.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from paddlevideo.utils.errors import ConfigError


class Limit(NamedTuple):
    """The limit of an array in a sample."""

    #: The key of the configuration that sets it.
    key: str
    size: int
    #: What is limited, for messages: "action classes".
    things: str
    #: Whether rows have exactly ``size`` numbers; otherwise numbers are below ``size``.
    is_width: bool = False
    #: Whether it applies only if the pipeline has steps that use the array.
    only_if_used: bool = False


Limits = Mapping[str, Limit]


def check_extents(limits: Limits, extents: Mapping[str, int], source: str) -> None:
    """Compares sizes in the metadata of ``source`` with the limits; 0: unknown.

    Raises ConfigError with every limit that is too small.
    """
    messages = []
    for name, limit in limits.items():
        count = extents.get(name, 0)
        if count > limit.size or (limit.is_width and 0 < count < limit.size):
            more = "" if limit.is_width else " or more"
            messages.append(
                f"{limit.key} is {limit.size}, but {source} has {count} {limit.things}: set "
                f"{limit.key}={count}{more}"
            )
    if messages:
        raise ConfigError("\n".join(messages))


def check_sample(limits: Limits, sample: Mapping[str, Any], name: Callable[[], str]) -> None:
    """Compares a sample's arrays with the limits. Raises ConfigError with ``name()``."""
    for key, limit in limits.items():
        array = sample.get(key)
        if not isinstance(array, np.ndarray) or not array.size:
            continue
        if limit.is_width:
            if array.shape[-1] != limit.size:
                check_extents({key: limit}, {key: array.shape[-1]}, name())
            continue
        # Not array.max(), which takes twice as long: this runs for each sample.
        largest = np.maximum.reduce(array, axis=None)
        if largest >= limit.size or np.minimum.reduce(array, axis=None) < -1:
            wrong = largest if largest >= limit.size else array.min()
            advice = f"Set it to {wrong + 1} or more, or leave" if wrong > 0 else "Leave"
            raise ConfigError(
                f"{name()}: {key} holds {wrong}, but {limit.key}={limit.size} allows "
                f"{limit.things} 0 to {limit.size - 1}. {advice} the clip out"
            )
