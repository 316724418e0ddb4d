"""Decides when a run validates, saves and ends, from its settings in epochs and steps."""

from __future__ import annotations

from paddlevideo.checkpoint import Progress
from paddlevideo.config import RunSettings
from paddlevideo.solver import Pace
from paddlevideo.tasks.accumulation import Sizes


class Plan:
    """Applies a run's settings to its progress."""

    def __init__(self, settings: RunSettings, sizes: Sizes, pace: Pace, validates: bool) -> None:
        """``pace``: converts steps; ``validates``: whether the run has validations."""
        self.settings, self.sizes, self.pace, self.validates = settings, sizes, pace, validates

    def steps_done(self, progress: Progress) -> int:
        """Returns the number of optimizer steps done, in steps of this run's size."""
        return progress.epoch * self.sizes.steps + self.sizes.steps_after(progress.batches)

    def position(self, progress: Progress) -> float:
        """Returns the steps done in steps of the run as it was begun, as settings count them."""
        return self.pace.as_begun(self.steps_done(progress))

    def total_steps(self) -> int:
        """Returns the number of optimizer steps of the whole run, in steps of this run's size."""
        total = self.pace.begun * self.settings.epochs
        return self.pace.as_now(min(total, self.settings.max_iters or total))

    def steps_left(self, progress: Progress) -> int:
        """Returns the number of optimizer steps left."""
        return max(0, self.total_steps() - self.steps_done(progress))

    def epochs_begun(self, progress: Progress) -> int:
        """Returns the number of epochs begun, the current one included if it was cut short."""
        return progress.epoch + (progress.batches > 0)

    def saves_epoch(self, progress: Progress) -> bool:
        """Returns whether to save the epoch that ends here."""
        return self._is_due(progress, self.settings.save_interval)

    def validates_epoch(self, progress: Progress) -> bool:
        """Returns whether to validate, and so to save, the epoch that ends here."""
        return self.validates and self._is_due(progress, self.settings.val_interval)

    def _is_due(self, progress: Progress, interval: int) -> bool:
        epoch = self.epochs_begun(progress)
        last = epoch >= self.settings.epochs or self.reached_limit(progress)
        return last or self.is_stale(progress) or epoch % interval == 0

    def is_over(self, progress: Progress) -> bool:
        """Returns whether nothing is left to train."""
        done = progress.epoch >= self.settings.epochs
        return done or self.reached_limit(progress) or self.is_stale(progress)

    def is_stale(self, progress: Progress) -> bool:
        """Returns whether the last ``patience`` validations brought no improvement."""
        return 0 < self.settings.patience <= progress.stale

    def reached_limit(self, progress: Progress) -> bool:
        """Returns whether ``max_iters`` steps are done."""
        limit = self.settings.max_iters
        return limit is not None and self.position(progress) >= limit
