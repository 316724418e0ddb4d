"""The optimizer's arrays divided over the ranks (stage 1 of ZeRO, Rajbhandari et al. 2020).

Every rank has all gradients, averaged as without sharding, steps its own parameters, and hands
them to the others. The weights are those of plain data parallelism, bit for bit.

Paddle's ``DygraphShardingOptimizer`` is not used: it refuses parameters with a regularizer of their
own, which is how some have no weight decay, and in 3.3.1 it gives a gradient of zeros, and with it
weight decay, to parameters that have none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import paddle
import paddle.distributed as dist
from paddle import Tensor, nn


class ShardedOptimizer:
    """An optimizer that keeps arrays for this rank's parameters only.

    Like ``optimizer`` in everything else. Its ``step`` must be called on all ranks.
    """

    def __init__(self, optimizer: Any, rank: int, size: int) -> None:
        """``optimizer`` must not have stepped or been loaded yet; it is changed."""
        self._inner_opt = optimizer
        self._parameter_list = list(optimizer._parameter_list)
        self._owners = share_out([int(np.prod(p.shape)) for p in self._parameter_list], size)
        own = [
            p for p, owner in zip(self._parameter_list, self._owners, strict=True) if owner == rank
        ]
        optimizer._parameter_list = optimizer._param_groups = own
        if isinstance(optimizer._grad_clip, paddle.nn.ClipGradByGlobalNorm):
            optimizer._grad_clip = ClipByNormOfAll(optimizer._grad_clip, self._parameter_list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner_opt, name)

    @paddle.no_grad()
    def step(self) -> None:
        """Steps this rank's parameters; then all ranks have all of them."""
        if self._inner_opt._parameter_list:
            self._inner_opt.step()
        for parameter, owner in zip(self._parameter_list, self._owners, strict=True):
            dist.broadcast(parameter, src=owner)

    def clear_grad(self, set_to_zero: bool = True) -> None:
        """Frees the gradients of all parameters, or fills them with zeros."""
        for parameter in self._parameter_list:
            parameter.clear_gradient(set_to_zero)


class ClipByNormOfAll:
    """Clips some parameters' gradients by the norm of all."""

    def __init__(self, clip: Any, parameters: Sequence[Tensor]) -> None:
        self.clip, self.parameters = clip, parameters

    def __call__(self, pairs: list[tuple[Tensor, Tensor]]) -> list[tuple[Tensor, Tensor]]:
        """``pairs`` of parameter and gradient -> the same parameters with clipped gradients."""
        wanted = {parameter.name for parameter, _ in pairs}
        gradients = [(p, p._grad_ivar()) for p in self.parameters]
        clipped = self.clip([pair for pair in gradients if pair[1] is not None])
        return [pair for pair in clipped if pair[0].name in wanted]


def share_out(sizes: Sequence[int], ranks: int) -> list[int]:
    """A rank for each size so that the ranks have about equal sums; the same on every rank."""
    sums, owners = [0] * ranks, [0] * len(sizes)
    for place in sorted(range(len(sizes)), key=lambda place: -sizes[place]):
        owners[place] = sums.index(min(sums))
        sums[owners[place]] += sizes[place]
    return owners


def collect(
    mine: Mapping[str, Any], described: Sequence[Mapping[str, tuple]], rank: int
) -> dict[str, Any]:
    """The arrays of all ranks on rank 0, and its other entries; nothing on the others.

    Args:
        mine: this rank's arrays by name; other entries are rank 0's business.
        described: each rank's shapes and types by name, ``description`` of each ``mine``.
        rank: this one.

    One array at a time, as bytes, so that no rank holds more than one that is not its own.
    """
    whole = {} if rank else {k: v for k, v in mine.items() if not isinstance(v, np.ndarray)}
    for owner, arrays in enumerate(described):
        for name, (shape, dtype) in arrays.items():
            count = int(np.prod(shape)) * np.dtype(dtype).itemsize
            if owner == rank:
                raw = np.ascontiguousarray(mine[name]).reshape(-1).view(np.uint8)
                tensor = paddle.to_tensor(raw)
            else:
                tensor = paddle.empty([count], dtype="uint8")
            dist.broadcast(tensor, src=owner)
            if rank == 0:
                whole[name] = tensor.numpy().view(dtype).reshape(shape)
    return whole


def description(mine: Mapping[str, Any]) -> dict[str, tuple]:
    """Shape and type of each array."""
    arrays = {name: value for name, value in mine.items() if isinstance(value, np.ndarray)}
    return {name: (array.shape, array.dtype.str) for name, array in arrays.items()}


def shard_by_paddle(model: nn.Layer, updater: Any, stage: int) -> nn.Layer:
    """The model as Paddle's ``group_sharded_parallel`` wraps it; it works on GPUs only.

    ``updater.optimizer`` and ``updater.scaler`` are replaced by what belongs to it. A scaler that
    is off is left alone.
    """
    scaler = updater.scaler if updater.scaler.is_enable() else None
    wrapped, updater.optimizer, scaler = dist.sharding.group_sharded_parallel(
        model, updater.optimizer, level={2: "os_g", 3: "p_g_os"}[stage], scaler=scaler
    )
    updater.scaler = scaler or updater.scaler
    return wrapped
