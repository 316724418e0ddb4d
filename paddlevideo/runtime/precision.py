"""Mixed precision, on devices that support it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import paddle
from paddle import nn

from paddlevideo.utils.amp_settings import AmpSettings
from paddlevideo.utils.errors import ConfigError

log = logging.getLogger("paddlevideo")


#: Finite steps after which the loss scale doubles.
DOUBLED_AFTER = 2000


class LossScaler(paddle.amp.GradScaler):
    """Paddle's scaler, which keeps small float16 gradients above zero, with its scale on the host.

    A step that is not finite halves the scale and 2,000 finite ones double it, as in Paddle
    (Micikevicius et al. 2018, section 3.2). Paddle reads the scale back from the device to do so,
    and with numpy 2.4 cannot convert it to a number: the first skipped step ends the training.
    """

    def __init__(self, enable: bool, scale: float) -> None:
        super().__init__(enable, init_loss_scaling=scale, use_dynamic_loss_scaling=False)
        self._finite_steps = 0

    @property
    def value(self) -> float:
        """The factor on the loss and its gradients; 1 if disabled."""
        return float(self.get_init_loss_scaling()) if self.is_enable() else 1.0

    def step(self, optimizer: Any) -> None:
        """Unscales the gradients, which must be finite, and lets ``optimizer`` apply them.

        Paddle would wait for the device to say whether they are.
        """
        if self.is_enable():
            self._unscale(optimizer)
            self._optimizer_states.clear()
        optimizer.step()

    def update(self) -> None:
        """Counts a step that was taken, after ``step``."""
        super().update()
        self._finite_steps += 1
        if self._finite_steps == DOUBLED_AFTER:
            self._set(2.0 * self.value)

    def lower(self) -> None:
        """Halves the scale after a step that was skipped."""
        self._set(0.5 * self.value)

    def _set(self, scale: float, finite_steps: int = 0) -> None:
        if self.is_enable():
            self.set_init_loss_scaling(scale)
        self._finite_steps = finite_steps

    def state_dict(self) -> dict[str, Any]:
        """Returns the entries of Paddle's state that change; an empty dict if disabled."""
        if not self.is_enable():
            return {}
        return {"scale": np.array([self.value], np.float32), "incr_count": self._finite_steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what :meth:`state_dict`, or Paddle's, returned."""
        self._set(float(np.ravel(state["scale"])[0]), int(state["incr_count"]))


def half_type(dtype: str | None) -> str:
    """Returns ``dtype``, or by default bfloat16 if the GPU has it, else float16.

    Raises ConfigError if the GPU lacks ``dtype``: Paddle would warn and compute in float32, with
    parameters that are half.
    """
    has = {
        "bfloat16": paddle.amp.is_bfloat16_supported(),
        "float16": paddle.amp.is_float16_supported(),
    }
    chosen = dtype or ("bfloat16" if has["bfloat16"] else "float16")
    if not has[chosen]:
        gpu = paddle.device.cuda
        major, minor = gpu.get_device_capability()
        others = "amp.dtype=float16, or train" if has["float16"] else "float32:"
        raise ConfigError(
            f"amp.dtype: {chosen} is not supported by {gpu.get_device_name()} (compute capability "
            f"{major}.{minor}) with Paddle for CUDA {paddle.version.cuda()}; bfloat16 needs 8.0 "
            f"(Ampere) and CUDA 11. Use {others} without --amp"
        )
    return chosen


class Amp:
    """Autocast and loss scaling, or their disabled counterparts."""

    def __init__(self, settings: AmpSettings, device: str) -> None:
        """Warns and stays disabled on a CPU. Raises ConfigError if a GPU lacks the type."""
        self.settings = settings
        self.enabled = settings.enable
        if settings.enable and not device.startswith("gpu"):
            log.warning("mixed precision needs a GPU; computing in float32 on %s", device)
            self.enabled = False
        self.dtype = half_type(settings.dtype) if self.enabled else "float32"
        # bfloat16 has float32's range.
        self.scaler = LossScaler(self.dtype == "float16", settings.init_loss_scaling)

    @property
    def multi_precision(self) -> bool:
        """Whether the optimizer keeps float32 master weights."""
        return self.enabled and self.settings.level == "O2"

    def autocast(self) -> AbstractContextManager:
        """Returns the context in which the forward pass runs."""
        settings = self.settings
        return autocast(
            enable=self.enabled,
            level=settings.level,
            dtype=self.dtype,
            custom_white_list=list(settings.white_list) or None,
            custom_black_list=list(settings.black_list) or None,
        )

    def decorate(
        self, model: nn.Layer, optimizer: Any, float32_layers: Sequence[nn.Layer] = ()
    ) -> tuple[nn.Layer, Any]:
        """Returns model and optimizer, at level O2 converted to ``dtype`` except some layers."""
        if not self.multi_precision:
            return model, optimizer
        return paddle.amp.decorate(
            models=model,
            optimizers=optimizer,
            level="O2",
            dtype=self.dtype,
            excluded_layers=list(float32_layers),
        )


@contextmanager
def autocast(enable: bool, **options: Any) -> Iterator[None]:
    """Enters ``paddle.amp.auto_cast`` only if ``enable``: even a disabled one warns on CPUs."""
    if not enable:
        yield
        return
    with paddle.amp.auto_cast(enable=True, **options):
        yield
