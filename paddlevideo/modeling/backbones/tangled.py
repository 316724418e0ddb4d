"""The tangled transformer (TNT): the layers in which ActBERT's three streams meet.

B clips; T words, R regions (the global one first), A actions; W the tangled width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

import paddle
from paddle import Tensor, nn

from paddlevideo.modeling.layers import (
    AddNorm,
    FeedForward,
    Projections,
    StreamConfig,
    TransformerLayer,
    attend,
    linear,
    stretch,
)
from paddlevideo.utils.errors import ConfigError

Item = TypeVar("Item")


class Streams(NamedTuple, Generic[Item]):
    """One thing for each of the three streams."""

    text: Item
    regions: Item
    actions: Item


class PaddedLengths(NamedTuple):
    """The lengths to which text and regions were padded before any padding was cut off."""

    text: int
    regions: int


@dataclass(frozen=True)
class TangleConfig:
    """The settings of the tangled layers.

    ``kind`` "released": the block of the published weights, where the stretched contexts are added
    to keys and values and the action stream receives nothing. "paper": the block as ActBERT's
    paper draws it (Zhu and Yang 2020, section 3.3), contexts appended as further keys and values.
    """

    width: int
    heads: int
    action_region_dropout: float = 0.1
    action_text_dropout: float = 0.1
    kind: str = "released"

    def __post_init__(self) -> None:
        """Raises ConfigError for settings no layer could be built from."""
        if self.kind not in ("released", "paper"):
            raise ConfigError(f'tangle is "released" or "paper", not "{self.kind}"')
        if self.width % self.heads:
            raise ConfigError(
                f"bi_hidden_size {self.width} cannot be divided over {self.heads} heads"
            )


def per_stream(
    make: Callable[[StreamConfig], nn.Layer], streams: Streams[StreamConfig]
) -> nn.LayerDict:
    """A layer for each stream, under the stream's name."""
    return nn.LayerDict({name: make(stream) for name, stream in streams._asdict().items()})


class StreamOutput(nn.Layer):
    """From the tangled width back to the stream's: add, norm, feed-forward, add, norm."""

    def __init__(self, tangled_width: int, stream: StreamConfig) -> None:
        super().__init__()
        self.attention_output = AddNorm(tangled_width, stream.width, stream.dropout)
        self.feed_forward = FeedForward(stream)

    def forward(self, context: Tensor, residual: Tensor) -> Tensor:
        """``context`` (B, T, W), ``residual`` (B, T, D) -> (B, T, D)."""
        return self.feed_forward(self.attention_output(context, residual))


#: Keys, values and attention biases after the contexts were mixed in.
Mixed = tuple[Streams[Tensor], Streams[Tensor], Streams[Tensor]]


