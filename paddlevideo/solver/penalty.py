"""Adds regularization to the gradient, L2 in place."""

from __future__ import annotations

from typing import Any

import paddle
from paddle import Tensor, _C_ops


def add_penalties(optimizer: Any, kind: str, strength: float) -> None:
    """Makes ``optimizer`` add ``strength`` * parameter (``kind`` L2) to the gradient in place.

    Applies to parameters with a regularizer. Paddle allocates two arrays of
    the parameter's size: for 206 million parameters 0.3 to 1 s per step on two cores. SGD applied
    to the gradient, with the parameter as its gradient, is one pass of 0.07 s and bit-identical.
    Paddle's method is kept for L1, for anything but dense float32 arrays on the CPU, and for
    optimizers that override it (Momentum).
    """
    base = paddle.optimizer.Optimizer._create_regularization_of_grad
    if type(optimizer)._create_regularization_of_grad is not base:
        return
    by_paddle = optimizer._create_regularization_of_grad
    rate = paddle.to_tensor([-strength], dtype="float32", place=paddle.CPUPlace())

    def penalised(parameter: Tensor, gradient: Tensor | None, regularization: Any = None) -> Any:
        if parameter.regularizer is None:
            return by_paddle(parameter, gradient, regularization)
        if kind != "L2" or not is_dense_on_cpu(parameter, gradient):
            # For a float32 gradient of a half parameter Paddle takes the master weight, and looks
            # for a regularizer there.
            return by_paddle(parameter, gradient, parameter.regularizer)
        _C_ops.sgd_(gradient, rate, parameter, None, False)
        return gradient

    optimizer._create_regularization_of_grad = penalised


def is_dense_on_cpu(parameter: Tensor, gradient: Tensor | None) -> bool:
    """Returns whether both are dense float32 tensors on the CPU."""
    return gradient is not None and all(
        x.is_dense() and x.dtype == paddle.float32 and x.place.is_cpu_place()
        for x in (parameter, gradient)
    )
