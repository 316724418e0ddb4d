"""Learning-rate schedules: pure functions of a clock, under the names that YAML files use.

The fields of a schedule are its keys under ``OPTIMIZER.learning_rate``. The five ``Custom...`` ones
follow PaddleVideo's curves, so that its users' files keep their meaning.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from paddlevideo.registry import SCHEDULES
from paddlevideo.utils.errors import ConfigError
from paddlevideo.utils.ranges import Count, CountOrZero, NonNegative


@dataclass(frozen=True)
class Clock:
    """The optimizer steps done, per epoch and in the run.

    All are steps of the run as it was begun. After a resume with another number of samples per
    step, ``step`` may be a fraction.
    """

    step: float
    steps_per_epoch: int
    total_steps: int

    def units(self, iter_step: bool) -> float:
        """Returns the steps done if ``iter_step``, else the whole epochs done."""
        return self.step if iter_step else self.step // self.steps_per_epoch

    def epochs(self, iter_step: bool) -> float:
        """Returns the epochs done: a fraction if ``iter_step``, else a whole number."""
        return self.units(iter_step) / (self.steps_per_epoch if iter_step else 1)


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The base class of schedules, which map a clock to a learning rate.

    Args:
        iter_step: advance with every optimizer step instead of once an epoch.
    """

    iter_step: bool = False

    def __call__(self, clock: Clock) -> float:
        """Returns the learning rate of the step that follows ``clock.step`` steps."""
        raise NotImplementedError


def _cosine(high: float, low: float, progress: float) -> float:
    """Returns half a cosine wave from ``high`` at progress 0 to ``low`` at progress 1."""
    return low + (high - low) * 0.5 * (math.cos(math.pi * progress) + 1)


def _passed(boundaries: Sequence[float], position: float) -> int:
    """Returns the number of ascending ``boundaries`` that are at most ``position``."""
    return sum(boundary <= position for boundary in boundaries)


def _check(holds: bool, schedule: Schedule, message: str) -> None:
    """Raises ConfigError with the schedule's name and ``message`` unless ``holds``."""
    if not holds:
        raise ConfigError(f"OPTIMIZER.learning_rate ({type(schedule).__name__}): {message}")


def _ascending(values: Sequence[float]) -> bool:
    return all(low < high for low, high in pairwise(values))


@SCHEDULES.register()
@dataclass(frozen=True, kw_only=True)
class ConstantLR(Schedule):
    """A constant rate; a plain number in YAML means this."""

    base_lr: NonNegative

    def __call__(self, clock: Clock) -> float:
        """Returns the learning rate at ``clock``."""
        return self.base_lr


@SCHEDULES.register("PiecewiseDecay")
@SCHEDULES.register()
@dataclass(frozen=True, kw_only=True)
class CustomPiecewiseDecay(Schedule):
    """``values[i]`` until ``boundaries[i]`` steps (or epochs, without ``iter_step``) are done.

    There is one more value than boundaries; the last one applies to the end.
    """

    boundaries: list[CountOrZero]
    values: list[NonNegative]

    def __post_init__(self) -> None:
        expected = len(self.boundaries) + 1
        message = (
            f"{len(self.boundaries)} boundaries need {expected} values, not {len(self.values)}"
        )
        _check(len(self.values) == expected, self, message)
        _check(
            _ascending(self.boundaries),
            self,
            f"boundaries {self.boundaries} are not in ascending order",
        )

    def __call__(self, clock: Clock) -> float:
        """Returns the learning rate at ``clock``."""
        return self.values[_passed(self.boundaries, clock.units(self.iter_step))]


def _warmed_up(
    curve: Callable[[float], float], start_lr: float, warmup_epochs: float, epochs: float
) -> float:
    """Returns ``curve(epochs)``, reached linearly from ``start_lr`` in ``warmup_epochs``."""
    if epochs >= warmup_epochs:
        return curve(epochs)
    return start_lr + (curve(warmup_epochs) - start_lr) * epochs / warmup_epochs


