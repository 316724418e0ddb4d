"""A transformer decoder: words attend to the words before them and to a memory.

B captions, T words, M positions of the memory, D the decoder's width, h heads of width d.
"""

from __future__ import annotations

from typing import NamedTuple

import paddle
from paddle import Tensor, nn

from paddlevideo.modeling.backbones.tangled import position_axis
from paddlevideo.modeling.layers import (
    MASKED_SCORE,
    AddNorm,
    FeedForward,
    Projections,
    StreamConfig,
    attend_heads,
    split_heads,
)


class KeysValues(NamedTuple):
    """Keys and values of some positions, each as ``split_heads`` returns them."""

    key: Tensor
    value: Tensor

    def joined(self, more: KeysValues) -> KeysValues:
        """Returns these and ``more`` positions after them."""
        axis = position_axis(self.key)
        pairs = zip(self, more, strict=True)
        return KeysValues(*(paddle.concat([x, y], axis=axis) for x, y in pairs))

    def rows(self, index: Tensor) -> KeysValues:
        """Returns the keys and values of the captions ``index``."""
        return KeysValues(*(paddle.index_select(x, index) for x in self))


class Memory(NamedTuple):
    """What the words attend to, for each layer, and the attention bias (B, 1, 1, M)."""

    layers: list[KeysValues]
    bias: Tensor

    def rows(self, index: Tensor) -> Memory:
        """Returns the memory of the captions ``index``."""
        layers = [layer.rows(index) for layer in self.layers]
        return Memory(layers, paddle.index_select(self.bias, index))


class DecoderLayer(nn.Layer):
    """Attention to earlier words, attention to the memory, feed-forward (Vaswani et al. 2017)."""

    def __init__(self, stream: StreamConfig) -> None:
        super().__init__()
        width = stream.width
        self.heads = stream.heads
        self.words = Projections(width, width)
        self.words_output = AddNorm(width, width, stream.dropout)
        self.memory = Projections(width, width)
        self.memory_output = AddNorm(width, width, stream.dropout)
        self.feed_forward = FeedForward(stream)
        self.dropout = nn.Dropout(stream.attention_dropout)

    def read_memory(self, memory: Tensor) -> KeysValues:
        """(B, M, D) -> its keys and values."""
        return self._keys_values(self.memory, memory)

    def _keys_values(self, project: Projections, x: Tensor) -> KeysValues:
        parts = project.key(x), project.value(x)
        return KeysValues(*(split_heads(part, self.heads) for part in parts))

    def forward(
        self,
        x: Tensor,
        bias: Tensor | None,
        memory: KeysValues,
        memory_bias: Tensor,
        before: KeysValues | None = None,
    ) -> tuple[Tensor, KeysValues]:
        """``x`` (B, T, D) -> the same, and the keys and values of all words up to the last.

        ``bias`` (1, 1, T, T): which words may be attended to; None: all. ``before``: keys and
        values of the words before ``x``.
        """
        known = self._keys_values(self.words, x)
        known = known if before is None else before.joined(known)
        query = split_heads(self.words.query(x), self.heads)
        context = attend_heads(query, known.key, known.value, bias, self.dropout)
        x = self.words_output(context.flatten(2), x)
        query = split_heads(self.memory.query(x), self.heads)
        context = attend_heads(query, memory.key, memory.value, memory_bias, self.dropout)
        x = self.memory_output(context.flatten(2), x)
        return self.feed_forward(x), known


class Decoder(nn.Layer):
    """A stack of decoder layers."""

    def __init__(self, stream: StreamConfig) -> None:
        super().__init__()
        self.layers = nn.LayerList([DecoderLayer(stream) for _ in range(stream.layers)])

    def read_memory(self, memory: Tensor, bias: Tensor) -> Memory:
        """Returns what all layers need of the memory (B, M, D) with its bias (B, 1, 1, M)."""
        return Memory([layer.read_memory(memory) for layer in self.layers], bias)

    def forward(self, x: Tensor, memory: Memory) -> Tensor:
        """Returns the states (B, T, D) of whole captions ``x`` (B, T, D)."""
        later = paddle.triu(paddle.full([x.shape[1], x.shape[1]], MASKED_SCORE), diagonal=1)
        bias = later.unsqueeze([0, 1])
        for layer, read in zip(self.layers, memory.layers, strict=True):
            x, _ = layer(x, bias, read, memory.bias)
        return x

    def step(
        self, x: Tensor, memory: Memory, before: list[KeysValues] | None
    ) -> tuple[Tensor, list[KeysValues]]:
        """Returns the state (B, 1, D) of one more word ``x`` (B, 1, D), and what is known now.

        ``before``: what the step of the word before returned; None for the first word.
        """
        known = []
        for index, (layer, read) in enumerate(zip(self.layers, memory.layers, strict=True)):
            earlier = before[index] if before else None
            x, keys_values = layer(x, None, read, memory.bias, earlier)
            known.append(keys_values)
        return x, known
