"""ActBERT's backbone: three streams, their embeddings, the tangled encoder and the heads.

B clips, T words, R regions (the global one first), A actions.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import paddle
from paddle import Tensor, nn

from paddlevideo.modeling.backbones.embeddings import (
    ActionEmbeddings,
    RegionEmbeddings,
    TextEmbeddings,
)
from paddlevideo.modeling.backbones.encoder import TangledEncoder
from paddlevideo.modeling.backbones.tangled import (
    PaddedLengths,
    Streams,
    TangleConfig,
)
from paddlevideo.modeling.layers import (
    ClassHead,
    Float32Linear,
    InitializerRange,
    Packing,
    Pooler,
    StreamConfig,
    WordHead,
    initial_range,
    initial_weights,
    mask_to_bias,
)
from paddlevideo.modeling.transfer import to_tensors
from paddlevideo.registry import BACKBONES, InputPath
from paddlevideo.utils.errors import ConfigError, DataError
from paddlevideo.utils.limits import Limit, Limits
from paddlevideo.utils.ranges import Count, CountOrZero, Probability

#: The smallest width for which BERT's initialization of 0.02 suits the match path.
SMALLEST_BERT = 768


class ActBertOutput(NamedTuple):
    """Predictions; with ``rows``, N labelled positions replace (B, T), (B, R) and (B, A)."""

    text_logits: Tensor  # B, T, V
    region_logits: Tensor  # B, R, C; row 0 belongs to the global region
    action_logits: Tensor  # B, A, K
    match_logits: Tensor  # B, 2; class 0: the caption belongs to the clip


class LowerStates(NamedTuple):
    """The streams below the first tangled layer, where each depends only on its own input."""

    states: Streams[Tensor]  # B, T | R | A, D of the stream
    bias: Streams[Tensor]  # B, 1, 1, T | R | A


class Rows(NamedTuple):
    """The positions to compute in the last layers, and those to predict."""

    positions: Streams[Tensor]  # (B * K,) indices into (B * T): 0 and the predicted ones of each
    predicted: Streams[Tensor]  # (N,) indices of the predicted ones into (B * K)


@BACKBONES.register()
class BertForMultiModalPreTraining(nn.Layer):
    """ActBERT (Zhu and Yang 2020) with PaddleVideo's flat arguments and their defaults.

    ``v_`` stands for the region stream, ``a_`` for actions, ``bi_`` for the tangled layers.
    ``*_ent_attention_id``: the number of the stream's layers before the i-th tangled layer.
    ``fixed_*_layer``: the number of lowest layers that, with the embeddings, are not trained.
    ``tangle``: "released", as the published weights need it, or "paper".
    ``pretrained``: a weight file to start from, ActBERT's or any BERT's.
    ``fusion_dropout_prob``: dropout between the fused streams and the match head.
    ``*initializer_range``: standard deviation of initial weights, or "fan_in" for 1 / sqrt(inputs)
    of each layer. ``initializer_range`` is that of the streams' layers; ``match_`` stands for
    tangled layers, poolers and match head, ``head_`` for the other heads. ``match_`` "auto": BERT's
    0.02 if ``bi_hidden_size`` is at least 768, else "fan_in", which small models
    need (docs/results.md).

    Raises ConfigError for sizes that do not fit together.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - users' YAML files name these arguments
        self,
        vocab_size: Count = 30522,
        max_position_embeddings: Count = 512,
        type_vocab_size: Count = 2,
        v_target_size: Count = 1601,
        a_target_size: Count = 700,
        v_feature_size: Count = 2048,
        a_feature_size: Count = 2048,
        num_hidden_layers: CountOrZero = 12,
        v_num_hidden_layers: CountOrZero = 2,
        a_num_hidden_layers: CountOrZero = 3,
        t_ent_attention_id: Sequence[CountOrZero] = (10, 11),
        v_ent_attention_id: Sequence[CountOrZero] = (0, 1),
        a_ent_attention_id: Sequence[CountOrZero] = (0, 1),
        fixed_t_layer: CountOrZero = 0,
        fixed_v_layer: CountOrZero = 0,
        hidden_size: Count = 768,
        v_hidden_size: Count = 1024,
        a_hidden_size: Count = 768,
        bi_hidden_size: Count = 1024,
        intermediate_size: Count = 3072,
        v_intermediate_size: Count = 1024,
        a_intermediate_size: Count = 3072,
        hidden_act: str = "gelu",
        v_hidden_act: str = "gelu",
        a_hidden_act: str = "gelu",
        hidden_dropout_prob: Probability = 0.1,
        v_hidden_dropout_prob: Probability = 0.1,
        a_hidden_dropout_prob: Probability = 0.1,
        attention_probs_dropout_prob: Probability = 0.1,
        v_attention_probs_dropout_prob: Probability = 0.1,
        a_attention_probs_dropout_prob: Probability = 0.1,
        av_attention_probs_dropout_prob: Probability = 0.1,
        at_attention_probs_dropout_prob: Probability = 0.1,
        num_attention_heads: Count = 12,
        v_num_attention_heads: Count = 8,
        a_num_attention_heads: Count = 12,
        bi_num_attention_heads: Count = 8,
        fusion_method: Literal["mul", "sum"] = "mul",
        pretrained: InputPath | None = None,
        tangle: Literal["released", "paper"] = "released",
        fusion_dropout_prob: Probability = 0.1,
        initializer_range: InitializerRange = 0.02,
        embedding_initializer_range: InitializerRange = 0.02,
        match_initializer_range: InitializerRange | Literal["auto"] = "auto",
        head_initializer_range: InitializerRange = 0.02,
    ) -> None:
        super().__init__()
        if match_initializer_range == "auto":
            match_initializer_range = 0.02 if bi_hidden_size >= SMALLEST_BERT else "fan_in"
        streams = Streams(
            text=StreamConfig(
                num_hidden_layers, hidden_size, intermediate_size, num_attention_heads,
                hidden_act, hidden_dropout_prob, attention_probs_dropout_prob,
            ),
            regions=StreamConfig(
                v_num_hidden_layers, v_hidden_size, v_intermediate_size, v_num_attention_heads,
                v_hidden_act, v_hidden_dropout_prob, v_attention_probs_dropout_prob,
            ),
            actions=StreamConfig(
                a_num_hidden_layers, a_hidden_size, a_intermediate_size, a_num_attention_heads,
                a_hidden_act, a_hidden_dropout_prob, a_attention_probs_dropout_prob,
            ),
        )  # fmt: skip
        tangle_config = TangleConfig(
            bi_hidden_size, bi_num_attention_heads,
            av_attention_probs_dropout_prob, at_attention_probs_dropout_prob, tangle,
            match_initializer_range,
        )  # fmt: skip
        positions = Streams(t_ent_attention_id, v_ent_attention_id, a_ent_attention_id)
        self.fixed = Streams(text=fixed_t_layer, regions=fixed_v_layer, actions=0)
        check_depths(streams, positions, self.fixed)
        if fusion_method not in ("mul", "sum"):
            raise ConfigError(f'fusion_method is "mul" or "sum", not "{fusion_method}"')
        self.pretrained = pretrained or None
        self.widths: Streams[int] = Streams(*(stream.width for stream in streams))
        self.feature_sizes = {"image_feat": v_feature_size, "action_feat": a_feature_size}
        self.max_text_length = max_position_embeddings
        self.vocabulary_size = vocab_size
        self.limits = data_limits(vocab_size, type_vocab_size, v_target_size, a_target_size)
        self.fusion_method = fusion_method

        with initial_range(embedding_initializer_range):
            self.text_embeddings = TextEmbeddings(
                streams.text, vocab_size, max_position_embeddings, type_vocab_size
            )
            self.region_embeddings = RegionEmbeddings(streams.regions, v_feature_size)
            self.action_embeddings = ActionEmbeddings(streams.actions, a_feature_size)
        with initial_range(initializer_range):
            self.encoder = TangledEncoder(streams, tangle_config, positions)
        with initial_range(match_initializer_range):
            self.text_pooler = Pooler(hidden_size, bi_hidden_size)
            self.region_pooler = Pooler(v_hidden_size, bi_hidden_size)
            self.action_pooler = Pooler(a_hidden_size, bi_hidden_size)
            weights = initial_weights(bi_hidden_size)
            self.match_head = Float32Linear(bi_hidden_size, 2, weight_attr=weights)
        self.fusion_dropout = nn.Dropout(fusion_dropout_prob)
        with initial_range(head_initializer_range):
            self.word_head = WordHead(streams.text, vocab_size)
            self.region_head = ClassHead(streams.regions, v_target_size)
            self.action_head = ClassHead(streams.actions, a_target_size)
        self._freeze()

    def _freeze(self) -> None:
        """Freezes the layers of ``fixed_*_layer`` and the embeddings below them.

        The word embedding stays trainable, because the decoder shares it.
        """
        embeddings = {"text": self.text_embeddings, "regions": self.region_embeddings}
        for name, embedding in embeddings.items():
            count = getattr(self.fixed, name)
            for layer in list(self.encoder.layers[name])[:count] + [embedding] * (count > 0):
                for parameter in layer.parameters():
                    parameter.stop_gradient = parameter is not self.text_embeddings.word.weight

    def embed_text(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Returns text states (B, T, D) after the frozen layers and their bias (B, 1, 1, T)."""
        bias = mask_to_bias(batch["text_mask"])
        with self._gradient_unless(self.fixed.text):
            x = self.text_embeddings(batch["text_ids"], batch["token_type_ids"])
            return self.encoder.run("text", x, bias, 0, self.fixed.text), bias

    @staticmethod
    def _gradient_unless(fixed: int) -> contextlib.AbstractContextManager:
        return paddle.no_grad() if fixed else contextlib.nullcontext()

    def lower_text(
        self, batch: Mapping[str, Tensor], packing: Packing | None = None
    ) -> tuple[Tensor, Tensor]:
        """Returns text states (B, T, D) below the first tangled layer and their bias.

        ``packing``: the words to compute; the others become copies, which must be masked.
        """
        x, bias = self.embed_text(batch)
        x = x if packing is None else packing.pack(x)
        stop = self.encoder.first_tangled.text
        x = self.encoder.run("text", x, bias, self.fixed.text, stop, None, packing)
        return x if packing is None else packing.unpack(x), bias

    def lower_regions(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Returns region states (B, R, D) below the first tangled layer and their bias."""
        bias = mask_to_bias(batch["image_mask"])
        fixed: int = self.fixed.regions
        with self._gradient_unless(fixed):
            x = self.region_embeddings(batch["image_feat"], batch["image_loc"])
            x = self.encoder.run("regions", x, bias, 0, fixed)
        return self.encoder.run("regions", x, bias, fixed, self.encoder.first_tangled.regions), bias

    def lower_actions(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Returns action states (B, A, D) below the first tangled layer and their bias."""
        x, bias = self.action_embeddings(batch["action_feat"]), mask_to_bias(batch["action_mask"])
        return self.encoder.run("actions", x, bias, 0, self.encoder.first_tangled.actions), bias

    def lower(self, batch: Mapping[str, Tensor], packing: Packing | None = None) -> LowerStates:
        """Runs the embeddings and each stream's layers below the first tangled one."""
        lower = (
            self.lower_text(batch, packing),
            self.lower_regions(batch),
            self.lower_actions(batch),
        )
        return LowerStates(*(Streams(*items) for items in zip(*lower, strict=True)))

    def upper(
        self, lower: LowerStates, padded: PaddedLengths | None = None, rows: Rows | None = None
    ) -> Streams[Tensor]:
        """Runs the remaining layers and returns the streams' last states; with ``rows`` (B, K, D).

        ``padded``: the lengths of text and regions before padding was cut off, if it was.
        """
        text, regions, _ = lower.states
        padded = padded or PaddedLengths(text.shape[1], regions.shape[1])
        start, positions = self.encoder.first_tangled, rows.positions if rows else None
        return self.encoder(lower.states, lower.bias, padded, start, positions)

    def encode(
        self,
        batch: Mapping[str, Tensor],
        padded: PaddedLengths | None = None,
        rows: Rows | None = None,
    ) -> Streams[Tensor]:
        """Returns the last states (B, T | R | A, D of the stream), or (B, K, D) with ``rows``.

        Raises DataError if the batch's sizes are not those of the model.
        """
        batch = to_tensors(batch)
        self.check_batch(batch)
        return self.upper(self.lower(batch), padded, rows)

    def fuse(self, text: Tensor, regions: Tensor, actions: Tensor) -> Tensor:
        """Returns the fused vectors (B, W) of text and region states and pooled actions (B, W).

        They are float32 in mixed precision too: rounded to half, margins of different videos are
        often equal.
        """
        text, regions = self.text_pooler(text), self.region_pooler(regions)
        text, regions, actions = (x.astype("float32") for x in (text, regions, actions))
        visual = text * regions if self.fusion_method == "mul" else text + regions
        return self.fusion_dropout(visual + actions)

    def match_pooled(self, text: Tensor, regions: Tensor, actions: Tensor) -> Tensor:
        """Returns match logits (B, 2), float32, from what :meth:`fuse` takes."""
        return self.match_head(self.fuse(text, regions, actions))

    def forward(
        self,
        batch: Mapping[str, Tensor],
        rows: Rows | None = None,
        padded: PaddedLengths | None = None,
    ) -> ActBertOutput:
        """Returns predictions for every position, or for ``rows`` only.

        Raises DataError if the batch's sizes are not those of the model.
        """
        return self.predict(self.encode(batch, padded, rows), rows)

    def predict(self, states: Streams[Tensor], rows: Rows | None = None) -> ActBertOutput:
        """Returns predictions from the last states of all positions, or of those of ``rows``."""
        text, regions, actions = states
        if rows is not None:
            text, regions, actions = (
                paddle.index_select(state.flatten(0, 1), predicted, axis=0)
                for state, predicted in zip(states, rows.predicted, strict=True)
            )
        return ActBertOutput(
            self.word_head(text, self.text_embeddings.word.weight),
            self.region_head(regions),
            self.action_head(actions),
            self.match_pooled(states.text, states.regions, self.action_pooler(states.actions)),
        )

    def recomputable(self) -> list[nn.Layer]:
        """Returns every layer of the streams and every tangled layer."""
        streams = (layer for stream in self.encoder.layers.values() for layer in stream)
        return [*streams, *self.encoder.tangled]

    def check_batch(self, batch: Mapping[str, Tensor]) -> None:
        """Raises DataError if feature sizes or the length of texts do not fit the model."""
        for key, size in self.feature_sizes.items():
            if key in batch and batch[key].shape[-1] != size:
                argument = {"image_feat": "v_feature_size", "action_feat": "a_feature_size"}[key]
                raise DataError(
                    f"{key} has width {batch[key].shape[-1]} in the data but {size} in the model: "
                    f"set MODEL.backbone.{argument}={batch[key].shape[-1]}, or use other features"
                )
        if "text_ids" in batch and batch["text_ids"].shape[1] > self.max_text_length:
            raise DataError(
                f"texts have {batch['text_ids'].shape[1]} ids, but the model has "
                f"max_position_embeddings={self.max_text_length}: lower max_seq_length"
            )


def data_limits(words: int, types: int, region_classes: int, action_classes: int) -> Limits:
    """Returns the limits of the arrays in a sample, with the YAML keys that set them."""
    word = Limit("MODEL.backbone.vocab_size", words, "words in its vocabulary")
    action = Limit("MODEL.backbone.a_target_size", action_classes, "action classes")
    region = Limit("MODEL.backbone.v_target_size", region_classes, "region classes")
    return {
        "text_ids": word,
        "text_labels": word,
        "token_type_ids": Limit("MODEL.backbone.type_vocab_size", types, "types of tokens"),
        "region_target": region._replace(is_width=True, only_if_used=True),
        "action_target": action._replace(only_if_used=True),
        "action_label": action,
    }


def check_depths(
    streams: Streams[StreamConfig], positions: Streams[Sequence[int]], fixed: Streams[int]
) -> None:
    """Raises ConfigError if the tangled layers' positions do not fit the streams' depths."""
    prefixes = Streams("t", "v", "a")
    if len({len(depths) for depths in positions}) != 1:
        raise ConfigError(
            "t_, v_ and a_ent_attention_id position the same tangled layers, so they need equal "
            f"lengths, not {[len(depths) for depths in positions]}"
        )
    for prefix, stream, depths, frozen in zip(prefixes, streams, positions, fixed, strict=True):
        if list(depths) != sorted(depths) or any(not 0 <= d <= stream.layers for d in depths):
            raise ConfigError(
                f"{prefix}_ent_attention_id {list(depths)} must be ascending and within the "
                f"stream's {stream.layers} layers"
            )
        if not 0 <= frozen <= min([*depths, stream.layers]):
            raise ConfigError(
                f"fixed_{prefix}_layer={frozen} reaches past the first tangled layer "
                f"({prefix}_ent_attention_id {list(depths)}): frozen layers must be below it"
            )