@SCHEDULES.register()
@dataclass(frozen=True, kw_only=True)
class CustomWarmupCosineDecay(Schedule):
    """Half a cosine wave over ``max_epoch``, after a linear warm-up from ``warmup_start_lr``."""

    warmup_start_lr: NonNegative
    warmup_epochs: NonNegative
    cosine_base_lr: NonNegative
    max_epoch: Count

    def __call__(self, clock: Clock) -> float:
        """Returns the learning rate at ``clock``."""

        def curve(epochs: float) -> float:
            return _cosine(self.cosine_base_lr, 0.0, epochs / self.max_epoch)

        epochs = clock.epochs(self.iter_step)
        return _warmed_up(curve, self.warmup_start_lr, self.warmup_epochs, epochs)


@SCHEDULES.register()
@dataclass(frozen=True, kw_only=True)
class CustomWarmupPiecewiseDecay(Schedule):
    """``step_base_lr * lrs[i]`` from epoch ``steps[i]``, after a linear warm-up.

    ``gamma`` is accepted for PaddleVideo's files; ``lrs`` are the factors themselves.
    """

    warmup_start_lr: NonNegative
    warmup_epochs: NonNegative
    step_base_lr: NonNegative
    lrs: list[NonNegative]
    steps: list[CountOrZero]
    max_epoch: Count
    gamma: NonNegative = 0.1

    def __post_init__(self) -> None:
        message = f"{len(self.steps)} steps need as many lrs, not {len(self.lrs)}"
        _check(len(self.steps) == len(self.lrs) > 0, self, message)
        _check(_ascending(self.steps), self, f"steps {self.steps} are not in ascending order")
        _check(self.steps[0] == 0, self, f"the first of steps must be 0, not {self.steps[0]}")

    def __call__(self, clock: Clock) -> float:
        """Returns the learning rate at ``clock``."""

        def curve(epochs: float) -> float:
            return self.step_base_lr * self.lrs[_passed(self.steps, epochs) - 1]

        epochs = clock.epochs(self.iter_step)
        return _warmed_up(curve, self.warmup_start_lr, self.warmup_epochs, epochs)


@SCHEDULES.register()
@dataclass(frozen=True, kw_only=True)
class CustomWarmupCosineStepDecay(Schedule):
    """Half a cosine wave that changes once an epoch, lowered during a warm-up.

    Args:
        warmup_iters: epochs of warm-up.
        warmup_ratio: factor at the first step.
    """

    warmup_iters: NonNegative
    warmup_ratio: NonNegative = 0.1
    min_lr: NonNegative = 0.0
    base_lr: NonNegative = 3e-5
    max_epoch: Count = 30

    def __call__(self, clock: Clock) -> float:
        """Returns the learning rate at ``clock``."""
        epochs = clock.epochs(self.iter_step)
        rate = _cosine(self.base_lr, self.min_lr, math.floor(epochs) / self.max_epoch)
        if epochs >= self.warmup_iters:
            return rate
        return rate * (1 - (1 - epochs / self.warmup_iters) * (1 - self.warmup_ratio))


@SCHEDULES.register()
@dataclass(frozen=True, kw_only=True)
class CustomWarmupAdjustDecay(Schedule):
    """``step_base_lr``, multiplied by ``lr_decay_rate`` at each of ``boundaries`` (epochs).

    Grows linearly until ``warmup_epochs``.
    """

    step_base_lr: NonNegative
    warmup_epochs: NonNegative
    lr_decay_rate: NonNegative
    boundaries: list[CountOrZero]

    def __post_init__(self) -> None:
        _check(
            _ascending(self.boundaries),
            self,
            f"boundaries {self.boundaries} are not in ascending order",
        )

    def __call__(self, clock: Clock) -> float:
        """Returns the learning rate at ``clock``."""
        epochs = clock.epochs(self.iter_step)
        if epochs < self.warmup_epochs:
            return self.step_base_lr * (epochs + 1) / self.warmup_epochs
        return self.step_base_lr * self.lr_decay_rate ** _passed(self.boundaries, epochs)


def _steps(number: float, clock: Clock) -> int:
    """Returns a number of optimizer steps; ``number`` below 1 is a fraction of the run."""
    return round(number * clock.total_steps) if number < 1 else int(number)


def _done(clock: Clock, iter_step: bool) -> float:
    """Returns the optimizer steps done or, without ``iter_step``, those of finished epochs."""
    return clock.step if iter_step else clock.units(False) * clock.steps_per_epoch


