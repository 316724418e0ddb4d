"""Estimates of batch size, precision, recomputation and workers for a GPU, without one.

They are from operations and bytes (docs/performance.md gives the formulas); no GPU has confirmed
them.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle import Tensor, nn

from paddlevideo.modeling import BaseFramework
from paddlevideo.runtime.recompute import tensors

GIGABYTE = 1 << 30
#: The largest batch that is recommended; with more clips the learning rate would need care.
LARGEST = 256
#: The fraction of a card's memory that is planned with, after CUDA's context and libraries.
USABLE, CONTEXT = 0.9, GIGABYTE
#: The assumed fraction of a card's peak that products reach.
EFFICIENCY = 0.3
#: Seconds in which the host starts an operator: 17 microseconds of processor time, from a step of
#: 6,819 operators on small arrays (docs/performance.md).
HOST_SECONDS = 17e-6
#: Bytes that Adam reads and writes per trained parameter: it reads weight, gradient and two
#: moments, and writes all but the gradient, in float32.
ADAM_TRAFFIC = 7 * 4


@dataclass(frozen=True)
class Card:
    """A GPU. ``peak``: TFLOP/s of half products; ``bandwidth``: GB/s; 0 if they are not known."""

    name: str
    memory: float  # GiB
    peak: float
    bandwidth: float
    has_bfloat16: bool


#: NVIDIA's data sheets and white papers: dense half products with sums in float32, of the SXM
#: version where there is one.
CARDS = (
    Card("V100", 16, 125, 900, False),
    Card("V100", 32, 125, 900, False),
    Card("T4", 16, 65, 320, False),
    Card("A10", 24, 125, 600, True),
    Card("A100", 40, 312, 1555, True),
    Card("A100", 80, 312, 2039, True),
    Card("RTX 3090", 24, 71, 936, True),
    Card("RTX 4090", 24, 165, 1008, True),
    Card("H100", 80, 989, 3350, True),
)


@dataclass(frozen=True)
class Kept:
    """What the forward pass of a batch keeps for the backward pass, in bytes, and multiplies.

    ``recomputed``: the bytes if the model's ``recomputable`` layers keep their inputs only, while
    the largest of them is recomputed.
    ``operations``: of products in dense layers, forward.
    """

    everything: float
    recomputed: float
    operations: float


@dataclass(frozen=True)
class Needs:
    """What training needs: bytes independent of the batch, and of each clip."""

    parameters: int
    trained: int
    optimizer_bytes: float  # arrays of the optimizer, without masters
    average_bytes: float
    clip: Kept  # in half precision, per clip
    operators: int  # that the host starts in a step
    clip_seconds: float  # to read a clip, one process
    batch_size: int  # of the recipe

    @property
    def fixed_bytes(self) -> float:
        """Weights, gradients and the optimizer's arrays at level O1, and weights cast to half."""
        weights = (4 + 2) * self.parameters + 4 * self.trained
        return weights + self.optimizer_bytes + self.average_bytes


@dataclass(frozen=True)
class Recommendation:
    """Estimated settings for a card. ``batch_size`` 0: one clip does not fit."""

    batch_size: int
    dtype: str
    recompute: bool
    speed: float  # clips/s, 0 if it is not known
    workers: int


def recommend(card: Card, needs: Needs) -> Recommendation:
    """Returns the largest batch that fits, a power of two, recomputing only if it must.

    Layers are recomputed where the recipe's own batch does not fit otherwise.
    """
    left = USABLE * card.memory * GIGABYTE - CONTEXT - needs.fixed_bytes
    fits = left // max(needs.clip.everything, 1.0)
    recompute = fits < needs.batch_size
    if recompute:
        fits = left // max(needs.clip.recomputed, 1.0)
    batch = 1 << (int(min(fits, LARGEST)).bit_length() - 1) if fits >= 1 else 0
    speed = batch / step_seconds(card, needs, batch, recompute) if batch and card.peak else 0.0
    workers = int(np.ceil(speed * needs.clip_seconds))
    dtype = "bfloat16" if card.has_bfloat16 else "float16"
    return Recommendation(batch, dtype, recompute, speed, workers)


def step_seconds(card: Card, needs: Needs, batch: int, recompute: bool) -> float:
    """Returns the time of a step: of the card or, if it takes longer, of the host.

    A backward pass takes twice the operations of the forward pass, which recomputation repeats.
    """
    passes = 4 if recompute else 3
    products = passes * needs.clip.operations * batch / (EFFICIENCY * card.peak * 1e12)
    on_card = products + ADAM_TRAFFIC * needs.trained / (card.bandwidth * 1e9)
    return max(on_card, HOST_SECONDS * needs.operators * (passes / 3))


def known_cards() -> list[Card]:
    """Returns the GPU that is used, or well-known ones on a CPU."""
    device = paddle.device.get_device()
    if not device.startswith("gpu"):
        return list(CARDS)
    found = paddle.device.cuda.get_device_properties(device)  # gpu-only
    return [card_named(found.name, found.total_memory / GIGABYTE, found.major >= 8)]  # gpu-only


def card_named(name: str, memory: float, has_bfloat16: bool) -> Card:
    """Returns a GPU by the driver's name, such as "NVIDIA A100-SXM4-80GB"; ``memory`` in GiB."""
    same = [card for card in CARDS if re.search(rf"\b{card.name}\b(?! Ti)", name)]
    nearest = min(same, key=lambda card: abs(card.memory - memory), default=None)
    peak, bandwidth = (nearest.peak, nearest.bandwidth) if nearest else (0.0, 0.0)
    return Card(name, memory, peak, bandwidth, has_bfloat16)


