"""What a check returns, and where it runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

PASSED, FAILED, NOT_JUDGED, SKIPPED = "passed", "failed", "not judged", "skipped"


@dataclass(frozen=True)
class Result:
    """One line of the report. ``verdict``: "passed", "failed", "not judged" or "skipped: why"."""

    name: str
    measured: str
    bound: str
    verdict: str


@dataclass(frozen=True)
class Place:
    """Where the checks run.

    ``device``: "gpu" or "cpu"; ``cards``: the number of GPUs; ``large``: the sizes for GPUs.
    """

    device: str
    cards: int = 0
    large: bool = False

    @property
    def is_gpu(self) -> bool:
        """Whether the checks run on a GPU."""
        return self.device == "gpu"


Check = Callable[[Place], Iterator[Result]]


def at_most(name: str, measured: float, bound: float) -> Result:
    """Returns whether a number is at most ``bound``; NaN is not."""
    verdict = PASSED if measured <= bound else FAILED
    return Result(name, f"{measured:.3g}", f"<= {bound:g}", verdict)


def above(name: str, measured: float, bound: float) -> Result:
    """Returns whether a cosine is above ``bound``; NaN is not."""
    shown = "nan" if math.isnan(measured) else f"1 - {1 - measured:.2g}"
    return Result(name, shown, f"> {bound:g}", PASSED if measured > bound else FAILED)


def holds(name: str, measured: str, expected: str, is_so: bool) -> Result:
    """Returns whether something is as expected."""
    return Result(name, measured, expected, PASSED if is_so else FAILED)


def noted(name: str, measured: str) -> Result:
    """Returns a measurement without a bound."""
    return Result(name, measured, "", NOT_JUDGED)


def skipped(name: str, why: str) -> Result:
    """Returns that something was not checked."""
    return Result(name, "", "", f"{SKIPPED}: {why}")
