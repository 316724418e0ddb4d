"""Attention, transformer layer and prediction heads, shared by all streams.

Shapes: B batch, T positions, D width of a stream, h heads, d = D / h.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal, NamedTuple

import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn

from paddlevideo.utils.errors import ConfigError
from paddlevideo.utils.ranges import Positive

InitializerRange = Positive | Literal["fan_in"]
LAYER_NORM_EPSILON = 1e-12
#: Added to the attention scores of masked keys. Their weight underflows to exactly 0 in float32.
MASKED_SCORE = -10000.0
PADDLE_RELEASE = int(paddle.__version__.split(".")[0]) or 3  # a build from source has 0
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "relu": F.relu,
    "swish": F.silu,
    "tanh": paddle.tanh,
}


@dataclass(frozen=True)
class StreamConfig:
    """The settings of one stream: text, regions or actions."""

    layers: int
    width: int
    inner_width: int
    heads: int
    activation: str = "gelu"
    dropout: float = 0.1
    attention_dropout: float = 0.1

    def __post_init__(self) -> None:
        """Raises ConfigError if no layer can be built from these settings."""
        if self.width % self.heads:
            raise ConfigError(
                f"a width of {self.width} cannot be divided over {self.heads} attention heads"
            )
        if self.activation not in ACTIVATIONS:
            raise ConfigError(
                f'unknown activation "{self.activation}"; known: {", ".join(ACTIVATIONS)}'
            )


_blank_weights = ContextVar("_blank_weights", default=False)
_initializer_range: ContextVar[InitializerRange] = ContextVar("_initializer_range", default=0.02)


@contextmanager
def blank_weights() -> Iterator[None]:
    """Makes layers built within have zero matrices: sampling 206 million numbers takes 6 s."""
    token = _blank_weights.set(True)
    try:
        yield
    finally:
        _blank_weights.reset(token)


@contextmanager
def initial_range(value: InitializerRange) -> Iterator[None]:
    """Sets the standard deviation of initial weights in layers built within; 0.02 is BERT's.

    "fan_in": 1 / sqrt(inputs) of each layer (LeCun et al. 1998, equation 16), so that outputs vary
    as much as inputs at any width. 0.02 does about that for 2,500 inputs; a layer of 128 shrinks
    its inputs to 0.23.
    """
    token = _initializer_range.set(value)
    try:
        yield
    finally:
        _initializer_range.reset(token)


def initial_weights(inputs: int) -> paddle.ParamAttr:
    """Returns how a matrix with ``inputs`` rows is initialized: normal(0, range), or zeros."""
    if _blank_weights.get():
        return paddle.ParamAttr(initializer=nn.initializer.Constant(0.0))
    chosen = _initializer_range.get()
    deviation = inputs**-0.5 if chosen == "fan_in" else chosen
    return paddle.ParamAttr(initializer=nn.initializer.Normal(0.0, deviation))


class Linear(nn.Linear):
    """Paddle's dense layer, with a faster backward pass on CPUs.

    Paddle sums the gradient of a bias over the rows in a slow loop. Here the bias is stretched by a
    product with ones, whose gradient is a product too. Unlike a ``PyLayer``, this also works for
    ``paddle.grad`` and more than one backward pass; unlike ``addmm``, it keeps nothing for them.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(..., inputs) -> (..., outputs)."""
        on_cpu = paddle.in_dynamic_mode() and x.place.is_cpu_place()
        float32 = x.dtype == self.weight.dtype == paddle.float32
        if not (self.training and on_cpu and float32 and x.ndim > 1):
            return super().forward(x)
        rows = x.flatten(0, -2) if x.ndim > 2 else x
        bias = paddle.matmul(paddle.ones([len(rows), 1]), self.bias.unsqueeze(0))
        return paddle.matmul(rows, self.weight).add_(bias).reshape([*x.shape[:-1], -1])


class Float32Linear(Linear):
    """A dense layer for logits, which is computed in float32 in mixed precision too."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs) -> (N, outputs) float32; the weights too, see ``float32_layers``."""
        # addmm is on neither of autocast's lists, so that it keeps float32; products do not.
        return paddle.addmm(self.bias, x.astype("float32"), self.weight)


def linear(inputs: int, outputs: int, bias_range: float = 0.0) -> nn.Linear:
    """Returns a dense layer with weights normal(0, range) and biases normal(0, ``bias_range``)."""
    bias = paddle.ParamAttr(initializer=nn.initializer.Normal(0.0, bias_range))
    return Linear(
        inputs, outputs, weight_attr=initial_weights(inputs), bias_attr=bias if bias_range else None
    )


def layer_norm(width: int) -> nn.LayerNorm:
    """Returns layer normalization with BERT's epsilon."""
    return nn.LayerNorm(width, epsilon=LAYER_NORM_EPSILON)