def card_lines(cards: Iterable[Card], needs: Needs) -> Iterator[str]:
    """Yields a table of recommendations."""
    columns = (
        f"{'batch_size':>10s}  {'amp, O1':9s} {'recompute':9s} {'workers':>8s} {'clips/s':>9s}"
    )
    yield f"{'':24s} {columns}"
    for card in cards:
        advice = recommend(card, needs)
        title = f"{card.name}, {card.memory:.0f} GiB"
        speed = f"{advice.speed:,.0f}" if advice.speed else "unknown"
        workers = f"{advice.workers}" if advice.speed else "unknown"
        size = f"{advice.batch_size}" if advice.batch_size else "too large"
        yield (
            f"{title:24s} {size:>10s}  {advice.dtype:9s} {advice.recompute!s:9s} {workers:>8s} "
            f"{speed:>9s}"
        )
    clip, megabyte = needs.clip, 1 << 20
    yield (
        f"counted: {needs.fixed_bytes / megabyte:,.0f} MB, and for each clip "
        f"{clip.everything / megabyte:.1f} MB ({clip.recomputed / megabyte:.1f} recomputed) and "
        f"{3 * clip.operations / 1e9:.2f} GFLOP; {needs.operators:,} operators a step; reading a "
        f"clip takes {1e3 * needs.clip_seconds:.2g} ms here"
    )


# ------------------------------------------------------------------------------ counting


class Counter:
    """Counts what a forward pass keeps and multiplies, within the context."""

    def __init__(self, model: BaseFramework, half: bool) -> None:
        """``half``: count floating-point tensors of float32 as two bytes each."""
        self.model, self.half = model, half
        self._parts = [*model.recomputable()]
        self._kept: dict[int, tuple[int, int]] = {}  # by address: bytes, part
        self._inputs: dict[int, Tensor] = {}
        self._operations, self._part = 0, -1

    def __enter__(self) -> Counter:
        self._hooks = ExitStack()
        for index, layer in enumerate(self._parts):
            self._add(layer.register_forward_pre_hook(partial(self._begin, index)))
            self._add(layer.register_forward_post_hook(self._end))
        for layer in self.model.sublayers():
            if isinstance(layer, nn.Linear):
                self._add(layer.register_forward_post_hook(self._multiplied))
        saved = paddle.autograd.saved_tensors_hooks(self._saved, lambda kept: kept)
        self._hooks.enter_context(saved)
        return self

    def __exit__(self, *exception: object) -> None:
        self._hooks.close()

    def _add(self, hook: Any) -> None:
        self._hooks.callback(hook.remove)

    def _size(self, tensor: Tensor) -> int:
        halved = self.half and tensor.dtype == paddle.float32
        return int(np.prod(tensor.shape)) * (2 if halved else tensor.element_size())

    def _saved(self, tensor: Tensor) -> Tensor:
        if not tensor.persistable:
            self._kept.setdefault(address(tensor), (self._size(tensor), self._part))
        return tensor

    def _begin(self, index: int, layer: nn.Layer, inputs: Any) -> None:
        self._part = index
        self._inputs |= {address(tensor): tensor for tensor in tensors(inputs)}

    def _end(self, layer: nn.Layer, inputs: Any, output: Any) -> None:
        self._part = -1

    def _multiplied(self, layer: nn.Linear, inputs: Any, output: Tensor) -> None:
        self._operations += 2 * int(np.prod(inputs[0].shape)) * layer.weight.shape[1]

    def kept(self, clips: int) -> Kept:
        """Returns the counts for each of ``clips`` clips."""
        by_part = np.zeros(len(self._parts) + 1)
        for size, part in self._kept.values():
            by_part[part] += size  # the last one is outside of all
        *within, outside = by_part
        inputs = sum(
            self._size(tensor)
            for at, tensor in self._inputs.items()
            if self._kept.get(at, (0, 0))[1] != -1  # it is among those outside
        )
        recomputed = min(outside + inputs + max(within, default=0.0), by_part.sum())
        counted = (by_part.sum(), recomputed, self._operations)
        return Kept(*(float(number) / clips for number in counted))


def address(tensor: Tensor) -> int:
    """Returns what tensors share that share memory; older Paddles do not tell, and views differ."""
    return tensor.data_ptr() if hasattr(tensor, "data_ptr") else id(tensor)


def count_kept(model: BaseFramework, batch: Mapping[str, Any], amp: Any) -> Kept:
    """Returns what a forward pass in half precision keeps and multiplies for each clip.

    Without mixed precision, as on a CPU, half of the bytes of float32 are counted. The model's
    layers are no longer recomputed afterwards.
    """
    model.train()
    for layer in model.recomputable():
        vars(layer).pop("forward", None)  # what ``recompute_layers`` has set
    with Counter(model, half=not amp.enabled) as counter, amp.autocast():
        losses = model(batch)
    del losses
    return counter.kept(len(next(iter(batch.values()))))


def count_operators(step: Callable[[], object]) -> int:
    """Returns the number of operators that ``step`` starts, as Paddle's profiler records them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "trace.json")
        profiler = paddle.profiler.Profiler(
            targets=[paddle.profiler.ProfilerTarget.CPU],
            on_trace_ready=lambda recorded: recorded.export(str(path), "json"),
        )
        with profiler:
            step()
        events = json.loads(path.read_text())["traceEvents"]
    return sum(event.get("cat") == "Operator" for event in events)
