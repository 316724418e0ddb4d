"""Adapts a schedule to Paddle's optimizers; its only state is the number of steps done."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from paddle.optimizer.lr import LRScheduler

from paddlevideo.solver.schedules import Clock, Schedule, make_schedule


@dataclass(frozen=True)
class Pace:
    """Optimizer steps per epoch: ``begun`` when the run was begun, ``now`` in this process.

    They differ after a resume with another number of processes or another batch size. Settings in
    steps (boundaries, warm-up, ``max_iters``, ``save_steps``) count steps of the run as it was
    begun. An epoch remains an epoch, so a step done now counts as ``begun / now`` of those.
    """

    begun: int
    now: int

    @property
    def ratio(self) -> float:
        """One step done now, in steps of the run as it was begun."""
        return self.as_begun(1)

    def as_begun(self, steps: int) -> float:
        """Converts ``steps`` done now to steps of the run as it was begun.

        Returns an int if the result is whole, so that nothing is rounded if both are equal.
        """
        whole, rest = divmod(steps * self.begun, self.now)
        return steps * self.begun / self.now if rest else whole

    def as_now(self, steps: float) -> int:
        """Converts ``steps`` of the run as it was begun to steps done now, rounded up."""
        return math.ceil(steps * self.now / self.begun)


class StepScheduler(LRScheduler):
    """Maps the number of optimizer steps done to a learning rate. Call ``step()`` after each."""

    def __init__(self, schedule: Schedule, pace: Pace, total_steps: int) -> None:
        """Starts at step 0.

        Args:
            schedule: maps a clock to a learning rate.
            pace: optimizer steps (not micro-batches) that make up an epoch.
            total_steps: optimizer steps of the whole run, of their current size.
        """
        if pace.now < 1 or total_steps < 1:
            raise ValueError(f"an epoch of {pace.now} and a run of {total_steps} steps")
        self.schedule = schedule
        self.pace = pace
        self.total_steps = total_steps
        super().__init__(learning_rate=self.rate_at(0))

    def rate_at(self, step: int) -> float:
        """Returns the learning rate of the optimizer step that follows ``step`` steps.

        The rate is that of the same point of the same epoch in the run as it was begun.
        """
        done, total = (self.pace.as_begun(steps) for steps in (step, self.total_steps))
        return float(self.schedule(Clock(done, self.pace.begun, round(total))))

    def get_lr(self) -> float:
        """Returns the current learning rate; Paddle calls this after advancing ``last_epoch``."""
        return self.rate_at(self.last_epoch)

    def state_dict(self) -> dict[str, int]:
        """Returns ``{"step": optimizer steps done}``."""
        return {"step": self.last_epoch}

    def set_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continues after ``state_dict["step"]`` optimizer steps."""
        self.last_epoch = int(state_dict["step"])
        self.last_lr = self.get_lr()

    set_dict = set_state_dict


def build_schedule(
    config: float | Mapping[str, Any],
    steps_per_epoch: int,
    total_steps: int,
    begun: int | None = None,
) -> StepScheduler:
    """Returns the schedule of ``OPTIMIZER.learning_rate``, a number or a map with ``name``.

    Args:
        config: the entry.
        steps_per_epoch: optimizer steps (not micro-batches) that make up an epoch.
        total_steps: optimizer steps of the whole run.
        begun: ``steps_per_epoch`` when the run was begun, if it was different.

    Raises:
        ConfigError: the name is unknown or a value is invalid.
    """
    pace = Pace(steps_per_epoch if begun is None else begun, steps_per_epoch)
    return StepScheduler(make_schedule(config), pace, total_steps)