@dataclass(frozen=True, kw_only=True)
class _WarmupDecay(Schedule):
    """From 0 to ``base_lr`` in ``warmup_steps``, then to ``final_lr`` at the end of the run.

    Args:
        warmup_steps: steps, or, below 1, a fraction of the run.
    """

    base_lr: NonNegative
    warmup_steps: NonNegative = 0
    final_lr: NonNegative = 0.0
    iter_step: bool = True

    def __post_init__(self) -> None:
        _check(self.warmup_steps >= 0, self, "warmup_steps must not be negative")

    def __call__(self, clock: Clock) -> float:
        """Returns the learning rate at ``clock``. The first step of a warm-up is above 0."""
        warmup, done = _steps(self.warmup_steps, clock), _done(clock, self.iter_step)
        if done < warmup:
            return self.base_lr * min(done + 1, warmup) / warmup
        return self.decay(min(1.0, (done - warmup) / max(1, clock.total_steps - warmup)))

    def decay(self, progress: float) -> float:
        """Returns the rate at ``progress`` from 0 (end of the warm-up) to 1 (end of the run)."""
        raise NotImplementedError


@SCHEDULES.register()
@dataclass(frozen=True, kw_only=True)
class WarmupLinearDecay(_WarmupDecay):
    """Linear warm-up to ``base_lr`` in ``warmup_steps`` (below 1: a fraction), linear decay."""

    def decay(self, progress: float) -> float:
        """Returns the rate at ``progress`` from 0 to 1 of the decay."""
        return self.base_lr + (self.final_lr - self.base_lr) * progress


@SCHEDULES.register()
@dataclass(frozen=True, kw_only=True)
class WarmupCosineDecay(_WarmupDecay):
    """Linear warm-up to ``base_lr`` in ``warmup_steps`` (below 1: a fraction), cosine decay."""

    def decay(self, progress: float) -> float:
        """Returns the rate at ``progress`` from 0 to 1 of the decay."""
        return _cosine(self.base_lr, self.final_lr, progress)


@SCHEDULES.register()
@dataclass(frozen=True, kw_only=True)
class WarmupPiecewiseDecay(Schedule):
    """Linear warm-up to ``values[0]`` in ``warmup_steps``, then one value between boundaries.

    Args:
        boundaries: steps from the start of the run, or, below 1, fractions of the run, after
            which the next value applies.
        values: the learning rates, one more than boundaries.
        warmup_steps: likewise; not beyond the first boundary.
    """

    boundaries: list[NonNegative]
    values: list[NonNegative]
    warmup_steps: NonNegative = 0
    iter_step: bool = True

    def __post_init__(self) -> None:
        expected = len(self.boundaries) + 1
        message = (
            f"{len(self.boundaries)} boundaries need {expected} values, not {len(self.values)}"
        )
        _check(len(self.values) == expected, self, message)
        _check(self.warmup_steps >= 0, self, "warmup_steps must not be negative")

    def __call__(self, clock: Clock) -> float:
        """Returns the learning rate at ``clock``. The first step of a warm-up is above 0."""
        boundaries = [_steps(boundary, clock) for boundary in self.boundaries]
        warmup, done = _steps(self.warmup_steps, clock), _done(clock, self.iter_step)
        ends = [warmup, *boundaries]  # in a short run fractions may round to the same step
        _check(
            ends == sorted(ends), self, f"warm-up and boundaries {ends} are not in ascending order"
        )
        if done < warmup:
            return self.values[0] * min(done + 1, warmup) / warmup
        return self.values[_passed(boundaries, done)]


def make_schedule(config: float | Mapping[str, Any]) -> Schedule:
    """Returns the schedule of ``OPTIMIZER.learning_rate``, a number or a map with ``name``.

    Raises:
        ConfigError: the name is unknown or a value is invalid.
    """
    if isinstance(config, (int, float)):
        return ConstantLR(base_lr=float(config))
    if not isinstance(config, Mapping):
        raise ConfigError(
            f"OPTIMIZER.learning_rate is {config!r}; expected a number, or a map with the name of "
            f"a schedule: {', '.join(SCHEDULES)}"
        )
    return SCHEDULES.build(config)
