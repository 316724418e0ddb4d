"""Builds a model from the MODEL section of a configuration, or from a dict of its shape."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import paddle

from paddlevideo.modeling.framework.base import BaseFramework
from paddlevideo.modeling.layers import blank_weights
from paddlevideo.registry import FRAMEWORKS, MODEL_PARTS
from paddlevideo.utils.cpu import tune_cpu


def copy_transposes() -> None:
    """Makes transposes copy immediately on CPUs, instead of returning strided views.

    Reading a strided tensor copies it at 0.3 GB/s; the transpose kernel itself moves 10 GB/s.
    Attention transposes four times per layer.
    """
    if "FLAGS_use_stride_kernel" in os.environ:  # the user's choice
        return
    if not paddle.device.get_device().startswith("gpu"):
        paddle.set_flags({"FLAGS_use_stride_kernel": False})


def build_model(
    config: Mapping[str, Any], pretrained: bool = True, blank: bool = False
) -> BaseFramework:
    """Returns the model that ``config`` describes: ``framework``, ``backbone``, ``loss``, options.

    ``pretrained``: load the weights that the configuration names. ``blank``: matrices are zeros,
    because a weight file is loaded next. Raises ConfigError for unknown names or sizes that
    do not fit together.
    """
    tune_cpu()
    copy_transposes()
    with blank_weights() if blank else nullcontext():
        arguments = {
            key: MODEL_PARTS[key].build(value)
            if key in MODEL_PARTS and isinstance(value, Mapping)
            else value
            for key, value in config.items()
        }
        model = FRAMEWORKS.build(arguments)
    if pretrained and not blank:
        model.init_weights()
    return model