def mask_to_bias(mask: Tensor) -> Tensor:
    """Returns the attention bias (B, 1, 1, T) float32 of a mask (B, T), where 1 is real."""
    scores = paddle.scale(mask.astype("float32"), -MASKED_SCORE, -1.0, bias_after_scale=False)
    return scores.unsqueeze([1, 2])


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    heads: int,
    bias: Tensor | None = None,
    dropout: nn.Dropout | None = None,
) -> Tensor:
    """Computes scaled dot-product attention in ``heads`` heads (Vaswani et al. 2017, sec. 3.2).

    ``query`` (B, Tq, D), ``key`` and ``value`` (B, Tk, D), ``bias`` broadcast to (B, h, Tq, Tk).
    Returns (B, Tq, D).
    """
    split = [split_heads(x, heads) for x in (query, key, value)]
    return attend_heads(split[0], split[1], split[2], bias, dropout).flatten(2)


def attend_heads(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, dropout: nn.Dropout | None
) -> Tensor:
    """Like ``attend``, from what ``split_heads`` returns to (B, Tq, h, d)."""
    if fuses_attention(query):
        return attend_fused(query, key, value, bias, dropout)
    scores = paddle.matmul(query * query.shape[-1] ** -0.5, key, transpose_y=True)
    if bias is not None:
        scores = scores + bias.astype(scores.dtype)
    weights = F.softmax(scores, axis=-1)  # B, h, Tq, Tk
    if dropout is not None:
        weights = dropout(weights)
    return paddle.matmul(weights, value).transpose([0, 2, 1, 3])


def fuses_attention(query: Tensor) -> bool:
    """Returns whether to use Paddle's fused attention kernel: half precision on GPUs.

    Paddle 2.6 has it for some GPUs only, and fails on the others instead of falling back.
    """
    return query.dtype != paddle.float32 and PADDLE_RELEASE >= 3 and on_gpu()


def on_gpu() -> bool:
    """Returns whether Paddle computes on a GPU, where few large operators are faster."""
    return paddle.device.get_device().startswith("gpu")


def attend_fused(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, dropout: nn.Dropout | None
) -> Tensor:
    """Like ``attend_heads``, by Paddle's fused operator, which never stores the weights."""
    batch = max(x.shape[0] for x in (query, key, value))
    query, key, value = (expand_batch(x, batch) for x in (query, key, value))
    if bias is not None:
        length, heads = query.shape[1:3]
        bias = bias.astype(query.dtype).expand([batch, heads, length, key.shape[1]])
    rate, training = (dropout.p, dropout.training) if dropout is not None else (0.0, False)
    return F.scaled_dot_product_attention(
        query, key, value, attn_mask=bias, dropout_p=rate, training=training
    )


def expand_batch(x: Tensor, batch: int) -> Tensor:
    """Expands a first dimension of 1 to ``batch``."""
    return x if x.shape[0] == batch else x.expand([batch, *x.shape[1:]])


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(B, T, D) -> (B, h, T, d), or (B, T, h, d) for the fused kernel."""
    # 0 keeps the size, which may be unknown in an exported program.
    x = x.reshape([0, 0, heads, x.shape[-1] // heads])
    return x if fuses_attention(x) else x.transpose([0, 2, 1, 3])


def split_all(
    parts: Sequence[Tensor], heads: int, packing: Packing | None = None
) -> Sequence[Tensor]:
    """Returns ``split_heads`` of tensors (B, T, D) of one shape, or (N, D) with ``packing``.

    On a GPU all of them in as many operators as one. On a CPU that is slower: its transpose of five
    dimensions takes two to three times as long.
    """
    if not on_gpu():
        unpacked = parts if packing is None else map(packing.unpack, parts)
        width = parts[0].shape[-1] // heads
        return [x.reshape([0, 0, heads, width]).transpose([0, 2, 1, 3]) for x in unpacked]
    x = paddle.stack(parts, axis=-2)  # B, T, n, D or N, n, D
    sizes = [0, 0]
    if packing is not None:
        x, sizes = paddle.gather(x, packing.row), [packing.batch, packing.length]
    x = x.reshape([*sizes, len(parts), heads, x.shape[-1] // heads])
    return x.unbind(2) if fuses_attention(x) else x.transpose([2, 0, 3, 1, 4]).unbind(0)


def length_of(x: Tensor, axis: int = 1) -> int | Tensor:
    """Returns T of (B, T, ...), as a scalar tensor in an exported program for any length."""
    length = x.shape[axis]
    return length if length >= 0 else paddle.shape(x)[axis]


class Packing(NamedTuple):
    """The N positions of sequences (B, T) that are computed, concatenated."""

    kept: Tensor  # (N,) indices into the flattened (B * T)
    row: Tensor  # (B * T,) the row of each position among the N; 0 for those left out
    batch: int
    length: int

    def pack(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (N, D)."""
        return paddle.gather(x.flatten(0, 1), self.kept)

    def pack_heads(self, x: Tensor) -> Tensor:
        """(B, T, h, d) -> (N, h * d)."""
        return paddle.gather(x.reshape([self.batch * self.length, -1]), self.kept)

    def unpack(self, x: Tensor) -> Tensor:
        """(N, D) -> (B, T, D). Positions left out are filled with copies, which must be masked."""
        return paddle.gather(x, self.row).reshape([self.batch, self.length, x.shape[-1]])


