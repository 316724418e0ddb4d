"""From a loss to changed parameters: scale, backward, accumulate, clip, step, schedule."""

from __future__ import annotations

from typing import Any

from paddle import Tensor


class Updater:
    """One optimizer step made of one or more backward passes."""

    def __init__(self, optimizer: Any, schedule: Any, scaler: Any) -> None:
        """``schedule`` counts optimizer steps; ``scaler`` is a GradScaler, disabled if unused."""
        self.optimizer = optimizer
        self.schedule = schedule
        self.scaler = scaler

    @property
    def learning_rate(self) -> float:
        """The rate of the next step."""
        return float(self.optimizer.get_lr())

    def backward(self, loss: Tensor) -> None:
        """Adds this micro-batch's gradients."""
        self.scaler.scale(loss).backward()

    def step(self) -> None:
        """Clips and applies the gradients (skipped by the scaler if they are not finite)."""
        self.scaler.step(self.optimizer)
        self.scaler.update()
        # Freed, not filled with zeros to which the next gradients would be added.
        self.optimizer.clear_grad(set_to_zero=False)
        self.schedule.step()
