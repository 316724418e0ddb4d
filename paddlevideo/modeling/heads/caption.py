"""A head that writes captions: a transformer decoder on the streams' last states.

B captions; T words; M positions of the streams that it reads; V words of the vocabulary, D the
decoder's width.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn

from paddlevideo.modeling.accuracy import Losses, class_hits
from paddlevideo.modeling.backbones.tangled import Streams
from paddlevideo.modeling.beam import BeamSettings, search
from paddlevideo.modeling.heads.clip_features import ClipFeatures
from paddlevideo.modeling.heads.decoder import Decoder, KeysValues, Memory
from paddlevideo.modeling.heads.fitted_words import KnownWords, Total, WordMap
from paddlevideo.modeling.heads.similar_captions import SimilarCaptions, all_rows
from paddlevideo.modeling.heads.task import Batch, TaskHead
from paddlevideo.modeling.layers import (
    InitializerRange,
    PredictionTransform,
    StreamConfig,
    initial_range,
    initial_weights,
    layer_norm,
    linear,
    mask_to_bias,
)
from paddlevideo.modeling.losses.actbert import cross_entropy
from paddlevideo.registry import HEADS
from paddlevideo.utils.errors import ConfigError, DataError
from paddlevideo.utils.ranges import (
    Count,
    CountOrZero,
    Fraction,
    NonNegative,
    Positive,
    Probability,
)

if TYPE_CHECKING:
    from paddlevideo.modeling.backbones.actbert import BertForMultiModalPreTraining

#: The mask of each stream in a batch.
MASKS = Streams("text_mask", "image_mask", "action_mask")
PADDING = 0
#: Captions of a clip with their ratings, best first.
Rated = list[tuple[float, list[int]]]
#: Arrays of a batch that the fitted map reads.
FEATURES = ("image_feat", "action_feat", "action_mask")
#: Captions that choose the words and fit the map.
FITTED = 20_000


@HEADS.register()
class CaptionHead(TaskHead):
    """Predicts the next word of a caption from the words before it and the streams' states.

    ``streams``: those that the words attend to, in the paper the actions. ``layers`` decoder
    layers of ``width`` and ``inner_width``, 0: the text stream's width, and four times the width.
    Words are read and predicted with the backbone's word embedding, which ``train_words`` lets
    training change. ``word_dropout``: share of the words before that are hidden in training.
    ``max_length``: words of a caption, the end included.

    Captions are found by beam search: ``beam`` sequences are followed, and compared by their log
    probability / length ** ``length_penalty``; ``no_repeat`` n forbids to repeat n words.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - flat, as the keys of a configuration are
        self,
        streams: Sequence[Literal["text", "regions", "actions"]] = ("actions",),
        layers: Count = 3,
        width: CountOrZero = 0,
        inner_width: CountOrZero = 0,
        num_attention_heads: Count = 8,
        dropout: Fraction = 0.1,
        attention_dropout: Fraction = 0.1,
        word_dropout: Probability = 0.0,
        label_smoothing: Fraction = 0.0,
        train_words: bool = True,
        words: CountOrZero = 0,
        fitted_words: CountOrZero = 0,
        penalty: Positive = 4.0,
        neighbours: CountOrZero = 0,
        neighbour_weight: NonNegative = 100.0,
        initializer_range: InitializerRange = "fan_in",
        max_length: Count = 36,
        beam: Count = 5,
        length_penalty: NonNegative = 1.0,
        no_repeat: CountOrZero = 0,
    ) -> None:
        """Raises ConfigError for values out of range."""
        super().__init__()
        if not streams:
            raise ConfigError("CaptionHead.streams names no stream; in the paper it is [actions]")
        self.streams = tuple(streams)
        self.sizes = (layers, width, inner_width, num_attention_heads)
        self.rates = (dropout, attention_dropout)
        self.word_dropout, self.label_smoothing = word_dropout, label_smoothing
        self.train_words, self.initializer_range = train_words, initializer_range
        self.words, self.fitted_words, self.penalty = words, fitted_words, penalty
        if fitted_words and not words:
            raise ConfigError("CaptionHead.fitted_words needs words, of which they are a part")
        if neighbours and not fitted_words:
            raise ConfigError("CaptionHead.neighbours needs fitted_words, by which they are found")
        self.neighbours, self.neighbour_weight = neighbours, neighbour_weight
        self._similar: SimilarCaptions | None = None
        self.search = BeamSettings(beam, max_length, length_penalty, no_repeat)

    def build(self, backbone: BertForMultiModalPreTraining) -> None:
        """Creates the decoder. Raises ConfigError if its width cannot be divided over its heads."""
        layers, width, inner_width, heads = self.sizes
        text = backbone.widths.text
        width = width or text
        stream = StreamConfig(layers, width, inner_width or 4 * width, heads, "gelu", *self.rates)
        # A tuple, so that the parameter stays the backbone's alone.
        self._shared = (backbone.text_embeddings.word.weight,)
        if not self.train_words:
            backbone.text_embeddings.word.weight.stop_gradient = True
        with initial_range(self.initializer_range):
            self.inputs = nn.LayerDict(
                {name: linear(getattr(backbone.widths, name), width) for name in self.streams}
            )
            self.input_norm = layer_norm(width)
            self.word_input = linear(text, width)
            positions = initial_weights(width)
            self.position = nn.Embedding(self.search.longest, width, weight_attr=positions)
            self.word_norm = layer_norm(width)
            self.dropout = nn.Dropout(stream.dropout)
            self.decoder = Decoder(stream)
            self.word_output = linear(width, text)
            self.transform = PredictionTransform(text, "gelu")
        size = backbone.vocabulary_size
        self.known = KnownWords(size, self.words) if self.words else None
        size = self.known.count if self.known else size
        self.word_bias = self.create_parameter([size], is_bias=True)
        if self.fitted_words:
            assert self.known is not None
            self.clip_features = ClipFeatures(backbone.feature_sizes)
            count = min(self.fitted_words, size)
            self.word_map = WordMap(self.clip_features.width, self.known, count, self.penalty)
            with initial_range(self.initializer_range):
                self.map_input = linear(count, width)
            start = nn.initializer.Constant(0.5)
            if self.neighbours:  # its size is known once it is fitted or loaded
                self.register_buffer("captions", paddle.zeros([1, 1], "int64"))
            self.map_weight = self.create_parameter([], default_initializer=start)

    # -------------------------------------------------------------------------- training

    def counts(self, batch: Batch) -> dict[str, float]:
        """Returns the number of words to predict, the ends of captions included."""
        words = np.asarray(batch["target_ids"])[:, 1:]
        return {"caption_loss": float(np.count_nonzero(words != PADDING))}

    def losses(self, states: Streams[Tensor], batch: Batch, counts: Mapping[str, float]) -> Losses:
        """Returns the cross-entropy of the words, with ``label_smoothing``, and their accuracy.

        Words that are not among the ``words`` most frequent ones are not learned. Raises DataError
        for captions that are longer than ``max_length``.
        """
        before, target = batch["target_ids"][:, :-1], batch["target_ids"][:, 1:]
        if before.shape[1] > self.search.longest:
            raise DataError(
                f"captions have up to {before.shape[1]} words with their end, but "
                f"MODEL.head.max_length is {self.search.longest}: raise it, or lower "
                f"the data set's max_seq_length to {self.search.longest + 1}"
            )
        hints = self.hints(batch, batch["index"]) if self.fitted_words else None
        hidden = self.decoder(self.embed(before), self.read(states, batch, hints))
        kept = paddle.nonzero(target.flatten() != PADDING).flatten()
        target = paddle.index_select(target.flatten(), kept)
        if self.known is not None:
            target = paddle.index_select(self.known.columns, target)
            target = paddle.where(target == self.known.count, paddle.full_like(target, -1), target)
        rows = kept // before.shape[1]
        logits = self.logits(
            paddle.index_select(hidden.flatten(0, 1), kept),
            None if hints is None else paddle.index_select(hints, rows),
        )
        loss = cross_entropy(logits, target)
        if self.label_smoothing:
            loss = loss + self.label_smoothing * above_mean(logits, target)
        loss = loss / counts["caption_loss"]
        hits = class_hits(logits, target, len(target))
        return Losses({"loss": loss, "caption_loss": loss}, {"caption_accuracy": hits})

    def hints(self, batch: Batch, index: Tensor | None = None) -> Tensor:
        """Returns what the fitted map predicts, (B, fitted words)."""
        return self.word_map(self.clip_features(batch), index)

    def read(self, states: Streams[Tensor], batch: Batch, hints: Tensor | None = None) -> Memory:
        """Returns what the decoder reads: the streams' states, and the fitted words' scores."""
        parts = [self.inputs[name](getattr(states, name)) for name in self.streams]
        bias = [mask_to_bias(batch[getattr(MASKS, name)]) for name in self.streams]
        if hints is not None:
            parts.append(self.map_input(hints).unsqueeze(1))
            bias.append(paddle.zeros([hints.shape[0], 1, 1, 1]))
        memory = self.dropout(self.input_norm(paddle.concat(parts, axis=1)))
        return self.decoder.read_memory(memory, paddle.concat(bias, axis=-1))

    def embed(self, words: Tensor, first: int = 0) -> Tensor:
        """Returns the decoder's input (B, T, D) of ``words`` (B, T), the first at ``first``."""
        vectors = self.word_input(F.embedding(words, self._shared[0]).astype("float32"))
        if self.training and self.word_dropout:
            hidden = paddle.rand([*words.shape, 1]) < self.word_dropout
            vectors = vectors * (1.0 - hidden.astype(vectors.dtype))
        positions = self.position.weight[first : first + words.shape[1]]
        return self.dropout(self.word_norm(vectors + positions))

    def logits(self, hidden: Tensor, hints: Tensor | None = None) -> Tensor:
        """States (N, D) and fitted words' scores (N, fitted words) -> logits (N, V), float32."""
        vectors = self.transform(self.word_output(hidden)).astype("float32")
        table = self._shared[0]
        if self.known is not None:
            table = paddle.index_select(table, self.known.ids)
        # addmm keeps float32 in mixed precision; matmul does not.
        logits = paddle.addmm(self.word_bias, vectors, table.astype("float32").t())
        if hints is not None:
            spread = paddle.zeros([len(hints), self.word_bias.shape[0]])
            columns = self.word_map.word_columns
            hints = paddle.put_along_axis(
                spread, columns.unsqueeze(0).expand([len(hints), -1]), hints, 1, "add"
            )
            logits = logits + self.map_weight * hints
        return logits

    # ------------------------------------------------------------------ closed-form part

    def num_fit_samples(self) -> int:
        """Returns the number of captions that choose the words and fit the map."""
        return FITTED if self.words else 0

    def fits_on_resume(self) -> bool:
        """Returns whether training needs the maps without each fold."""
        return bool(self.fitted_words)

    @paddle.no_grad()
    def fit(self, batches: Iterable[Batch], total: Total) -> None:
        """Chooses the known words, fits the map from features to them, and keeps the captions."""
        if self.known is None:
            return
        ids, features, index = self._collected(batches)
        counts = np.bincount(ids[ids != PADDING], minlength=self.known.columns.shape[0])
        bias = self.known.fit(total(counts))
        if bias is not None:  # a resumed run keeps what it has learned
            self.word_bias.set_value(bias)
        if self.fitted_words:
            self.word_map.fit(features, self.known.held(ids), index, total)
        if self.neighbours:
            self.captions = paddle.to_tensor(all_rows(index, ids, total))
            self._similar = None

    def _collected(self, batches: Iterable[Batch]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns the captions' ids (N, max_length), the clips' features (N, F), the indices (N,).

        Without fitted words there are no features.
        """
        longest = self.search.longest
        width = self.word_map.map.shape[0] if self.fitted_words else 0
        ids, index = [np.zeros((0, longest), np.int64)], [np.zeros(0, np.int64)]
        features = [np.zeros((0, width), np.float32)]  # a rank may have no captions
        for batch in batches:
            words = np.asarray(batch["target_ids"])[:, 1 : longest + 1]
            ids.append(np.pad(words, [(0, 0), (0, longest - words.shape[1])]))
            index.append(np.asarray(batch["index"]))
            if self.fitted_words:
                arrays = {key: paddle.to_tensor(batch[key]) for key in FEATURES}
                features.append(self.clip_features(arrays).numpy())
        return np.concatenate(ids), np.concatenate(features), np.concatenate(index)

    def receive(self, state: Mapping[str, np.ndarray]) -> None:
        """Makes room for the captions in the file."""
        if self.neighbours and "captions" in state:
            self.captions = paddle.zeros(list(state["captions"].shape), "int64")
            self._similar = None

    # -------------------------------------------------------------------------- captions

    def predict(self, states: Streams[Tensor], batch: Batch) -> dict[str, Any]:
        """Returns the best captions of B clips.

        "words": (B, max_length) int64, without start and end, padded with 0; "scores": (B,)
        float32, log probability / length ** ``length_penalty``. The batch's sentences are [CLS]
        [SEP].
        """
        start, end = (int(id) for id in batch["text_ids"][0, :2].numpy())
        hints = self.hints(batch) if self.fitted_words else None
        following = Following(self, self.read(states, batch, hints), hints)
        clips = batch["text_ids"].shape[0]
        ids = None
        if self.known is not None:
            end, ids = self.known.column(end), self.known.ids.numpy()
        found = search(clips, start, end, following, self.search)
        if ids is not None:
            found = [[(rating, ids[words].tolist()) for rating, words in each] for each in found]
        if self.neighbours and hints is not None:
            found = self.agreeing(found, hints.numpy())
        words = np.full((clips, self.search.longest), PADDING, np.int64)
        for row, ((_, best), *_) in zip(words, found, strict=True):
            row[: len(best)] = best
        return {"words": words, "scores": np.array([f[0][0] for f in found], np.float32)}

    def agreeing(self, found: Sequence[Rated], hints: np.ndarray) -> list[Rated]:
        """Returns each clip's captions in the order of their log probability and consensus."""
        if self._similar is None:
            captions = self.captions.numpy()
            assert self.known is not None
            targets = self.word_map.targets(self.known.held(captions))
            self._similar = SimilarCaptions(captions, targets, self.neighbours)
        ordered = []
        for captions, nearest, weights in zip(found, *self._similar.nearest(hints), strict=True):
            own = np.array([rating for rating, _ in captions])
            consensus = self._similar.ratings([words for _, words in captions], nearest, weights)
            order = np.argsort(-(own + self.neighbour_weight * consensus), kind="stable")
            ordered.append([captions[position] for position in order.tolist()])
        return ordered


class Following:
    """The probabilities of next words; keeps keys and values of the words so far."""

    def __init__(self, head: CaptionHead, memory: Memory, hints: Tensor | None = None) -> None:
        self.head, self.memory, self.hints = head, memory, hints
        self.known: list[KeysValues] | None = None
        self.length = 0

    def __call__(self, words: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Returns log probabilities (n, V), see :data:`paddlevideo.modeling.beam.Next`.

        Words are columns of the logits, except for the first one.
        """
        head, index = self.head, paddle.to_tensor(rows)
        ids = paddle.to_tensor(words)
        if self.known is not None:
            self.known = [layer.rows(index) for layer in self.known]
            self.memory = self.memory.rows(index)
            if self.hints is not None:
                self.hints = paddle.index_select(self.hints, index)
            if head.known is not None:
                ids = paddle.index_select(head.known.ids, ids)
        state, self.known = head.decoder.step(
            head.embed(ids.unsqueeze(1), self.length), self.memory, self.known
        )
        self.length += 1
        logs = log_softmax(head.logits(state[:, 0], self.hints).numpy())
        if head.known is None:
            logs[:, PADDING] = -math.inf
        return logs


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Returns log probabilities (n, V); Paddle's takes a thousand times as long on CPUs."""
    above = logits - logits.max(axis=-1, keepdims=True)
    return above - np.log(np.exp(above).sum(axis=-1, keepdims=True))


def above_mean(logits: Tensor, target: Tensor) -> Tensor:
    """Returns the sum over rows of the target's logit minus the mean logit.

    Cross-entropy plus e times this is the cross-entropy with targets smoothed by e (Szegedy et al.
    2016): log_softmax(z)_k = z_k - log sum exp z. ``logits`` (N, V), ``target`` (N,), -1: ignored.
    """
    used = (target >= 0).astype("float32")
    chosen = paddle.take_along_axis(logits, paddle.clip(target, min=0).unsqueeze(-1), axis=-1)
    return ((chosen[:, 0] - logits.mean(axis=-1)) * used).sum()