def take_rows(x: Tensor, rows: int | Tensor | None) -> Tensor:
    """Selects the first ``rows`` positions of (B, T, D); None: all.

    A tensor (B * K,) holds the indices of K positions of each into the flattened (B * T).
    """
    if not isinstance(rows, Tensor):
        return x if rows is None else x[:, :rows]
    return paddle.gather(x.flatten(0, 1), rows).reshape([x.shape[0], -1, x.shape[2]])


class Projections(nn.Layer):
    """Query, key and value projections of one stream."""

    def __init__(self, width: int, inner_width: int) -> None:
        super().__init__()
        self.query = linear(width, inner_width)
        self.key = linear(width, inner_width)
        self.value = linear(width, inner_width)


class AddNorm(nn.Layer):
    """norm(residual + dropout(dense(hidden)))."""

    def __init__(self, inputs: int, width: int, dropout: float) -> None:
        super().__init__()
        self.dense = linear(inputs, width)
        self.norm = layer_norm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Tensor, residual: Tensor) -> Tensor:
        """``hidden`` (B, T, inputs), ``residual`` (B, T, width) -> (B, T, width)."""
        return self.norm(residual + self.dropout(self.dense(hidden)))


class FeedForward(nn.Layer):
    """The position-wise half of a transformer layer."""

    def __init__(self, stream: StreamConfig) -> None:
        super().__init__()
        self.expand = linear(stream.width, stream.inner_width)
        self.activation = ACTIVATIONS[stream.activation]
        self.output = AddNorm(stream.inner_width, stream.width, stream.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        return self.output(self.activation(self.expand(x)), x)


class TransformerLayer(nn.Layer):
    """A post-norm BERT layer (Devlin et al. 2019)."""

    def __init__(self, stream: StreamConfig) -> None:
        super().__init__()
        self.heads = stream.heads
        self.attention = Projections(stream.width, stream.width)
        self.attention_dropout = nn.Dropout(stream.attention_dropout)
        self.attention_output = AddNorm(stream.width, stream.width, stream.dropout)
        self.feed_forward = FeedForward(stream)

    def forward(
        self,
        x: Tensor,
        bias: Tensor,
        rows: int | Tensor | None = None,
        packing: Packing | None = None,
    ) -> Tensor:
        """``x`` (B, T, D), ``bias`` (B, 1, 1, T) -> (B, T, D), or the positions ``rows`` of it.

        With ``packing``, ``x`` and the result are (N, D).
        """
        wanted = take_rows(x, rows)
        project = self.attention
        projected = project.query(wanted), project.key(x), project.value(x)
        if rows is not None:
            context = attend(*projected, self.heads, bias, self.attention_dropout)
        else:
            query, key, value = split_all(projected, self.heads, packing)
            context = attend_heads(query, key, value, bias, self.attention_dropout)
            context = context.flatten(2) if packing is None else packing.pack_heads(context)
        return self.feed_forward(self.attention_output(context, wanted))


class PredictionTransform(nn.Layer):
    """The first part of every prediction head: norm(activation(dense(x)))."""

    def __init__(self, width: int, activation: str) -> None:
        super().__init__()
        self.dense = linear(width, width)
        self.activation = ACTIVATIONS[activation]
        self.norm = layer_norm(width)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        return self.norm(self.activation(self.dense(x)))


class ClassHead(nn.Layer):
    """Predicts one of ``classes`` classes at every position."""

    def __init__(self, stream: StreamConfig, classes: int) -> None:
        super().__init__()
        self.transform = PredictionTransform(stream.width, stream.activation)
        self.decoder = linear(stream.width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> logits (..., classes)."""
        return self.decoder(self.transform(x))


class WordHead(nn.Layer):
    """Predicts a word at every position through the transposed word embedding."""

    def __init__(self, stream: StreamConfig, vocabulary_size: int) -> None:
        super().__init__()
        self.transform = PredictionTransform(stream.width, stream.activation)
        self.decoder_bias = self.create_parameter([vocabulary_size], is_bias=True)

    def forward(self, x: Tensor, word_embedding: Tensor) -> Tensor:
        """(..., D) and the embedding (V, D) -> logits (..., V)."""
        return paddle.matmul(self.transform(x), word_embedding, transpose_y=True) + (
            self.decoder_bias
        )


class Pooler(nn.Layer):
    """Reduces a stream to the vector relu(dense(x[:, 0])) of its first position."""

    def __init__(self, width: int, pooled_width: int) -> None:
        super().__init__()
        self.dense = linear(width, pooled_width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, pooled width)."""
        return F.relu(self.dense(x[:, 0]))
