"""The tangled transformer (TNT): the layer that lets ActBERT's three streams interact.

B clips; T words, R regions (the global one first), A actions; W the tangled width.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn

from paddlevideo.modeling.layers import (
    AddNorm,
    FeedForward,
    InitializerRange,
    Projections,
    StreamConfig,
    attend_heads,
    expand_batch,
    fuses_attention,
    length_of,
    linear,
    split_all,
    split_heads,
)
from paddlevideo.utils.errors import ConfigError

Item = TypeVar("Item")


# A NamedTuple cannot be generic before Python 3.11.
class Streams(namedtuple("Streams", ("text", "regions", "actions")), Generic[Item]):
    """One item for each of the three streams."""

    text: Item
    regions: Item
    actions: Item


class PaddedLengths(NamedTuple):
    """The lengths of text and regions before padding was cut off."""

    text: int
    regions: int


@dataclass(frozen=True)
class TangleConfig:
    """The settings of the tangled layers.

    ``kind`` "released": the block of the published weights, where the stretched contexts are added
    to keys and values and the action stream receives nothing. "paper": the block as ActBERT's
    paper describes it (Zhu and Yang 2020, section 3.3), with contexts appended as further keys and
    values.
    """

    width: int
    heads: int
    action_region_dropout: float = 0.1
    action_text_dropout: float = 0.1
    kind: str = "released"
    initializer_range: InitializerRange = 0.02

    def __post_init__(self) -> None:
        """Raises ConfigError if no layer can be built from these settings."""
        if self.kind not in ("released", "paper"):
            raise ConfigError(f'tangle is "released" or "paper", not "{self.kind}"')
        if self.width % self.heads:
            raise ConfigError(
                f"bi_hidden_size {self.width} cannot be divided over {self.heads} heads"
            )


def per_stream(
    make: Callable[[StreamConfig], nn.Layer], streams: Streams[StreamConfig]
) -> nn.LayerDict:
    """Makes a layer for each stream, under the stream's name."""
    return nn.LayerDict({name: make(stream) for name, stream in streams._asdict().items()})


class StreamOutput(nn.Layer):
    """Maps the tangled width back to the stream's: add, norm, feed-forward, add, norm."""

    def __init__(self, tangled_width: int, stream: StreamConfig) -> None:
        super().__init__()
        self.attention_output = AddNorm(tangled_width, stream.width, stream.dropout)
        self.feed_forward = FeedForward(stream)

    def forward(self, context: Tensor, residual: Tensor) -> Tensor:
        """``context`` (B, T, W), ``residual`` (B, T, D) -> (B, T, D)."""
        return self.feed_forward(self.attention_output(context, residual))


class Projected(NamedTuple):
    """Queries, keys and values of one stream, each as ``split_heads`` returns them."""

    query: Tensor
    key: Tensor
    value: Tensor


class Message(NamedTuple):
    """What a stream receives from another: a key and a value per action, (B, A, W) each."""

    key: Tensor
    value: Tensor


class Known(NamedTuple):
    """Intermediate results of a tangled layer that depend on one side and are known already."""

    text: Projected | None = None
    regions: Projected | None = None
    action_query: Tensor | None = None  # as in Projected
    region_message: Message | None = None


NOTHING_KNOWN = Known()
ALL_ROWS: Streams[int | None] = Streams(None, None, None)


