"""A retrieval head that is fitted in closed form before the first step.

N clips with a caption each, F features, D the width of the text stream, W words, T ids.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import Tensor

from paddlevideo.modeling.heads.clip_features import ClipFeatures, ClipStreams
from paddlevideo.modeling.heads.vectors import VectorHead, masked_mean
from paddlevideo.modeling.layers import length_of
from paddlevideo.modeling.transfer import to_tensors
from paddlevideo.registry import HEADS
from paddlevideo.utils.errors import ConfigError, DataError
from paddlevideo.utils.ranges import CountOrZero, NonNegative, Positive, Range
from paddlevideo.utils.unit_vectors import unit_rows

if TYPE_CHECKING:
    from paddlevideo.modeling.backbones.actbert import BertForMultiModalPreTraining

#: Sums an array over all ranks.
Total = Callable[[np.ndarray], np.ndarray]

ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class Pairs:
    """Features of clips and of their captions that training does not change."""

    features: np.ndarray  # N, F
    sentences: np.ndarray  # N, D: means of the text stream's states
    words: np.ndarray  # N, T: ids, -1 where padded

    @classmethod
    def concatenate(cls, parts: Sequence[Pairs]) -> Pairs:
        """Concatenates pairs whose captions may be padded to different lengths."""
        longest = max(part.words.shape[1] for part in parts)
        words = [
            np.pad(part.words, [(0, 0), (0, longest - part.words.shape[1])], constant_values=-1)
            for part in parts
        ]
        return cls(
            np.concatenate([part.features for part in parts]),
            np.concatenate([part.sentences for part in parts]),
            np.concatenate(words),
        )


@HEADS.register()
class FittedHead(VectorHead):
    """Ridge regression from a clip's features to a vector of its caption.

    A caption's vector concatenates two unit vectors: the mean of the text stream's states below
    the first tangled layer, minus the mean over all captions; and, times ``word_weight``, its word
    pieces weighted by inverse document frequency (Sparck Jones 1972). The word pieces are the
    ``words`` most frequent ones in at least two captions and at most a fifth of them, which leaves
    out function words.

    A clip's vector is a linear map of ``streams``, the global region and the mean of the actions,
    both standardized: with x of F features each divided by the root of its part's width, and y the
    caption's vector, both centred, W = (X^T X + penalty I)^-1 X^T Y (Hoerl and Kennard 1970). On a
    thousand clips it takes a second, and generalizes better to unseen videos than the same map
    trained by gradient descent.

    As a teacher of the match head it compares each clip with captions by the map that all other
    clips give: a map that was fitted to the clip's own caption has nothing to teach about it.

    With ``scale_captions`` a caption's vector is divided by the root mean square of its dot
    products with the vectors of the training clips, up to a factor: the mean length is 1. Otherwise
    some captions have larger dot products than others with any clip, which harms the choice of a
    caption for a clip. The order of clips for a caption stays the same.

    ``clips``: the maximum number of clips to fit to, chosen at equal intervals. The text stream
    must be frozen up to the first tangled layer. For other arguments see :class:`VectorHead`.
    """

    #: Word pieces in more than this fraction of the captions are left out.
    common = 0.2
    #: Word pieces in fewer captions are left out.
    rare = 2
    #: Whether similarities in training leave each clip out, which takes a matrix as large as X^T X.
    leave_out = False

    def __init__(  # noqa: PLR0913, PLR0917 - flat, as the keys of a configuration are
        self,
        words: CountOrZero = 512,
        word_weight: NonNegative = 1.5,
        penalty: Positive = 8.0,
        clips: Annotated[int, Range(at_least=2)] = 20_000,
        temperature: Positive = 0.05,
        similarity_weight: NonNegative | Literal["auto"] = 1.0,
        streams: ClipStreams = ("regions", "actions"),
        scale_captions: bool = False,
        first_stage: Literal["exact", "approximate"] = "exact",
    ) -> None:
        """Raises ConfigError for values out of range."""
        super().__init__(temperature, similarity_weight, first_stage)
        if words < 0 or penalty <= 0 or clips < 2:
            raise ConfigError(
                f"FittedHead: words={words} is 0 or more, penalty={penalty} above 0, clips={clips} "
                "at least 2"
            )
        if not streams or len(set(streams)) < len(streams):
            raise ConfigError(
                f"FittedHead: streams={list(streams)}: expected regions, actions or both, each once"
            )
        self.words, self.word_weight = words, word_weight if words else 0.0
        self.penalty, self.clips = penalty, clips
        self.streams, self.scale_captions = streams, scale_captions
        self.log_scale.stop_gradient = True
        #: What leaving out a clip takes: (X^T X + penalty I)^-1 and the mean of the captions'
        #: vectors. Weights do not contain them: a fit takes less time than they would take space.
        self.inverse: Tensor | None = None
        self.target_mean: Tensor | None = None

    def build(self, backbone: BertForMultiModalPreTraining) -> None:
        """Creates the arrays to fit. Raises ConfigError unless the lower text layers are frozen."""
        needed = backbone.encoder.first_tangled.text
        if backbone.fixed.text < needed:
            raise ConfigError(
                "MODEL.retrieval_head: a FittedHead is fitted to the text stream before training, "
                "so the text stream must not be trained: set MODEL.backbone.fixed_t_layer="
                f"{needed}, all text layers below the first tangled one"
            )
        # The word embedding too: it is tied to the word head, whose gradient would change it.
        for parameter in backbone.text_embeddings.parameters():
            parameter.stop_gradient = True
        self.features = ClipFeatures(backbone.feature_sizes, self.streams)
        inputs, text = self.features.width, backbone.widths.text
        self.width = text + self.words
        for name, shape in {
            "feature_mean": [inputs],
            "feature_scale": [inputs],
            "sentence_mean": [text],
            "piece_weight": [max(self.words, 1)],
            "map": [inputs, self.width],
        }.items():
            self.register_buffer(name, paddle.zeros(shape))
        #: The column of each word piece; those left out have ``words``.
        columns = paddle.full([backbone.vocabulary_size], self.words, "int64")
        self.register_buffer("piece_column", columns)
        if self.scale_captions:
            #: The mean of f f^T over the vectors f of the training clips, up to a factor.
            self.register_buffer("clip_moments", paddle.eye(self.width))

    # -------------------------------------------------------------------------- vectors

    def caption_vectors(self, text: Tensor, bias: Tensor, captions: Mapping[str, Tensor]) -> Tensor:
        """States (C, T, D) with their bias, ``text_ids`` and ``text_mask`` (C, T) -> (C, width)."""
        mask = captions["text_mask"]
        return self.scaled(self.target(masked_mean(text, bias), captions["text_ids"], mask))

    def scaled(self, targets: Tensor) -> Tensor:
        """Returns the vectors (C, width) that are compared with clips' from those of the fit."""
        vectors = F.normalize(targets)
        if not self.scale_captions:
            return vectors
        squares = (paddle.matmul(vectors, *self._floats("clip_moments")) * vectors).sum(
            axis=-1, keepdim=True
        )
        return vectors / paddle.sqrt(paddle.clip(squares, min=1e-12))

    def similarities_in_training(
        self,
        captions: tuple[Tensor, Tensor, Mapping[str, Tensor]],
        videos: tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor], Mapping[str, Tensor]],
        positive: np.ndarray,
    ) -> Tensor:
        """Returns the dot products (V, C) of captions with clips left out of the fit, each alone.

        With w the map, y the clip's caption vector and h = x^T (X^T X + penalty I)^-1 x, the map
        without the clip gives (w^T x - h y) / (1 - h), of which the length does not matter here
        (Allen 1974, "The relationship between variable selection and data augmentation").
        Without ``leave_out``, and before the fit, they are those of the map.
        """
        if self.inverse is None:
            return super().similarities_in_training(captions, videos, positive)
        state, bias, texts = captions
        targets = self.target(masked_mean(state, bias), texts["text_ids"], texts["text_mask"])
        own = paddle.index_select(targets, paddle.to_tensor(positive)) - self.target_mean
        inputs = self.inputs(videos[2])
        leverage = (paddle.matmul(inputs, self.inverse) * inputs).sum(axis=-1, keepdim=True)
        predicted = paddle.matmul(inputs, *self._floats("map")) - leverage * own
        return paddle.matmul(F.normalize(predicted), self.scaled(targets), transpose_y=True)

    def video_vectors(
        self,
        states: tuple[Tensor, Tensor],
        bias: tuple[Tensor, Tensor],
        videos: Mapping[str, Tensor],
    ) -> Tensor:
        """The features of clips -> (V, width); ``states`` are not used."""
        return F.normalize(paddle.matmul(self.inputs(videos), *self._floats("map")))

    def inputs(self, videos: Mapping[str, Tensor]) -> Tensor:
        """Returns the standardized features of clips, (V, F)."""
        mean, scale = self._floats("feature_mean", "feature_scale")
        return (self.features(videos) - mean) * scale

    def target(self, sentences: Tensor, words: Tensor, mask: Tensor) -> Tensor:
        """Means of states (C, D), ids and mask (C, T) -> (C, width), each part a unit vector."""
        mean, weights = self._floats("sentence_mean", "piece_weight")
        sentences = F.normalize(sentences.astype("float32") - mean)
        if not self.words:
            return sentences
        columns = paddle.index_select(self.piece_column, words.flatten())
        columns = columns.reshape([-1, length_of(words)])
        columns = paddle.where(mask > 0, columns, paddle.full_like(columns, self.words))
        held = F.one_hot(columns, self.words + 1).max(axis=1)
        pieces = F.normalize(held[:, : self.words] * weights)
        return paddle.concat([sentences, pieces * self.word_weight], axis=-1)

    # -------------------------------------------------------------------------- the fit

    def no_pairs(self) -> Pairs:
        """Returns empty pairs."""
        text = self.sentence_mean.shape[0]
        none = np.zeros((0, self.features.width), np.float32), np.zeros((0, text), np.float32)
        return Pairs(*none, np.zeros((0, 1), np.int64))

    @paddle.no_grad()
    def fit(self, pairs: Pairs, total: Total) -> None:
        """Fits the map to all ranks' pairs; the result is the same on every rank.

        ``total`` sums an array over the ranks. Raises DataError for fewer than two clips, or if a
        feature is not finite.
        """
        count = int(total(np.array([len(pairs.features)], np.float64))[0])
        if count < 2:
            raise DataError(
                f"FittedHead: {count} clips with a matching caption; at least 2 are needed"
            )
        self._set("sentence_mean", total(pairs.sentences.sum(axis=0, dtype=np.float64)) / count)
        self._standardize(pairs.features, count, total)
        if self.words:
            self._choose_words(pairs.words, count, total)
        mean = total(sum(y.sum(axis=0) for _, y in self._rows(pairs))) / count
        squares, products = np.zeros([self.features.width] * 2), np.zeros(self.map.shape)
        for x, y in self._rows(pairs):
            squares += x.T @ x
            products += x.T @ (y - mean)
        squares, products = total(squares), total(products)
        squares[np.diag_indices_from(squares)] += self.penalty
        self._set("map", np.linalg.solve(squares, products))
        if self.leave_out:
            self.inverse = paddle.to_tensor(np.linalg.inv(squares).astype(np.float32))
            self.target_mean = paddle.to_tensor(mean.astype(np.float32))
        if self.scale_captions:
            self._set_moments(pairs, count, total)

    def _set_moments(self, pairs: Pairs, count: int, total: Total) -> None:
        """Sets the moments, such that the mean length of the training captions' vectors is 1."""
        (fitted,) = (x.numpy().astype(np.float64) for x in self._floats("map"))
        moments, lengths = np.zeros([self.width] * 2), np.zeros(1)
        for x, _ in self._rows(pairs):
            vectors = unit_rows(x @ fitted)
            moments += vectors.T @ vectors
        moments = total(moments) / count
        for _, y in self._rows(pairs):
            vectors = unit_rows(y)
            squares = ((vectors @ moments) * vectors).sum(axis=1)
            lengths += (1 / np.sqrt(np.maximum(squares, 1e-12))).sum()
        self._set("clip_moments", moments * (total(lengths)[0] / count) ** 2)

    def _standardize(self, features: np.ndarray, count: int, total: Total) -> None:
        mean = total(features.sum(axis=0, dtype=np.float64)) / count
        if not np.isfinite(mean).all():
            raise DataError(
                "FittedHead: a clip's features are not finite (try paddlevideo validate)"
            )
        variance = total(((features - mean) ** 2).sum(axis=0, dtype=np.float64)) / count
        deviation = np.sqrt(variance)
        parts = self.features.parts
        width = np.repeat(np.array(parts, np.float64), parts)
        constant = deviation <= 1e-6 * (1 + np.abs(mean))
        scale = np.where(constant, 0.0, 1.0 / np.sqrt(width) / np.where(constant, 1.0, deviation))
        self._set("feature_mean", mean)
        self._set("feature_scale", scale)

    def _choose_words(self, words: np.ndarray, count: int, total: Total) -> None:
        vocabulary = self.piece_column.shape[0]
        holding = np.zeros(vocabulary)
        for row in words:
            holding[np.unique(row[row >= 0])] += 1
        holding = total(holding)
        known = np.flatnonzero((holding >= self.rare) & (holding <= self.common * count))
        chosen = known[np.argsort(-holding[known], kind="stable")][: self.words]
        columns = np.full(vocabulary, self.words, np.int64)
        columns[chosen] = np.arange(len(chosen))
        weights = np.zeros(self.words)
        weights[: len(chosen)] = np.log(count / holding[chosen])
        self.piece_column.set_value(columns)
        self._set("piece_weight", weights)

    def _rows(self, pairs: Pairs) -> Any:
        """Yields standardized features and caption vectors in float64, some rows at a time."""
        mean, scale = (x.numpy() for x in self._floats("feature_mean", "feature_scale"))
        for start in range(0, len(pairs.features), ROWS_AT_ONCE):
            part = slice(start, start + ROWS_AT_ONCE)
            words = pairs.words[part]
            target = self.target(
                paddle.to_tensor(pairs.sentences[part]),
                paddle.to_tensor(np.maximum(words, 0)),
                paddle.to_tensor((words >= 0).astype(np.int64)),
            )
            x = (pairs.features[part].astype(np.float64) - mean) * scale
            yield x, target.numpy().astype(np.float64)

    def _set(self, name: str, value: np.ndarray) -> None:
        buffer = getattr(self, name)
        buffer.set_value(paddle.to_tensor(value.astype(np.float32)).astype(buffer.dtype))

    def _floats(self, *names: str) -> list[Tensor]:
        """Returns fitted arrays as float32, which they are not at level O2 of mixed precision."""
        return [getattr(self, name).astype("float32") for name in names]


def read_pairs(
    head: FittedHead,
    lower_text: Callable[[Mapping[str, Tensor]], tuple[Tensor, Tensor]],
    batches: Iterable[Mapping[str, np.ndarray]],
) -> Pairs:
    """Returns the pairs to fit ``head`` to, from batches of clips with matching captions.

    ``lower_text``: maps captions to text states below the first tangled layer and attention bias.
    """
    parts = [head.no_pairs()]  # a rank may have no clips
    for batch in batches:
        if not len(batch["text_ids"]):
            continue
        arrays = to_tensors(batch)
        sentences = masked_mean(*lower_text(arrays)).astype("float32").numpy()
        words = np.where(batch["text_mask"] > 0, batch["text_ids"], -1)
        parts.append(Pairs(head.features(arrays).numpy(), sentences, words))
    return Pairs.concatenate(parts)
