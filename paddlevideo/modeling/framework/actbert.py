"""ActBERT as a trainable model: batches to losses, captions and clips to match scores.

B clips or captions, T words, R regions (the global one first), A actions, V videos.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn

from paddlevideo.modeling import released_weights
from paddlevideo.modeling.accuracy import Losses, pretraining_classes, pretraining_hits
from paddlevideo.modeling.backbones.actbert import BertForMultiModalPreTraining
from paddlevideo.modeling.contrast import BatchContrast, has_matching_caption, original_words
from paddlevideo.modeling.framework.base import BaseFramework, Batch, Gather
from paddlevideo.modeling.framework.batches import (
    CAPTION_KEYS,
    INPUT_KEYS,
    VIDEO_KEYS,
    hide_features,
    select,
    select_rows,
)
from paddlevideo.modeling.heads.fitted import FittedHead, Total, read_pairs
from paddlevideo.modeling.heads.retrieval import RetrievalHead, pair_labels
from paddlevideo.modeling.heads.vectors import VectorHead
from paddlevideo.modeling.losses.actbert import ActBertLoss
from paddlevideo.modeling.match_scorer import (
    CaptionCache,
    MatchScorer,
    VideoCache,
    VideoChunks,
    VideoSource,
)
from paddlevideo.modeling.sparsity import cut_padding, labelled_rows, pack_words
from paddlevideo.modeling.transfer import to_tensors
from paddlevideo.modeling.weights import load_weights
from paddlevideo.registry import FRAMEWORKS
from paddlevideo.utils.errors import ConfigError
from paddlevideo.utils.ranges import Count, CountOrZero, NonNegative, Probability


@FRAMEWORKS.register()
class ActBert(BaseFramework):
    """ActBERT: pre-training with four losses, and text-video retrieval by matching.

    ``pair_batch``: number of (caption, video) pairs scored at once; bounds the memory of a test.
    ``match_negatives``: number of other captions of its batch that each clip is also matched with
    in training, which adds "contrast_loss" (see ``paddlevideo.modeling.contrast``); 0: none, as for
    the published weights. ``hard_negatives``: number of hard negatives among them, the captions of
    all ranks most similar to the clip according to the retrieval head.
    ``teacher_weight``: how much of that loss compares with the retrieval head's probabilities
    instead of with the clip's own caption.
    ``retrieval_head``: computes vectors of captions and clips, trained by a further
    "retrieval_loss" or fitted before training; a test adds their similarity to the match margin.
    ``top_k``: match only the k videos most similar to a caption, and the k captions most similar to
    a video, according to the retrieval head. Two numbers set each direction; with a second one of
    0 only the head ranks captions. 0 matches every pair.
    ``without``: streams whose features are replaced by ones, to measure their contribution; their
    boxes, masks and classes stay.
    ``gallery_gigabytes``: memory for encoded videos; a larger gallery is encoded again for each
    batch. Memory that is left holds captions between the two stages.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - users' YAML files name these arguments
        self,
        backbone: BertForMultiModalPreTraining,
        loss: ActBertLoss | None = None,
        pair_batch: Count = 64,
        match_negatives: CountOrZero = 0,
        hard_negatives: CountOrZero = 0,
        retrieval_head: VectorHead | None = None,
        top_k: CountOrZero | Sequence[CountOrZero] = 0,
        gallery_gigabytes: NonNegative = 8.0,
        without: Sequence[Literal["regions", "actions"]] = (),
        teacher_weight: Probability = 0.0,
    ) -> None:
        super().__init__()
        self.without = tuple(without)
        self.backbone = backbone
        self.loss = loss if loss is not None else ActBertLoss()
        self.retrieval_head = retrieval_head
        if retrieval_head is not None:
            retrieval_head.build(backbone)
        self.scorer = MatchScorer(backbone, pair_batch, retrieval_head)
        self.contrast = None
        if match_negatives and not self.head_alone:
            self.contrast = BatchContrast(
                self.scorer, match_negatives, hard_negatives, teacher_weight
            )
        if hard_negatives and (retrieval_head is None or hard_negatives > match_negatives):
            raise ConfigError(
                f"MODEL.hard_negatives={hard_negatives} of MODEL.match_negatives={match_negatives} "
                "captions are the most similar ones according to a MODEL.retrieval_head: set one, "
                "with hard_negatives no larger than match_negatives, or hard_negatives=0"
            )
        if teacher_weight and (retrieval_head is None or not match_negatives):
            raise ConfigError(
                f"MODEL.teacher_weight={teacher_weight} teaches the contrast with other captions: "
                "set MODEL.match_negatives and a MODEL.retrieval_head, or teacher_weight=0"
            )
        if isinstance(retrieval_head, FittedHead):
            retrieval_head.leave_out = teacher_weight > 0
        self.top_k, self.gallery_gigabytes = parse_top_k(top_k), gallery_gigabytes
        if self.top_k and retrieval_head is None:
            raise ConfigError(
                f"MODEL.top_k={top_k} needs a MODEL.retrieval_head, which selects the k best; "
                "0 matches every pair"
            )
        if self.head_alone:
            for parameter in backbone.parameters():
                parameter.stop_gradient = True

    @property
    def learned_head(self) -> RetrievalHead | None:
        """The retrieval head, if a loss trains it."""
        head = self.retrieval_head
        return head if isinstance(head, RetrievalHead) else None

    @property
    def head_alone(self) -> bool:
        """Whether only the retrieval head is trained."""
        return self.retrieval_head is not None and self.retrieval_head.alone

    def train(self) -> None:
        """Sets training mode; a frozen backbone stays in evaluation mode, without dropout."""
        super().train()
        if self.head_alone:
            self.backbone.eval()

    def forward(self, batch: Batch, counts: Mapping[str, float] | None = None) -> Losses:
        """Returns the losses of a batch of arrays or tensors.

        They are scalars: "loss" (their sum), "text_loss", "region_loss", "action_loss",
        "match_loss", with ``match_negatives`` "contrast_loss", with a trained head
        "retrieval_loss"; each divided by its entry of ``counts``, by default of
        :meth:`loss_counts`. Padding and unlabelled positions are skipped where that does
        not change a loss.

        In training they carry hits: "word_accuracy", "region_accuracy", "action_accuracy" and
        "match_accuracy" and, with those losses, "contrast_accuracy" and "retrieval_accuracy".
        """
        self.backbone.check_batch(
            batch
        )  # before padding is cut, so that the check does not depend on the batch
        counts = {name: n or 1.0 for name, n in (counts or self.loss_counts(batch)).items()}
        full = hide_features(batch, self.without)
        batch, padded = cut_padding(full)
        losses, further, hits = {}, {}, {}
        head, targets = self.learned_head, None
        pairs = pair_labels(original_words(full), has_matching_caption(full))
        if head is not None:
            targets = head.targets(pairs)
        if self.head_alone:
            with paddle.no_grad():
                tensors, targets = to_tensors((batch, targets))
                lower = self.backbone.lower(tensors)
        else:
            labelled, rows = labelled_rows(self.loss.drop_mismatched_labels(batch), self.limits())
            classes = pretraining_classes(labelled) if self.training else {}
            if self.contrast is not None:
                labelled["original_words"] = original_words(batch)
            tensors, rows, packing, answers, targets = to_tensors(
                (labelled, rows, pack_words(batch), classes, targets)
            )
            lower = self.backbone.lower(tensors, packing)
            output = self.backbone.predict(self.backbone.upper(lower, padded, rows), rows)
            losses = self.loss(output, tensors, counts)
            hits = pretraining_hits(output, answers, classes) if self.training else {}
            if self.contrast is not None:
                further["contrast_loss"], hits["contrast_accuracy"] = self.contrast.loss(
                    batch, tensors, lower, padded, output.match_logits, counts["contrast_loss"]
                )
        if head is not None:
            further["retrieval_loss"], hits["retrieval_accuracy"] = head.loss(
                lower, pairs, targets, counts["retrieval_loss"]
            )
        total = sum(further.values(), losses.pop("loss", 0.0))
        return Losses({**losses, **further, "loss": total}, hits)

    def loss_counts(self, batch: Batch) -> dict[str, float]:
        """Returns the number of terms that each loss of ``batch`` is the mean of."""
        counts = {} if self.head_alone else self.loss.counts(batch)
        pairs = float(has_matching_caption(batch).sum())
        if self.contrast is not None:
            counts["contrast_loss"] = pairs
        if self.learned_head is not None:
            counts["retrieval_loss"] = pairs
        return counts

    def parts(self) -> dict[str, list[nn.Layer]]:
        """Returns the streams with their embeddings, the tangled layers and the heads."""
        net, encoder = self.backbone, self.backbone.encoder
        named = {
            "text stream": [net.text_embeddings, encoder.layers["text"]],
            "region stream": [net.region_embeddings, encoder.layers["regions"]],
            "action stream": [net.action_embeddings, encoder.layers["actions"]],
            "tangled layers": [encoder.tangled],
            "poolers": [net.text_pooler, net.region_pooler, net.action_pooler],
            "prediction heads": [net.match_head, net.word_head, net.region_head, net.action_head],
        }
        if self.retrieval_head is not None:
            named["retrieval head"] = [self.retrieval_head]
        return named

    def float32_layers(self) -> list[nn.Layer]:
        """Returns the layers that compute what ranks: the match head and the retrieval head."""
        head = self.retrieval_head
        return [self.backbone.match_head] + ([] if head is None else [head])

    def recomputable(self) -> list[nn.Layer]:
        """Returns every layer of the streams and every tangled layer."""
        return self.backbone.recomputable()

    def set_gather(self, gather: Gather) -> None:
        """Takes the retrieval head's negatives and hard negatives from all ranks."""
        if self.contrast is not None:
            self.contrast.gather = gather
        if self.learned_head is not None:
            self.learned_head.gather = gather

    def num_fit_samples(self) -> int:
        """Returns the maximum number of clips to fit a retrieval head to."""
        return self.retrieval_head.clips if isinstance(self.retrieval_head, FittedHead) else 0

    def fits_on_resume(self) -> bool:
        """Returns whether training needs what a fit computes and weights do not contain."""
        return isinstance(self.retrieval_head, FittedHead) and self.retrieval_head.leave_out

    @paddle.no_grad()
    def fit(self, batches: Iterable[Batch], total: Total) -> None:
        """Fits the retrieval head to clips with a matching caption."""
        assert isinstance(self.retrieval_head, FittedHead)
        positives = (
            select_rows(hide_features(batch, self.without), has_matching_caption(batch), INPUT_KEYS)
            for batch in batches
        )
        pairs = read_pairs(self.retrieval_head, self.backbone.lower_text, positives)
        self.retrieval_head.fit(pairs, total)

    def init_weights(self) -> None:
        """Loads the weights that the backbone's ``pretrained`` names, if any."""
        if self.backbone.pretrained:
            load_weights(self, self.backbone.pretrained)

    # ---------------------------------------------------------------- retrieval

    @paddle.no_grad()
    def encode_captions(self, captions: Batch) -> CaptionCache:
        """Computes what depends only on captions.

        ``captions``: text_ids, token_type_ids, text_mask.
        """
        return self.scorer.encode_captions(to_tensors(select(captions, CAPTION_KEYS)))

    @paddle.no_grad()
    def encode_videos(self, videos: Batch) -> VideoCache:
        """Computes what depends only on videos. ``videos``: the arrays of ``VIDEO_KEYS``."""
        return self.scorer.encode_videos(
            to_tensors(hide_features(select(videos, VIDEO_KEYS), self.without))
        )

    @paddle.no_grad()
    def margins(self, captions: CaptionCache, videos: VideoChunks) -> Tensor:
        """Returns the match margins (captions, videos)."""
        return self.scorer.margins(captions, videos)

    @paddle.no_grad()
    def listed_margins(
        self, caption: CaptionCache, videos: VideoSource, positions: np.ndarray
    ) -> np.ndarray:
        """Returns the margins (N,) of one caption with the videos at ``positions`` (N,)."""
        return self.scorer.listed_margins(caption, videos, positions)

    @paddle.no_grad()
    def pair_scores(
        self, captions: CaptionCache, videos: VideoCache, pairs: tuple[np.ndarray, np.ndarray]
    ) -> np.ndarray:
        """Returns the scores (P,) of pairs: margins and weighted similarities.

        ``pairs``: the positions (P,) of their captions and of their videos.
        """
        return self.scorer.pair_scores(captions, videos, pairs)

    def score(self, captions: Batch | CaptionCache, videos: Batch | VideoCache) -> Tensor:
        """Returns match probabilities (captions, videos): softmax of the logits at class 0."""
        if isinstance(captions, Mapping):
            captions = self.encode_captions(captions)
        if isinstance(videos, Mapping):
            videos = self.encode_videos(videos)
        return F.sigmoid(self.margins(captions, videos))

    def prepare(self, context: Iterable[Batch] | None) -> None:
        """Raises ConfigError for a gallery: losses cannot be computed from one."""
        if context is not None:
            raise ConfigError(
                "METRIC.name: this data set has captions and a gallery of clips, for which ActBert "
                "computes scores of pairs instead of losses. Leave METRIC out, so that the data "
                "set's default is used, or derive your metric from MSRVTTMetric"
            )

    def apply_validation_choice(self, results: Mapping[str, Any]) -> None:
        """Keeps the weight of similarities that a validation chose."""
        if self.retrieval_head is not None and "similarity_weight" in results:
            self.retrieval_head.choose(results["similarity_weight"])

    def has_validation_choice(self) -> bool:
        """Returns whether a validation chooses the weight of similarities."""
        return self.retrieval_head is not None and self.retrieval_head.similarity_weight == "auto"

    # ------------------------------------------------------------------ weights

    def to_released(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Translates our parameter names to the published ones."""
        return released_weights.to_released(state)

    def from_released(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Translates published parameter names to ours."""
        return released_weights.from_released(state)

    def check_loaded(self, missing: list[str]) -> None:
        """Raises WeightsError if a parameter that matching needs is missing."""
        unused = (
            *(".word_head.", ".region_head.", ".action_head.", ".region_context_value."),
            ".chosen_weight",  # the metric raises an error if it is needed
        )
        super().check_loaded([name for name in missing if not any(u in name for u in unused)])


def parse_top_k(top_k: CountOrZero | Sequence[CountOrZero]) -> tuple[int, int] | None:
    """Returns the number of videos per caption and of captions per video to match; None: all.

    Raises:
        ConfigError: ``top_k`` is not 0, one or two such numbers.
    """
    numbers = (top_k, top_k) if isinstance(top_k, int) else tuple(top_k)
    if numbers == (0, 0):
        return None
    if len(numbers) != 2 or numbers[0] < 1 or numbers[1] < 0:
        raise ConfigError(
            f"MODEL.top_k={top_k}: expected 0, or the number of videos to match per caption, "
            "optionally with the number of captions per video"
        )
    return numbers[0], numbers[1]
