"""A schedule as Paddle's optimizers take it: its whole state is one whole number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from paddle.optimizer.lr import LRScheduler

from paddlevideo.solver.schedules import Clock, Schedule, make_schedule


class StepScheduler(LRScheduler):
    """Maps the number of optimizer steps done to a learning rate. Call ``step()`` after each."""

    def __init__(self, schedule: Schedule, steps_per_epoch: int, total_steps: int) -> None:
        """Starts at step 0.

        Args:
            schedule: what maps a clock to a rate.
            steps_per_epoch: optimizer steps (not micro-batches) that make up an epoch.
            total_steps: optimizer steps of the whole run.
        """
        if steps_per_epoch < 1 or total_steps < 1:
            raise ValueError(f"an epoch of {steps_per_epoch} and a run of {total_steps} steps")
        self.schedule = schedule
        self.steps_per_epoch = steps_per_epoch
        self.total_steps = total_steps
        super().__init__(learning_rate=self.rate_at(0))

    def rate_at(self, step: int) -> float:
        """The learning rate of the optimizer step that follows ``step`` steps."""
        return float(self.schedule(Clock(step, self.steps_per_epoch, self.total_steps)))

    def get_lr(self) -> float:
        """The current learning rate; Paddle calls this after it has advanced ``last_epoch``."""
        return self.rate_at(self.last_epoch)

    def state_dict(self) -> dict[str, int]:
        """``{"step": optimizer steps done}``."""
        return {"step": self.last_epoch}

    def set_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continues after ``state_dict["step"]`` optimizer steps."""
        self.last_epoch = int(state_dict["step"])
        self.last_lr = self.get_lr()

    set_dict = set_state_dict


def build_schedule(
    config: float | Mapping[str, Any], steps_per_epoch: int, total_steps: int
) -> StepScheduler:
    """The schedule of ``OPTIMIZER.learning_rate``, a number or a map with ``name``.

    Args:
        config: the entry.
        steps_per_epoch: optimizer steps (not micro-batches) that make up an epoch.
        total_steps: optimizer steps of the whole run.

    Raises:
        ConfigError: the name is unknown or a value does not fit.
    """
    return StepScheduler(make_schedule(config), steps_per_epoch, total_steps)
