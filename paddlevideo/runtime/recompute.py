"""Recomputes layers in the backward pass instead of keeping their activations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import paddle
from paddle import Tensor, nn
from paddle.distributed.fleet.utils import recompute


def recompute_layers(layers: Iterable[nn.Layer]) -> None:
    """Makes each of ``layers`` keep only its inputs for the backward pass, in training.

    Dropout draws the same numbers again, so losses and gradients do not change.
    """
    for layer in layers:
        layer.forward = _recomputed(layer, layer.forward)


def _recomputed(layer: nn.Layer, forward: Callable[..., Any]) -> Callable[..., Any]:
    def run(*arguments: Any, **options: Any) -> Any:
        if not layer.training or not paddle.is_grad_enabled():
            return forward(*arguments, **options)
        state, calls = paddle.get_rng_state(), [0]

        def compute(*_: Tensor) -> Any:
            calls[0] += 1
            with nullcontext() if calls[0] == 1 else generator_at(state):
                return forward(*arguments, **options)

        # Paddle finds tensors that need gradients only among the arguments themselves, and Paddle
        # 2.6 cannot restore the state of a CPU's generator, so both are done here.
        inputs = list(tensors((arguments, tuple(options.values()))))
        return recompute(compute, *inputs, use_reentrant=False, preserve_rng_state=False)

    return run


@contextmanager
def generator_at(state: Any) -> Iterator[None]:
    """Sets the state of Paddle's generator within this context."""
    before = paddle.get_rng_state()
    paddle.set_rng_state(state)
    try:
        yield
    finally:
        paddle.set_rng_state(before)


def tensors(item: Any) -> Iterator[Tensor]:
    """Yields the tensors in nested tuples."""
    if isinstance(item, Tensor):
        yield item
    elif isinstance(item, tuple):
        for part in item:
            yield from tensors(part)
