"""L2 in the gradient without copies of it."""

from __future__ import annotations

from typing import Any

import paddle
from paddle import Tensor, _C_ops


def add_in_place(optimizer: Any, strength: float) -> None:
    """Makes ``optimizer`` add ``strength`` * parameter to the gradient itself.

    For parameters that have a regularizer, an L2 of that strength. Paddle makes two new arrays as
    large as the parameter, for 206 million parameters 0.3 to 1 s a step on two cores; gradient
    descent on the gradient, with the parameter as its gradient, is one pass of 0.07 s with the
    same bits. What is not a dense float32 array on the CPU goes Paddle's way, and so does an
    optimizer that has a way of its own (Momentum).
    """
    base = paddle.optimizer.Optimizer._create_regularization_of_grad
    if type(optimizer)._create_regularization_of_grad is not base:
        return
    paddles_way = optimizer._create_regularization_of_grad
    rate = paddle.to_tensor([-strength], dtype="float32", place=paddle.CPUPlace())

    def penalised(parameter: Tensor, gradient: Tensor | None, regularization: Any = None) -> Any:
        if parameter.regularizer is None or not fits(parameter, gradient):
            return paddles_way(parameter, gradient, regularization)
        _C_ops.sgd_(gradient, rate, parameter, None, False)
        return gradient

    optimizer._create_regularization_of_grad = penalised


def fits(parameter: Tensor, gradient: Tensor | None) -> bool:
    """Whether both are dense float32 arrays on the CPU."""
    return gradient is not None and all(
        x.is_dense() and x.dtype == paddle.float32 and x.place.is_cpu_place()
        for x in (parameter, gradient)
    )
