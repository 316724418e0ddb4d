"""A running average of the weights, often better on unseen data than the last weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import paddle
from paddle import Tensor

from paddlevideo.solver.fused import blend, fuses_updates
from paddlevideo.solver.optimizer import named_parameters
from paddlevideo.utils.errors import ConfigError, WeightsError
from paddlevideo.utils.finite import first_non_finite


class WeightAverage:
    """Exponential moving average of the trained parameters, or of their masters, in float32.

    After n updates the newest weights contribute 1 - min(decay, (1 + n) / (10 + n)), so that the
    initial weights are soon forgotten (as in TensorFlow's ExponentialMovingAverage with
    ``num_updates``). Costs a copy of the weights, and a pass over them at each step. With
    ``decay`` 0 there is no average, and all methods do nothing.
    """

    def __init__(
        self,
        model: paddle.nn.Layer,
        decay: float = 0.0,
        masters: Mapping[str, Tensor] | None = None,
    ) -> None:
        """``masters``: what ``master_weights`` returned. Raises ConfigError if ``decay`` >= 1."""
        if decay >= 1:
            raise ConfigError(f"ema_decay is {decay}; expected less than 1, such as 0.999")
        self.decay, self.updates = decay, 0.0
        trained = [pair for pair in named_parameters(model) if not pair[1].stop_gradient]
        self._parameters = dict(trained) if decay else {}
        self._masters = {} if masters is None else masters  # filled at the first step
        with paddle.no_grad():
            self._average = {
                name: parameter.astype("float32").clone()
                for name, parameter in self._parameters.items()
            }

    @paddle.no_grad()
    def update(self, steps: float = 1.0) -> None:
        """Adds the weights after a step to the average.

        ``steps``: this step in steps of the run as it was begun, so that the average covers as
        many samples as before.
        """
        if not self.decay:
            return
        rate = 1.0 - min(self.decay, (1 + self.updates) / (10 + self.updates)) ** steps
        weights = {n: self._master(p).astype("float32") for n, p in self._parameters.items()}
        if fuses_updates():
            averages = [self._average[name] for name in weights]
            blend(averages, list(weights.values()), rate, 1.0 - rate)
        else:
            for name, weight in weights.items():
                average = self._average[name]  # lerp_ would turn a scalar into a vector
                average.add_((weight - average) * rate)
        self.updates += steps

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Puts the averaged weights into the model within this context, at another copy's cost."""
        with paddle.no_grad():
            before = {name: self._master(p).clone() for name, p in self._parameters.items()}
        self._put(self._average)
        try:
            yield
        finally:
            self._put(before)

    @paddle.no_grad()
    def _put(self, weights: Mapping[str, Tensor]) -> None:
        for name, parameter in self._parameters.items():
            for tensor in {parameter, self._master(parameter)}:
                tensor.set_value(weights[name].astype(tensor.dtype))

    def _master(self, parameter: Tensor) -> Tensor:
        """Returns the float32 copy of a half parameter, if there is one, else the parameter."""
        return self._masters.get(parameter.name, parameter)

    def state(self) -> dict[str, Any]:
        """Returns copies of the averages by name, and the number of updates; or an empty dict."""
        if not self.decay:
            return {}
        arrays = {name: array.numpy().copy() for name, array in self._average.items()}
        return {"updates": self.updates, "weights": arrays}

    def of_masters(self) -> dict[str, np.ndarray]:
        """Returns copies of the averages of masters, of which a sharded optimizer has a part."""
        return {
            name: self._average[name].numpy().copy()
            for name, parameter in self._parameters.items()
            if parameter.name in self._masters
        }

    def load(self, state: Mapping[str, Any] | None) -> None:
        """Restores what :meth:`state` returned.

        Raises WeightsError if ``state`` is empty, belongs to other parameters, or is not finite.
        """
        if not self.decay:
            return
        arrays = (state or {}).get("weights", {})
        shapes = {name: tuple(array.shape) for name, array in self._average.items()}
        if {name: np.shape(array) for name, array in arrays.items()} != shapes:
            raise WeightsError(
                "the checkpoint has no averages of these parameters: resume without ema_decay, or "
                "start from its weights (-w)"
            )
        if bad := first_non_finite(arrays):
            raise WeightsError(f"the average of {bad}: start from other weights (-w)")
        for name, array in arrays.items():
            self._average[name] = paddle.to_tensor(np.asarray(array))
        self.updates = float((state or {})["updates"])
