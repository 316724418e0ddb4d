"""Mixed precision: on where the device can do it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import paddle
from paddle import nn

from paddlevideo.utils.amp_settings import AmpSettings

log = logging.getLogger("paddlevideo")


class Amp:
    """Autocast and loss scaling, or their disabled counterparts."""

    def __init__(self, settings: AmpSettings, device: str) -> None:
        """Warns once and stays off where the device cannot do it."""
        self.settings = settings
        self.enabled = settings.enable
        if settings.enable and not device.startswith("gpu"):
            log.warning("mixed precision needs a GPU; computing in float32 on %s", device)
            self.enabled = False
        self.scaler = paddle.amp.GradScaler(
            enable=self.enabled and settings.dtype == "float16",  # bfloat16 has float32's range
            init_loss_scaling=settings.init_loss_scaling,
        )

    @property
    def multi_precision(self) -> bool:
        """Whether the optimizer keeps float32 master weights."""
        return self.enabled and self.settings.level == "O2"

    def autocast(self) -> AbstractContextManager:
        """The context in which the forward pass runs."""
        settings = self.settings
        return autocast(
            enable=self.enabled,
            level=settings.level,
            dtype=settings.dtype,
            custom_white_list=list(settings.white_list) or None,
            custom_black_list=list(settings.black_list) or None,
        )

    def decorate(self, model: nn.Layer, optimizer: Any) -> tuple[nn.Layer, Any]:
        """Model and optimizer with parameters in ``dtype`` at level O2, else as they are."""
        if not self.multi_precision:
            return model, optimizer
        return paddle.amp.decorate(
            models=model, optimizers=optimizer, level="O2", dtype=self.settings.dtype
        )


@contextmanager
def autocast(enable: bool, **options: Any) -> Iterator[None]:
    """``paddle.amp.auto_cast``, but not entered at all while off: on CPU it would only warn."""
    if not enable:
        yield
        return
    with paddle.amp.auto_cast(enable=True, **options):
        yield
