"""Mixed precision, on devices that support it."""

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
        """Warns and stays disabled if the device does not support mixed precision."""
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
        """Returns the context in which the forward pass runs."""
        settings = self.settings
        return autocast(
            enable=self.enabled,
            level=settings.level,
            dtype=settings.dtype,
            custom_white_list=list(settings.white_list) or None,
            custom_black_list=list(settings.black_list) or None,
        )

    def decorate(self, model: nn.Layer, optimizer: Any) -> tuple[nn.Layer, Any]:
        """Returns model and optimizer, at level O2 converted to ``dtype``."""
        if not self.multi_precision:
            return model, optimizer
        return paddle.amp.decorate(
            models=model, optimizers=optimizer, level="O2", dtype=self.settings.dtype
        )


@contextmanager
def autocast(enable: bool, **options: Any) -> Iterator[None]:
    """Enters ``paddle.amp.auto_cast`` only if ``enable``: even a disabled one warns on CPUs."""
    if not enable:
        yield
        return
    with paddle.amp.auto_cast(enable=True, **options):
        yield
