"""What a model's sizes let its data hold: word ids, classes, widths.

A model says it, a data set tells what is known of it before any sample is read, and each sample is
compared: beyond a limit Paddle would read or write other memory, or stop with its own traceback.
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
    #: Whether rows hold exactly ``size`` numbers; otherwise numbers are below ``size``.
    is_width: bool = False
    #: Whether it holds only where the pipeline asks for what the array says.
    if_asked: bool = False


Limits = Mapping[str, Limit]


def check_extents(limits: Limits, extents: Mapping[str, int], source: str) -> None:
    """Compares what is known of the data ``source`` before it is read; 0 is not known.

    Raises ConfigError with every limit that is too narrow.
    """
    faults = []
    for name, limit in limits.items():
        count = extents.get(name, 0)
        if count > limit.size or (limit.is_width and 0 < count < limit.size):
            more = "" if limit.is_width else " or more"
            faults.append(
                f"{limit.key} is {limit.size}, but {source} has {count} {limit.things}: set "
                f"{limit.key}={count}{more}"
            )
    if faults:
        raise ConfigError("\n".join(faults))


def check_sample(limits: Limits, sample: Mapping[str, Any], name: Callable[[], str]) -> None:
    """Compares the arrays of a sample. ``name`` is asked for messages. Raises ConfigError."""
    for key, limit in limits.items():
        array = sample.get(key)
        if not isinstance(array, np.ndarray) or not array.size:
            continue
        if limit.is_width:
            if array.shape[-1] != limit.size:
                check_extents({key: limit}, {key: array.shape[-1]}, name())
            continue
        # Not array.max(): this is done for each sample, and a method costs twice as much.
        largest = np.maximum.reduce(array, axis=None)
        if largest >= limit.size or np.minimum.reduce(array, axis=None) < -1:
            wrong = largest if largest >= limit.size else array.min()
            advice = f"Set it to {wrong + 1} or more, or leave" if wrong > 0 else "Leave"
            raise ConfigError(
                f"{name()}: {key} holds {wrong}, where {limit.key}={limit.size} lets 0 to "
                f"{limit.size - 1} be {limit.things}. {advice} the clip out"
            )
