"""A running average of the weights: often better on unseen data than the last ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import paddle

from paddlevideo.solver.optimizer import named_parameters
from paddlevideo.utils.errors import ConfigError, WeightsError
from paddlevideo.utils.finite import first_fault


class WeightAverage:
    """Exponential moving average of the trained parameters, in float32.

    After n updates the newest weights count 1 - min(decay, (1 + n) / (10 + n)): at first the
    average follows quickly, so that the random start is soon forgotten (as TensorFlow's
    ExponentialMovingAverage does with ``num_updates``). One more copy of the weights, and one pass
    over them at each step. With ``decay`` 0 there is no average, and everything here does nothing.
    """

    def __init__(self, model: paddle.nn.Layer, decay: float = 0.0) -> None:
        """Raises ConfigError for a decay of 1 or more."""
        if decay >= 1:
            raise ConfigError(f"ema_decay is {decay}; below 1, as 0.999")
        self.decay, self.updates = decay, 0.0
        trained = [pair for pair in named_parameters(model) if not pair[1].stop_gradient]
        self._parameters = dict(trained) if decay else {}
        with paddle.no_grad():
            self._average = {
                name: parameter.astype("float32").clone()
                for name, parameter in self._parameters.items()
            }

    @paddle.no_grad()
    def update(self, steps: float = 1.0) -> None:
        """Takes in the weights as they are after a step.

        ``steps``: how many steps of the run as it was begun this one is worth; the average then
        reaches back over as many samples as it did.
        """
        if not self.decay:
            return
        share = 1.0 - min(self.decay, (1 + self.updates) / (10 + self.updates)) ** steps
        for name, parameter in self._parameters.items():
            self._average[name].lerp_(parameter.astype("float32"), share)
        self.updates += steps

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The model has the averaged weights within this context, and its own again after it."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @paddle.no_grad()
    def _exchange(self) -> None:
        for name, parameter in self._parameters.items():
            own = parameter.astype("float32").clone()
            parameter.set_value(self._average[name].astype(parameter.dtype))
            self._average[name] = own

    def state(self) -> dict[str, Any]:
        """Copies of the averages by name, and the number of updates; empty where there are none."""
        if not self.decay:
            return {}
        arrays = {name: array.numpy().copy() for name, array in self._average.items()}
        return {"updates": self.updates, "weights": arrays}

    def load(self, state: Mapping[str, Any] | None) -> None:
        """Puts back what :meth:`state` returned.

        Raises WeightsError if there is none, if it is of other parameters, or not finite.
        """
        if not self.decay:
            return
        arrays = (state or {}).get("weights", {})
        shapes = {name: tuple(array.shape) for name, array in self._average.items()}
        if {name: np.shape(array) for name, array in arrays.items()} != shapes:
            raise WeightsError(
                "the checkpoint holds no averages of these parameters: resume without ema_decay, "
                "or start from its weights (-w)"
            )
        if bad := first_fault(arrays):
            raise WeightsError(f"the average of {bad}: start from other weights (-w)")
        for name, array in arrays.items():
            self._average[name] = paddle.to_tensor(np.asarray(array))
        self.updates = float((state or {})["updates"])
