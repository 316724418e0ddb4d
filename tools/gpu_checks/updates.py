"""Updates of many parameters by one operator against one operator for each."""

from __future__ import annotations

import os
from collections.abc import Iterator
from unittest.mock import patch

import numpy as np

from gpu_checks.result import Place, Result, at_most, skipped

BOUND = 1e-5
STEPS = 5
OPTIMIZERS = {
    "Adam with L2": {"name": "Adam", "weight_decay": 0.1},
    "AdamW": {"name": "AdamW", "weight_decay": 0.1, "no_weight_decay_name": "bias"},
}


def updates(place: Place) -> Iterator[Result]:
    """Compares weights after some clipped steps, relative to the largest one."""
    from paddlevideo.solver.fused import HAS_OPERATORS

    for name, settings in OPTIMIZERS.items():
        title = f"updates by one operator, {name}"
        if not HAS_OPERATORS:
            yield skipped(title, "not used before Paddle 3")
            continue
        single, fused = (weights(settings, value) for value in ("0", "1"))
        yield at_most(title, float(np.abs(fused - single).max() / np.abs(single).max()), BOUND)


def weights(settings: dict[str, object], fused: str) -> np.ndarray:
    """Returns the weights of a small network after ``STEPS`` steps."""
    import paddle

    from paddlevideo.runtime.precision import LossScaler
    from paddlevideo.solver import build_optimizer
    from paddlevideo.solver.updater import Updater

    with patch.dict(os.environ, PADDLEVIDEO_FUSED_UPDATES=fused):
        paddle.seed(0)
        net = paddle.nn.Sequential(
            *(layer for _ in range(8) for layer in (paddle.nn.Linear(65, 65), paddle.nn.Tanh()))
        )
        schedule = paddle.optimizer.lr.StepDecay(0.01, 1000)
        clip = {"name": "global", "value": 0.5}
        rules = {**settings, "learning_rate": 0.01, "grad_clip": clip}
        optimizer = build_optimizer(rules, schedule, net)
        updater = Updater(optimizer, schedule, LossScaler(False, 1.0))
        inputs = paddle.to_tensor(np.random.default_rng(0).normal(size=(7, 65)).astype("float32"))
        for _ in range(STEPS):
            updater.backward(net(inputs).square().sum())
            updater.step()
        return np.concatenate([parameter.numpy().ravel() for parameter in net.parameters()])
