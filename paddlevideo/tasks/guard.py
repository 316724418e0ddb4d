"""Skips optimizer steps whose loss or gradient is not finite, and names the cause."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import paddle
from paddle import Tensor, nn

from paddlevideo.config import RunSettings
from paddlevideo.runtime import Amp
from paddlevideo.utils.errors import DataError
from paddlevideo.utils.printable import some

log = logging.getLogger("paddlevideo")
SHOWN = 8  # names in a message
#: Consecutive steps that float16 may skip while the loss scale is adjusted.
FLOAT16_SKIPS = 50


class NotFinite(DataError):
    """A loss or a gradient is NaN or infinite; the step has not changed the weights."""


def allowed_skips(settings: RunSettings, amp: Amp) -> int:
    """Returns the number of consecutive steps that may be skipped."""
    if settings.max_skipped_steps is not None:
        return settings.max_skipped_steps
    return FLOAT16_SKIPS if amp.dtype == "float16" else 0


class Guard:
    """Counts consecutive skipped optimizer steps, and raises if there are too many."""

    def __init__(self, allowed: int, name_of: Callable[[int], str]) -> None:
        """``allowed``: consecutive skips; ``name_of``: maps a sample's index to its clip's name."""
        self.allowed, self.name_of = allowed, name_of
        self.in_a_row = 0

    def step_taken(self) -> None:
        """Resets the count of skipped steps."""
        self.in_a_row = 0

    def step_skipped(
        self,
        step: int,
        losses: Iterable[Mapping[str, Tensor]],
        window: Sequence[Mapping[str, Any]],
        model: nn.Layer,
    ) -> None:
        """Logs a skipped step. Raises NotFinite if more consecutive steps than allowed are skipped.

        Args:
            step: the step, counted from 1.
            losses: the named losses of each micro-batch.
            window: the micro-batches, for their ``index``.
            model: the model, with the gradients of the step.
        """
        self.in_a_row += 1
        message = f"step {step}: {', '.join(causes(losses, model))}. {self._clips(window)}"
        if self.in_a_row > self.allowed:
            raise NotFinite(
                f"{message}. The step has not changed the weights. Check these clips "
                "(paddlevideo validate), lower the learning rate, or clip gradients "
                "(OPTIMIZER.grad_clip)"
            )
        log.warning("%s; skipped (%d in a row)", message, self.in_a_row)

    def _clips(self, window: Sequence[Mapping[str, Any]]) -> str:
        indices = [int(index) for batch in window for index in np.ravel(batch.get("index", []))]
        return f"Clips: {some(map(self.name_of, indices), SHOWN)}"


def check_weights(model: nn.Layer, step: int) -> None:
    """Raises NotFinite, with the parameter's name, if a weight after ``step`` is not finite."""
    for name, parameter in model.named_parameters():
        if not bool(paddle.isfinite(parameter).all()):
            raise NotFinite(
                f"after step {step} {name} contains NaN or infinity, so no checkpoint is written. "
                "Lower the learning rate, or clip gradients (OPTIMIZER.grad_clip), and continue "
                "from the newest checkpoint with --resume auto"
            )


@contextmanager
def log_not_finite() -> Iterator[None]:
    """Logs a NotFinite error instead of raising it, because the run is ending anyway."""
    try:
        yield
    except NotFinite as error:
        log.error("%s", error)


def causes(losses: Iterable[Mapping[str, Tensor]], model: nn.Layer) -> list[str]:
    """Returns the losses that are not finite, and the parameters whose gradients are not."""
    values = {
        name: float(value)
        for named in losses
        for name, value in named.items()
        if name != "loss" and not np.isfinite(float(value))
    }
    parameters = [
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is not None and not bool(paddle.isfinite(parameter.grad).all())
    ]
    texts = [f"{name} is {value}" for name, value in values.items()]
    if parameters:
        texts.append(f"gradients of {some(parameters, 3)} are not finite")
    return texts or ["the sum of all squared gradients is not finite"]
