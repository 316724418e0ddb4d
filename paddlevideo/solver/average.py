"""A running average of the weights, often better on unseen data than the last weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import paddle

from paddlevideo.solver.optimizer import named_parameters
from paddlevideo.utils.errors import ConfigError, WeightsError
from paddlevideo.utils.finite import first_non_finite


class WeightAverage:
    """Exponential moving average of the trained parameters, in float32.

    After n updates the newest weights have the weight 1 - min(decay, (1 + n) / (10 + n)), so that
    the random initialisation is soon forgotten (as in TensorFlow's ExponentialMovingAverage with
    ``num_updates``). Costs a copy of the weights, and a pass over them at each step. With
    ``decay`` 0 there is no average, and all methods do nothing.
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

        ``steps``: what this step counts in steps of the run as it was begun, so that the average
        extends over as many samples as before.
        """
        if not self.decay:
            return
        share = 1.0 - min(self.decay, (1 + self.updates) / (10 + self.updates)) ** steps
        for name, parameter in self._parameters.items():
            self._average[name].lerp_(parameter.astype("float32"), share)
        self.updates += steps

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Gives the model the averaged weights within this context."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @paddle.no_grad()
    def _swap(self) -> None:
        for name, parameter in self._parameters.items():
            current = parameter.astype("float32").clone()
            parameter.set_value(self._average[name].astype(parameter.dtype))
            self._average[name] = current

    def state(self) -> dict[str, Any]:
        """Returns copies of the averages by name, and the number of updates; or an empty dict."""
        if not self.decay:
            return {}
        arrays = {name: array.numpy().copy() for name, array in self._average.items()}
        return {"updates": self.updates, "weights": arrays}

    def load(self, state: Mapping[str, Any] | None) -> None:
        """Restores what :meth:`state` returned.

        Raises WeightsError if it is empty, of other parameters, or not finite.
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
        if bad := first_non_finite(arrays):
            raise WeightsError(f"the average of {bad}: start from other weights (-w)")
        for name, array in arrays.items():
            self._average[name] = paddle.to_tensor(np.asarray(array))
        self.updates = float((state or {})["updates"])