class TangledLayer(nn.Layer):
    """Actions attend to words and regions; the result modifies how those attend."""

    def __init__(self, streams: Streams[StreamConfig], tangle: TangleConfig) -> None:
        super().__init__()
        self.heads = tangle.heads
        self.released = tangle.kind == "released"
        width = tangle.width
        self.projections = per_stream(lambda s: Projections(s.width, width), streams)
        self.dropouts = per_stream(lambda s: nn.Dropout(s.attention_dropout), streams)
        self.outputs = per_stream(lambda s: StreamOutput(width, s), streams)
        self.text_context_key = linear(width, width)
        self.text_context_value = linear(width, width)
        self.region_context_key = linear(width, width)
        self.region_context_value = linear(width, width)
        if self.released:  # published, but unused in the block that was trained
            for parameter in self.region_context_value.parameters():
                parameter.stop_gradient = True
        # The released weights were trained with the two rates swapped.
        self.region_context_dropout = nn.Dropout(tangle.action_text_dropout)
        self.text_context_dropout = nn.Dropout(tangle.action_region_dropout)

    def forward(
        self,
        states: Streams[Tensor],
        bias: Streams[Tensor],
        padded: PaddedLengths,
        rows: Streams[int | None] = ALL_ROWS,
        known: Known = NOTHING_KNOWN,
    ) -> Streams[Tensor]:
        """Returns the streams' new states.

        ``states`` (B, T | R | A, D of the stream), ``bias`` (B, 1, 1, T | R | A). ``rows``:
        the number of first positions to compute per stream; they attend to all positions.
        ``known``: what was computed before. Actions may be None if their query is known; they
        are then None in the result. B may be 1 for text if it is larger for regions.
        """
        text = known.text or self.project("text", states.text, rows.text)
        regions = known.regions or self.project("regions", states.regions, rows.regions)
        actions = None if states.actions is None else self.project("actions", states.actions)
        query = known.action_query if actions is None else actions.query
        text_message = self.text_message(query, text, bias.text)
        to_actions = None if self.released else text_message
        region_message = known.region_message or self.region_message(query, regions, bias.regions)
        return Streams(
            self.update_stream("text", states.text, text, bias, region_message, padded.text),
            self.update_stream(
                "regions", states.regions, regions, bias, text_message, padded.regions
            ),
            None
            if actions is None
            else self.update_stream("actions", states.actions, actions, bias, to_actions),
        )

    def project(self, name: str, x: Tensor, rows: int | None = None) -> Projected:
        """Returns keys and values of all positions and queries of the first ``rows``."""
        project = self.projections[name]
        parts = project.query(x[:, :rows]), project.key(x), project.value(x)
        if rows is None:
            return Projected(*split_all(parts, self.heads))
        return Projected(*(split_heads(part, self.heads) for part in parts))

    def text_message(self, query: Tensor, text: Projected, bias: Tensor) -> Message:
        """Returns what actions, with ``query`` of ``Projected``, read from the words."""
        context = attend_heads(query, text.key, text.value, bias, self.text_context_dropout)
        context = context.flatten(2)
        return Message(self.text_context_key(context), self.text_context_value(context))

    def region_message(self, query: Tensor, regions: Projected, bias: Tensor) -> Message:
        """Returns what actions read from the regions; released: with text's value projection."""
        context = attend_heads(
            query, regions.key, regions.value, bias, self.region_context_dropout
        ).flatten(2)
        value = self.text_context_value if self.released else self.region_context_value
        return Message(self.region_context_key(context), value(context))

    def update_stream(
        self,
        name: str,
        state: Tensor,
        projected: Projected,
        bias: Streams[Tensor],
        message: Message | None,
        padded: int = 0,
    ) -> Tensor:
        """Returns a stream's new state: it attends to itself and to the message it received.

        The result has as many rows as ``projected`` has queries.

        Released: the message is stretched from A to ``padded`` positions and added to keys and
        values. Paper: it is appended to them, masked as the actions are.
        """
        stream_bias, dropout = getattr(bias, name), self.dropouts[name]
        if message is None:
            context = attend_heads(*projected, stream_bias, dropout)
        elif self.released:
            context = attend_stretched(
                *projected, message, padded, self.heads, stream_bias, dropout
            )
        else:
            more_key, more_value = (split_heads(x, self.heads) for x in message)
            batch, axis = message.key.shape[0], position_axis(more_key)
            key, value, stream_bias = (
                paddle.concat([expand_batch(x, batch), more], axis=axis)
                for x, more, axis in (
                    (projected.key, more_key, axis),
                    (projected.value, more_value, axis),
                    (stream_bias, bias.actions, 3),
                )
            )
            context = attend_heads(projected.query, key, value, stream_bias, dropout)
        context = context.flatten(2)
        return self.outputs[name](context, state[:, : length_of(context)])


def position_axis(x: Tensor) -> int:
    """Returns the axis of positions in what ``split_heads`` returns."""
    return 1 if fuses_attention(x) else 2


def attend_stretched(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    message: Message,
    padded: int,
    heads: int,
    bias: Tensor,
    dropout: nn.Dropout,
) -> Tensor:
    """Attends to key + S m_k and value + S m_v, where S stretches A rows over the positions.

    ``query``, ``key`` and ``value`` are those of ``Projected``; the result is (B, Tq, h, d).

    q (k + S m_k)' = q k' + (q m_k') S' and w (v + S m_v) = w v + (w S) m_v: the message stays A
    rows long, which saves four passes over all positions. S (T, A) has a single 1 in each row:
    position i takes row floor(i * A / padded), as nearest-neighbour interpolation does. Cutting a
    padded sequence short therefore does not change what its first positions receive.
    """
    actions, length = message.key.shape[1], length_of(key, position_axis(key))
    if isinstance(length, int):
        spread = spread_matrix(actions, length, padded, key.dtype)
    else:
        spread = spread_matrix(actions, padded, padded, key.dtype)[:, :length]
    if fuses_attention(query):
        # One fused kernel is faster here, so the message is added to all positions.
        key, value = (
            x + split_heads(paddle.matmul(spread, more, transpose_x=True), heads)
            for x, more in ((key, message.key), (value, message.value))
        )
        return attend_heads(query, key, value, bias, dropout)
    query = query * query.shape[-1] ** -0.5  # B, h, Tq, d
    more_key, more_value = (split_heads(x, heads) for x in message)
    shift = paddle.matmul(paddle.matmul(query, more_key, transpose_y=True), spread)
    scores = paddle.matmul(query, key, transpose_y=True) + shift
    weights = dropout(F.softmax(scores + bias.astype(scores.dtype), axis=-1))
    grouped = paddle.matmul(weights, spread, transpose_y=True)  # B, h, Tq, A
    context = paddle.matmul(weights, value) + paddle.matmul(grouped, more_value)
    return context.transpose([0, 2, 1, 3])


def spread_matrix(actions: int, positions: int, padded: int, dtype: Any = paddle.float32) -> Tensor:
    """Returns (A, T): (a, i) is 1 where position i takes row a = floor(i * A / padded).

    The last ones are kept: a copy to a GPU takes longer than the products with it.
    """
    if not paddle.in_dynamic_mode():  # a tensor belongs to one program
        return _make_spread(actions, positions, padded).astype(dtype)
    return _kept_spread(actions, positions, padded, dtype, paddle.device.get_device())


@lru_cache(maxsize=256)
def _kept_spread(actions: int, positions: int, padded: int, dtype: Any, device: str) -> Tensor:
    return _make_spread(actions, positions, padded).astype(dtype)


def _make_spread(actions: int, positions: int, padded: int) -> Tensor:
    matrix = np.zeros([actions, positions], dtype=np.float32)
    columns = np.arange(positions)
    matrix[columns * actions // padded, columns] = 1.0
    return paddle.to_tensor(matrix)
