"""Fused attention against plain attention in float32."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from gpu_checks.half_types import TYPES, half_precision, lacks, set_tf32
from gpu_checks.result import Place, Result, at_most, skipped
from gpu_checks.training import in_float32

BOUND = 2e-2
#: Queries, keys, heads, width of a head: those of the full-size model, at odd lengths.
SHAPES = ((19, 19, 12, 64), (37, 37, 8, 128), (5, 37, 8, 128), (1, 13, 12, 64))


def attention(place: Place) -> Iterator[Result]:
    """Compares outputs and gradients, relative to the largest number, with masks of odd lengths."""
    from paddlevideo.modeling.layers import PADDLE_RELEASE

    if PADDLE_RELEASE < 3:
        yield skipped("fused attention", "not used before Paddle 3")
        return
    set_tf32(False)
    for dtype in TYPES:
        if why := lacks(dtype, place):
            yield skipped(f"fused attention, {dtype}", why)
            continue
        worst = np.max([differences(shape, dtype, place) for shape in SHAPES], axis=0)
        for direction, measured in zip(("forward", "backward"), worst, strict=True):
            yield at_most(f"fused attention, {dtype}, {direction}", float(measured), BOUND)


def differences(shape: tuple[int, int, int, int], dtype: str, place: Place) -> tuple[float, float]:
    """Returns the relative differences of outputs and of gradients; NaN if one is not finite."""
    import paddle

    from paddlevideo.modeling import layers

    queries, keys, heads, width = shape
    rng = np.random.default_rng(0)
    lengths = np.array([1, keys // 2 | 1, keys])
    mask = (np.arange(keys) < lengths[:, None]).astype(np.float32)
    arrays = [rng.normal(size=(3, n, heads * width)) for n in (queries, keys, keys, queries)]
    *inputs, weight = [paddle.to_tensor(x.astype(np.float32)).astype(dtype) for x in arrays]
    bias = layers.mask_to_bias(paddle.to_tensor(mask))
    results = []
    with half_precision(place):
        results.append(outcome(attend_fused, inputs, weight, heads, bias))
    plain = [x.astype("float32") for x in inputs]
    results.append(outcome(layers.attend, plain, weight.astype("float32"), heads, bias))
    (output, gradient), (expected, expected_gradient) = results
    return relative(output, expected), relative(gradient, expected_gradient)


def attend_fused(query: Any, key: Any, value: Any, heads: int, *others: Any) -> Any:
    """Returns what ``layers.attend`` would, by the fused kernel."""
    from paddlevideo.modeling import layers

    split = (x.reshape([0, 0, heads, x.shape[-1] // heads]) for x in (query, key, value))
    return layers.attend_fused(*split, *others).flatten(2)


def outcome(
    attend: Any, inputs: list[Any], weight: Any, heads: int, bias: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the output, and the gradients of its inputs, weighted by ``weight``."""
    leaves = [x.detach() for x in inputs]
    for leaf in leaves:
        leaf.stop_gradient = False
    output = attend(*leaves, heads, bias, None)
    output.backward(weight)
    gradients = [in_float32(leaf.grad).ravel() for leaf in leaves]
    return in_float32(output), np.concatenate(gradients)


def relative(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Returns the largest difference, relative to the largest number."""
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())
