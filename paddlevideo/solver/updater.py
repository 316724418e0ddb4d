"""Takes optimizer steps: scales the loss, computes gradients, clips, steps, schedules."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import paddle
from paddle import Tensor
from paddle.base import core

from paddlevideo.solver.fused import multiply, squared_norm
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
        self._norm: float | None = None
        self._clips_at = self._take_clip()

    def _take_clip(self) -> float | None:
        """Returns the global norm that gradients are clipped to, which the optimizer then leaves.

        It would compute the norm a second time, and divide by it also where nothing is clipped.
        """
        optimizer = unwrapped(self.optimizer)
        clip: Any = getattr(optimizer, "_grad_clip", None)
        if type(clip) is not paddle.nn.ClipGradByGlobalNorm:
            return None
        if not all(parameter.need_clip for parameter in optimizer._parameter_list):
            return None
        optimizer._grad_clip = None
        return clip.clip_norm

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

        Computed in float32, as Paddle's clipping does, on CPUs without copies: 56 ms for 206
        million parameters on two cores.
        """
        gradients = [p.grad for p in parameters if p.grad is not None]
        self._norm = 0.0
        if gradients:
            self._norm = squared_norm(gradients).sqrt().item() / self.scaler.value
        return self._norm

    def _clip(self) -> None:
        """Scales the gradients to the norm that they are clipped to, if theirs is larger."""
        if self._clips_at is None:
            return
        norm = self._norm
        if norm is None:
            norm = self.gradient_norm(self.optimizer._parameter_list)
        if norm > self._clips_at:
            parameters = unwrapped(self.optimizer)._parameter_list
            multiply([p.grad for p in parameters if p.grad is not None], self._clips_at / norm)

    def skip(self) -> None:
        """Skips the step but advances the schedule and lowers the loss scale."""
        self._norm = None
        self.scaler.lower()
        self.optimizer.clear_grad(set_to_zero=False)
        self.schedule.step()

    def step(self) -> None:
        """Clips and applies the gradients, which must be finite."""
        with paddle.no_grad():
            self._clip()
        self._norm = None
        self.scaler.step(self.optimizer)
        self.scaler.update()
        # Frees gradients: zeros would cost an addition in the next backward pass.
        self.optimizer.clear_grad(set_to_zero=False)
        self.schedule.step()
