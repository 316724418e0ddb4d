"""Takes optimizer steps: scales the loss, computes gradients, clips, steps, schedules."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import paddle
from paddle import Tensor
from paddle.base import core

from paddlevideo.solver.state import unwrapped

#: Paddle's optimizers whose GPU kernels accept float32 gradients of half parameters.
TAKES_FLOAT32_GRADIENTS = (paddle.optimizer.Adam, paddle.optimizer.AdamW)


class Updater:
    """Takes optimizer steps of one or more backward passes each."""

    def __init__(
        self,
        optimizer: Any,
        schedule: Any,
        scaler: Any,
        factors: tuple[float, float] = (1.0, 1.0),
    ) -> None:
        """Wraps the optimizer of a run.

        Args:
            optimizer: what ``build_optimizer`` returned.
            schedule: counts optimizer steps.
            scaler: a LossScaler, possibly disabled.
            factors: the parameters' lowest and highest factor on the learning rate.
        """
        self.optimizer = optimizer
        self.schedule = schedule
        self.scaler = scaler
        self.factors = factors

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step."""
        return float(self.optimizer.get_lr())

    def scalars(self) -> dict[str, float]:
        """Returns the values used for the next step: "lr", and others where they apply.

        These are "lr_lowest" and "lr_highest" if parameters have different rates, and
        "loss_scale" if the loss is scaled.
        """
        rate = self.learning_rate
        values = {"lr": rate}
        lowest, highest = self.factors
        if lowest != highest:
            values |= {"lr_lowest": rate * lowest, "lr_highest": rate * highest}
        if self.scaler.is_enable():
            values["loss_scale"] = self.scaler.value
        return values

    def backward(self, loss: Tensor) -> None:
        """Adds the gradients of a micro-batch."""
        self.scaler.scale(loss).backward()

    def make_gradients_float32(self, parameters: Iterable[Tensor]) -> None:
        """Converts half gradients to float32, once a window, if the optimizer can take them.

        Dividing float16 by the loss scale loses what the scale has kept above zero: at full size a
        quarter of the gradients become subnormal. ``paddle.amp.decorate(master_grad=True)``
        converts after every backward pass, and the next one cannot add to float32.
        """
        if isinstance(unwrapped(self.optimizer), TAKES_FLOAT32_GRADIENTS):
            half = [p for p in parameters if p.dtype != paddle.float32 and p.grad is not None]
            core.eager.set_master_grads(half)

    @paddle.no_grad()
    def gradient_norm(self, parameters: Iterable[Tensor]) -> float:
        """Returns the global norm of the gradients before clipping; not finite if one is not.

        Computed in float32, as Paddle's clipping does, without copies: 56 ms for 206 million
        parameters on two cores.
        """
        gradients = (p.grad for p in parameters if p.grad is not None)
        squares = [
            paddle._C_ops.squared_l2_norm(gradient.astype("float32")).reshape([])
            for gradient in gradients
        ]
        if not squares:
            return 0.0
        return float(paddle.stack(squares).sum().sqrt()) / self.scaler.value

    def skip(self) -> None:
        """Skips the step but advances the schedule and lowers the loss scale."""
        self.scaler.lower()
        self.optimizer.clear_grad(set_to_zero=False)
        self.schedule.step()

    def step(self) -> None:
        """Clips and applies the gradients, which must be finite."""
        self.scaler.step(self.optimizer)
        self.scaler.update()
        # Frees gradients: zeros would cost an addition in the next backward pass.
        self.optimizer.clear_grad(set_to_zero=False)
        self.schedule.step()