class TangledLayer(nn.Layer):
    """Actions read words and regions; what they read changes how words and regions attend."""

    def __init__(self, streams: Streams[StreamConfig], tangle: TangleConfig) -> None:
        super().__init__()
        self.heads = tangle.heads
        self.kind = tangle.kind
        width = tangle.width
        self.projections = per_stream(lambda s: Projections(s.width, width), streams)
        self.dropouts = per_stream(lambda s: nn.Dropout(s.attention_dropout), streams)
        self.outputs = per_stream(lambda s: StreamOutput(width, s), streams)
        self.text_context_key = linear(width, width)
        self.text_context_value = linear(width, width)
        self.region_context_key = linear(width, width)
        self.region_context_value = linear(width, width)
        if tangle.kind == "released":  # published, but never used by the block that was trained
            for parameter in self.region_context_value.parameters():
                parameter.stop_gradient = True
        # The released code exchanges the two rates, and its weights were trained so.
        self.region_context_dropout = nn.Dropout(tangle.action_text_dropout)
        self.text_context_dropout = nn.Dropout(tangle.action_region_dropout)

    def forward(
        self,
        states: Streams[Tensor],
        bias: Streams[Tensor],
        padded: PaddedLengths,
        rows: int | None = None,
    ) -> Streams[Tensor]:
        """One tangled layer.

        ``states`` (B, T | R | A, D of the stream), ``bias`` (B, 1, 1, T | R | A). With ``rows``
        only that many first positions of text and regions are computed; they read all positions.
        """
        keys, values = self._keys_and_values(states)
        queries = self.projections["actions"].query(states.actions)  # B, A, W
        text_context = attend(
            queries, keys.text, values.text, self.heads, bias.text, self.text_context_dropout
        )
        region_context = attend(
            queries,
            keys.regions,
            values.regions,
            self.heads,
            bias.regions,
            self.region_context_dropout,
        )
        mix = self._add_contexts if self.kind == "released" else self._append_contexts
        keys, values, bias = mix(keys, values, bias, text_context, region_context, padded)
        wanted = Streams(states.text[:, :rows], states.regions[:, :rows], states.actions)
        return Streams(
            *(self._own_attention(name, wanted, keys, values, bias) for name in Streams._fields)
        )

    def _keys_and_values(self, states: Streams[Tensor]) -> tuple[Streams, Streams]:
        named = states._asdict().items()
        keys = Streams(*(self.projections[name].key(x) for name, x in named))
        values = Streams(*(self.projections[name].value(x) for name, x in named))
        return keys, values

    def _add_contexts(
        self,
        keys: Streams[Tensor],
        values: Streams[Tensor],
        bias: Streams[Tensor],
        text_context: Tensor,
        region_context: Tensor,
        padded: PaddedLengths,
    ) -> Mixed:
        """Released: contexts are stretched over the positions and added.

        Regions take the text context and text takes the region context; one value projection
        serves both. Actions stay as they are.
        """
        value = self.text_context_value

        def add(x: Tensor, context: Tensor, length: int) -> Tensor:
            return x + stretch(context, x.shape[1], length)

        text_key = add(keys.text, self.region_context_key(region_context), padded.text)
        text_value = add(values.text, value(region_context), padded.text)
        region_key = add(keys.regions, self.text_context_key(text_context), padded.regions)
        region_value = add(values.regions, value(text_context), padded.regions)
        keys = Streams(text_key, region_key, keys.actions)
        values = Streams(text_value, region_value, values.actions)
        return keys, values, bias

    def _append_contexts(
        self,
        keys: Streams[Tensor],
        values: Streams[Tensor],
        bias: Streams[Tensor],
        text_context: Tensor,
        region_context: Tensor,
        padded: PaddedLengths,
    ) -> Mixed:
        """Paper: contexts are A further keys and values, masked as the actions are.

        Actions and regions take the text context, text takes the region context.
        """
        more_keys = Streams(
            text=self.region_context_key(region_context),
            regions=self.text_context_key(text_context),
            actions=self.text_context_key(text_context),
        )
        more_values = Streams(
            text=self.region_context_value(region_context),
            regions=self.text_context_value(text_context),
            actions=self.text_context_value(text_context),
        )

        def append(items: Streams, further: Streams, axis: int) -> Streams:
            return Streams(
                *(paddle.concat(pair, axis=axis) for pair in zip(items, further, strict=True))
            )

        action_bias = Streams(bias.actions, bias.actions, bias.actions)
        return (
            append(keys, more_keys, 1),
            append(values, more_values, 1),
            append(bias, action_bias, 3),
        )

    def _own_attention(
        self,
        name: str,
        states: Streams[Tensor],
        keys: Streams[Tensor],
        values: Streams[Tensor],
        bias: Streams[Tensor],
    ) -> Tensor:
        state = getattr(states, name)
        context = attend(
            self.projections[name].query(state),
            getattr(keys, name),
            getattr(values, name),
            self.heads,
            getattr(bias, name),
            self.dropouts[name],
        )
        return self.outputs[name](context, state)


FROM_THE_START = Streams(0, 0, 0)


class TangledEncoder(nn.Layer):
    """Each stream's transformer layers, and the tangled layers between them."""

    def __init__(
        self,
        streams: Streams[StreamConfig],
        tangle: TangleConfig,
        positions: Streams[Sequence[int]],
    ) -> None:
        super().__init__()
        self.positions = list(zip(*positions, strict=True))
        self.depths = tuple(stream.layers for stream in streams)

        def stack(stream: StreamConfig) -> nn.LayerList:
            return nn.LayerList([TransformerLayer(stream) for _ in range(stream.layers)])

        self.layers = nn.LayerDict(
            {name: stack(stream) for name, stream in streams._asdict().items()}
        )
        self.tangled = nn.LayerList([TangledLayer(streams, tangle) for _ in self.positions])
        #: Where each stream first meets the others: below, it depends on its own input alone.
        self.first_tangled = Streams(
            *(
                min(depths, default=stream.layers)
                for depths, stream in zip(positions, streams, strict=True)
            )
        )

    def run(
        self,
        stream: str,
        x: Tensor,
        bias: Tensor,
        start: int = 0,
        stop: int | None = None,
        rows: int | None = None,
    ) -> Tensor:
        """Layers ``start`` to ``stop`` of one stream; the last of them for ``rows`` rows only."""
        layers = list(self.layers[stream])[start:stop]
        for depth, layer in enumerate(layers, start=1):
            x = layer(x, bias, rows if depth == len(layers) else None)
        return x if rows is None else x[:, :rows]

    def forward(
        self,
        states: Streams[Tensor],
        bias: Streams[Tensor],
        padded: PaddedLengths,
        start: Streams[int] = FROM_THE_START,
        rows: int | None = None,
    ) -> Streams[Tensor]:
        """Runs the layers that are left after ``start`` of each stream.

        ``states`` (B, T | R | A, D of the stream) -> the same, or the first ``rows`` positions.
        """
        for number, (tangled, stop) in enumerate(zip(self.tangled, self.positions, strict=True)):
            states = Streams(*map(self.run, Streams._fields, states, bias, start, stop))
            last = number == len(self.tangled) - 1 and stop == self.depths
            states = tangled(states, bias, padded, rows if last else None)
            start = Streams(*stop)
        return Streams(
            *(
                self.run(name, x, b, begin, None, rows)
                for name, x, b, begin in zip(Streams._fields, states, bias, start, strict=True)
            )
        )
