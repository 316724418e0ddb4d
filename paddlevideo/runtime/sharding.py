"""Divides the optimizer's arrays over the ranks (stage 1 of ZeRO, Rajbhandari et al. 2020).

Every rank has all gradients, averaged as without sharding, steps the parameters assigned to it, and
broadcasts them. The weights are those of plain data parallelism, bit for bit.

Paddle's ``DygraphShardingOptimizer`` cannot be used: it rejects regularizers of single parameters,
which exempt some from weight decay, and in 3.3.1 it gives parameters without a gradient a zero
gradient, and with it weight decay. Its ``group_sharded_parallel`` (stages 2 and 3) cannot either:
see ``NO_MORE_SHARDING`` in ``paddlevideo.config.settings``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import paddle
import paddle.distributed as dist
from paddle import Tensor

#: Largest number of elements of a parameter that is sent with others. Most parameters are biases
#: and norms, for which starting a message takes longer than two copies.
SMALL = 1 << 16


class ShardedOptimizer:
    """An optimizer that keeps arrays for this rank's parameters only.

    Delegates everything else to the optimizer it wraps. Call ``step`` on all ranks. Clipping by
    the global norm is left to the caller: here it would be that of this rank's parameters.
    """

    def __init__(self, optimizer: Any, rank: int, size: int) -> None:
        """``optimizer``, which is modified, must not have stepped or loaded a state yet."""
        self._inner_opt = optimizer
        self._parameter_list = list(optimizer._parameter_list)
        self._owners = assign_ranks([int(np.prod(p.shape)) for p in self._parameter_list], size)
        self._rank = rank
        assigned = [
            p for p, owner in zip(self._parameter_list, self._owners, strict=True) if owner == rank
        ]
        optimizer._parameter_list = optimizer._param_groups = assigned

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner_opt, name)

    @paddle.no_grad()
    def step(self) -> None:
        """Steps this rank's parameters and exchanges them with the other ranks."""
        if self._inner_opt._parameter_list:
            self._inner_opt.step()
        exchange(self._parameter_list, self._owners, self._rank)

    def clear_grad(self, set_to_zero: bool = True) -> None:
        """Frees the gradients of all parameters, or fills them with zeros."""
        for parameter in self._parameter_list:
            parameter.clear_gradient(set_to_zero)


def assign_ranks(sizes: Sequence[int], ranks: int) -> list[int]:
    """Assigns each size to a rank such that the ranks' sums are about equal."""
    sums, owners = [0] * ranks, [0] * len(sizes)
    for index in sorted(range(len(sizes)), key=lambda index: -sizes[index]):
        owners[index] = sums.index(min(sums))
        sums[owners[index]] += sizes[index]
    return owners


def exchange(parameters: Sequence[Tensor], owners: Sequence[int], rank: int) -> None:
    """Sends each parameter from the rank that owns it to the others, small ones together."""
    packed: dict[tuple[int, Any], list[Tensor]] = {}
    for parameter, owner in zip(parameters, owners, strict=True):
        if parameter.size > SMALL:
            dist.broadcast(parameter, src=owner)
        else:
            packed.setdefault((owner, parameter.dtype), []).append(parameter)
    for (owner, dtype), small in packed.items():
        sizes = [int(parameter.size) for parameter in small]
        if owner == rank:
            block = paddle.concat([parameter.flatten() for parameter in small])
        else:
            block = paddle.empty([sum(sizes)], dtype)
        dist.broadcast(block, src=owner)
        if owner != rank:
            for parameter, part in zip(small, paddle.split(block, sizes), strict=True):
                paddle.assign(part.reshape(parameter.shape), parameter)


def collect(
    state: Mapping[str, Any], described: Sequence[Mapping[str, tuple]], rank: int
) -> dict[str, Any]:
    """Returns all ranks' arrays and the other entries on rank 0; an empty dict elsewhere.

    Sends one array at a time, as bytes, so that no rank holds more than one array of another.

    Args:
        state: this rank's arrays by name, and other entries, which rank 0 keeps.
        described: ``description`` of every rank's ``state``.
        rank: this rank.
    """
    whole = {} if rank else {k: v for k, v in state.items() if not isinstance(v, np.ndarray)}
    for owner, arrays in enumerate(described):
        for name, (shape, dtype) in arrays.items():
            count = int(np.prod(shape)) * np.dtype(dtype).itemsize
            if owner == rank:
                raw = np.ascontiguousarray(state[name]).reshape(-1).view(np.uint8)
                tensor = paddle.to_tensor(raw)
            else:
                tensor = paddle.empty([count], dtype="uint8")
            dist.broadcast(tensor, src=owner)
            if rank == 0:
                whole[name] = tensor.numpy().view(dtype).reshape(shape)
    return whole


def description(state: Mapping[str, Any]) -> dict[str, tuple]:
    """Returns the shape and type of each array."""
    arrays = {name: value for name, value in state.items() if isinstance(value, np.ndarray)}
    return {name: (array.shape, array.dtype.str) for name, array in arrays.items()}
