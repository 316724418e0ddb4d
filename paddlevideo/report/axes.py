"""Axes of a chart: which numbers stand at them, how they are written, where a value lies."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

DECADES = 20  # a logarithmic axis is worth its trouble from this ratio on


@dataclass(frozen=True)
class Axis:
    """From ``low`` to ``high``, both finite and different; positive where ``logarithmic``."""

    low: float
    high: float
    logarithmic: bool = False

    def place(self, values: np.ndarray) -> np.ndarray:
        """Places of ``values`` (n,): 0 at ``low``, 1 at ``high``, NaN where it has no logarithm."""
        low, high = self.low, self.high
        if self.logarithmic:
            values = np.log10(np.where(values > 0, values, np.nan))
            low, high = math.log10(low), math.log10(high)
        return (values - low) / (high - low)

    def ticks(self, wanted: int = 7) -> list[float]:
        """Round numbers within the axis, about ``wanted`` of them."""
        return self._decades(wanted) if self.logarithmic else self._even(wanted)

    def _even(self, wanted: int) -> list[float]:
        step = round_step((self.high - self.low) / wanted)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [number * step for number in range(first, last + 1)]

    def _decades(self, wanted: int) -> list[float]:
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        for digits in ((1, 2, 5), (1, 3), (1,)):
            found = [digit * 10.0**power for power in powers for digit in digits]
            found = [t for t in found if self.low * 0.999 <= t <= self.high * 1.001]
            if len(found) <= wanted + 2:
                return found
        return found[:: math.ceil(len(found) / wanted)]


def value_axis(values: np.ndarray, from_zero: bool = False, may_be_log: bool = False) -> Axis:
    """The axis of ``values`` (n,), n at least 1, with some room at the ends.

    It begins at 0 if ``from_zero``, and is logarithmic if it may be and they span much.
    """
    low, high = float(values.min()), float(values.max())
    positive = values[values > 0]
    if may_be_log and len(positive) > 0.9 * len(values) and high / positive.min() >= DECADES:
        return Axis(float(positive.min()) / 1.15, high * 1.15, logarithmic=True)
    if from_zero and low >= 0:
        return Axis(0.0, 1.05 * high or 1.0)
    room = 0.05 * (high - low) or 0.1 * abs(high) or 1.0
    return Axis(low - room, high + room)


def round_step(step: float) -> float:
    """The smallest of 1, 2, 5, 10, 20, 50, ... (or 0.1, 0.2, ...) that is at least ``step``."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(digit * power for digit in (1, 2, 5, 10) if digit * power >= step * (1 - 1e-9))


def short(value: float) -> str:
    """A number in few letters, as 0.25, 1,500, 20k, 3e-5."""
    size = abs(value)
    if size >= 1e9 or 0 < size < 1e-3:
        digits, _, power = f"{value:.1e}".partition("e")
        return f"{digits.removesuffix('.0')}e{int(power)}"
    if size >= 1e6:
        return f"{value / 1e6:.3g}M"
    if size >= 1e4:
        return f"{value / 1e3:.3g}k"
    if size >= 1e3:
        return f"{value:,.0f}"
    return f"{value:.3g}"
