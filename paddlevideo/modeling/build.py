"""Builds a model from the MODEL section of a configuration, or from a dict of its shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from paddlevideo.modeling.framework.base import BaseFramework
from paddlevideo.registry import BACKBONES, FRAMEWORKS, LOSSES
from paddlevideo.utils.cpu import tune_cpu

#: Arguments of a framework that are parts of their own.
PARTS = {"backbone": BACKBONES, "loss": LOSSES}


def build_model(config: Mapping[str, Any], pretrained: bool = True) -> BaseFramework:
    """The model that ``config`` describes: ``framework``, ``backbone``, ``loss``, options.

    ``pretrained``: load the weights that the configuration names as a start.
    Raises ConfigError for unknown names or sizes that do not fit together.
    """
    tune_cpu()
    arguments = {
        key: PARTS[key].build(value) if key in PARTS and isinstance(value, Mapping) else value
        for key, value in config.items()
    }
    model = FRAMEWORKS.build(arguments)
    if pretrained:
        model.init_weights()
    return model
