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
from paddlevideo.modeling.accuracy import Hits, Losses, pretraining_hits
from paddlevideo.modeling.backbones.actbert import (
    BertForMultiModalPreTraining,
    LowerStates,
)
from paddlevideo.modeling.contrast import BatchContrast, original_words, own_captions
from paddlevideo.modeling.framework.base import BaseFramework, Batch, Gather
from paddlevideo.modeling.framework.batches import (
    CAPTION_KEYS,
    INPUT_KEYS,
    VIDEO_KEYS,
    blinded,
    select,
    select_rows,
)
from paddlevideo.modeling.heads.fitted import FittedHead, Total, read_pairs
from paddlevideo.modeling.heads.retrieval import RetrievalHead
from paddlevideo.modeling.heads.vectors import VectorHead
from paddlevideo.modeling.layers import to_tensors
from paddlevideo.modeling.losses.actbert import ActBertLoss
from paddlevideo.modeling.match_scorer import (
    CaptionCache,
    MatchScorer,
    VideoCache,
    VideoChunks,
    VideoSource,
)
from paddlevideo.modeling.needed import cut_padding, labelled_rows, pack_words
from paddlevideo.modeling.weights import load_weights
from paddlevideo.registry import FRAMEWORKS
from paddlevideo.utils.errors import ConfigError
from paddlevideo.utils.ranges import Count, CountOrZero, NonNegative


@FRAMEWORKS.register()
class ActBert(BaseFramework):
    """ActBERT: pre-training with four losses, and text-video retrieval by matching.

    ``pair_batch``: how many (caption, video) pairs go through the model at once when scoring;
    it bounds the memory of a test.
    ``match_negatives``: with how many other captions of its batch each clip is matched as well in
    training; 0, as the published weights were trained, for none. It adds "contrast_loss": see
    ``paddlevideo.modeling.contrast``. ``hard_negatives``: so many of them are those that the
    retrieval head finds most similar among the captions of all ranks.
    ``retrieval_head``: vectors for captions and clips, trained with the other losses by
    "retrieval_loss", or fitted before them; in a test their similarity is added to the match
    margin.
    ``top_k``: match only the k videos of a caption and the k captions of a video that the
    retrieval head finds most similar; two numbers give each direction its own, and a second one of
    0 leaves video to text to the head alone. 0 matches every pair.
    ``without``: streams whose features are replaced by ones, which say nothing, to learn what they
    are worth; their boxes, masks and classes stay.
    ``gallery_gigabytes``: a gallery whose caches need more is encoded again for each batch; what it
    leaves is for captions between the two stages.
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
        if match_negatives:
            self.contrast = BatchContrast(self.scorer, match_negatives, hard_negatives)
        if hard_negatives and (retrieval_head is None or hard_negatives > match_negatives):
            raise ConfigError(
                f"MODEL.hard_negatives={hard_negatives} of MODEL.match_negatives={match_negatives} "
                "captions are those that a MODEL.retrieval_head finds most similar: it needs one, "
                "and as many match_negatives at least"
            )
        self.top_k, self.gallery_gigabytes = parse_top_k(top_k), gallery_gigabytes
        if self.top_k and retrieval_head is None:
            raise ConfigError(
                f"MODEL.top_k={top_k} needs a MODEL.retrieval_head, which finds the k best; "
                "0 matches every pair"
            )
        if self.head_alone:
            for parameter in backbone.parameters():
                parameter.stop_gradient = True

    @property
    def learned_head(self) -> RetrievalHead | None:
        """The retrieval head if it is trained by a loss."""
        head = self.retrieval_head
        return head if isinstance(head, RetrievalHead) else None

    @property
    def head_alone(self) -> bool:
        """Whether only the retrieval head is trained."""
        return self.retrieval_head is not None and self.retrieval_head.alone

    def train(self) -> None:
        """Training mode, but for a frozen backbone, which keeps its dropout off."""
        super().train()
        if self.head_alone:
            self.backbone.eval()

    def forward(self, batch: Batch) -> Losses:
        """Losses of a batch of the design's keys, as arrays or tensors.

        Returns scalars "loss" (their sum), "text_loss", "region_loss", "action_loss",
        "match_loss" and, with ``match_negatives``, "contrast_loss". Padding is left out where that
        is possible, and predictions are made only where labels ask for them; neither changes a
        loss.

        In training, counts of right answers come beside them: "word_accuracy",
        "region_accuracy", "action_accuracy" and "match_accuracy" and, where those losses are
        there, "contrast_accuracy" and "retrieval_accuracy".
        """
        self.backbone.check_batch(batch)  # as long as it was padded: a long text may come late
        divisors, batch = self.denominators(batch), self.blinded(batch)
        whole, (batch, padded) = batch, cut_padding(batch)
        if self.head_alone:
            with paddle.no_grad():
                lower = self.backbone.lower(to_tensors(batch))
            loss, won = self.retrieval_loss(whole, lower, divisors)
            return Losses({"retrieval_loss": loss, "loss": loss}, {"retrieval_accuracy": won})
        picked, rows = labelled_rows(self.loss.asked(batch), self.limits())
        tensors = to_tensors(picked)
        lower = self.backbone.lower(tensors, pack_words(batch))
        output = self.backbone.predict(self.backbone.upper(lower, padded, rows), rows)
        losses = self.loss(output, tensors, divisors)
        hits = pretraining_hits(output, picked) if self.training else {}
        further = {}
        if self.contrast is not None:
            further["contrast_loss"], hits["contrast_accuracy"] = self.contrast.loss(
                batch, lower, padded, divisors["contrast_loss"]
            )
        if self.learned_head is not None:
            further["retrieval_loss"], hits["retrieval_accuracy"] = self.retrieval_loss(
                whole, lower, divisors
            )
        return Losses({**losses, **further, "loss": sum(further.values(), losses["loss"])}, hits)

    def retrieval_loss(
        self, batch: Batch, lower: LowerStates, divisors: Mapping[str, float]
    ) -> tuple[Tensor, Hits]:
        """The retrieval head's loss and hits, ``batch``'s streams having come to ``lower``."""
        assert self.learned_head is not None
        words, own = original_words(batch), own_captions(batch)
        return self.learned_head.loss(lower, words, own, divisors["retrieval_loss"])

    def blinded(self, batch: Batch) -> Batch:
        """``batch`` without the features that ``without`` names."""
        return blinded(batch, self.without)

    def denominators(self, batch: Batch) -> dict[str, float]:
        """What each loss of ``batch`` is divided by."""
        divisors = {} if self.head_alone else self.loss.denominators(batch)
        if self.contrast is not None:
            divisors["contrast_loss"] = float(own_captions(batch).sum())
        if self.learned_head is not None:
            # Never 0: a rank without a right pair still has negatives of the others' pairs.
            divisors["retrieval_loss"] = max(float(own_captions(batch).sum()), 1e-6)
        return divisors

    def parts(self) -> dict[str, list[nn.Layer]]:
        """The three streams with their embeddings, the tangled layers, and the heads."""
        own, encoder = self.backbone, self.backbone.encoder
        named = {
            "text stream": [own.text_embeddings, encoder.layers["text"]],
            "region stream": [own.region_embeddings, encoder.layers["regions"]],
            "action stream": [own.action_embeddings, encoder.layers["actions"]],
            "tangled layers": [encoder.tangled],
            "poolers": [own.text_pooler, own.region_pooler, own.action_pooler],
            "prediction heads": [own.match_head, own.word_head, own.region_head, own.action_head],
        }
        if self.retrieval_head is not None:
            named["retrieval head"] = [self.retrieval_head]
        return named

    def recomputable(self) -> list[nn.Layer]:
        """Every layer of the streams and every tangled one."""
        encoder = self.backbone.encoder
        streams = (layer for stream in encoder.layers.values() for layer in stream)
        return [*streams, *encoder.tangled]

    def connect(self, gather: Gather) -> None:
        """The retrieval head's negatives come from all ranks, and so do hard ones."""
        if self.contrast is not None:
            self.contrast.gather = gather
        if self.learned_head is not None:
            self.learned_head.gather = gather

    def fits(self) -> int:
        """How many clips a fitted retrieval head takes."""
        return self.retrieval_head.clips if isinstance(self.retrieval_head, FittedHead) else 0

    @paddle.no_grad()
    def fit(self, batches: Iterable[Batch], total: Total) -> None:
        """Fits the retrieval head to the pairs that belong together."""
        assert isinstance(self.retrieval_head, FittedHead)
        seen = map(self.blinded, batches)
        right = (select_rows(batch, own_captions(batch), INPUT_KEYS) for batch in seen)
        pairs = read_pairs(self.retrieval_head, self.scorer.lower_text, right)
        self.retrieval_head.fit(pairs, total)

    def init_weights(self) -> None:
        """Starts from the weights named by the backbone's ``pretrained``, if any."""
        if self.backbone.pretrained:
            load_weights(self, self.backbone.pretrained)

    # ---------------------------------------------------------------- retrieval

    @paddle.no_grad()
    def encode_captions(self, captions: Batch) -> CaptionCache:
        """Computes what depends on captions alone.

        ``captions``: text_ids, token_type_ids, text_mask.
        """
        return self.scorer.encode_captions(to_tensors(select(captions, CAPTION_KEYS)))

    @paddle.no_grad()
    def encode_videos(self, videos: Batch) -> VideoCache:
        """Computes what depends on videos alone. ``videos``: the arrays of ``VIDEO_KEYS``."""
        return self.scorer.encode_videos(to_tensors(self.blinded(select(videos, VIDEO_KEYS))))

    @paddle.no_grad()
    def margins(self, captions: CaptionCache, videos: VideoChunks) -> Tensor:
        """Returns the logits of match minus no match, (captions, videos), which rank them."""
        return self.scorer.margins(captions, videos)

    @paddle.no_grad()
    def listed_margins(
        self, caption: CaptionCache, videos: VideoSource, positions: np.ndarray
    ) -> np.ndarray:
        """Returns the margins (N,) of one caption with the videos at ``positions`` (N,)."""
        return self.scorer.listed_margins(caption, videos, positions)

    def score(self, captions: Batch | CaptionCache, videos: Batch | VideoCache) -> Tensor:
        """Returns match probabilities (captions, videos): softmax of the logits at class 0."""
        if isinstance(captions, Mapping):
            captions = self.encode_captions(captions)
        if isinstance(videos, Mapping):
            videos = self.encode_videos(videos)
        return F.sigmoid(self.margins(captions, videos))

    def prepare(self, context: Iterable[Batch] | None) -> None:
        """Prepares nothing for losses. Raises ConfigError for a gallery, which is not for them."""
        if context is not None:
            raise ConfigError(
                "METRIC.name: the data set has captions and a gallery of clips, for which ActBert "
                "gives scores of pairs and no losses. Leave METRIC out: the one that suits the "
                "data set is then taken. A metric of your own for them derives from MSRVTTMetric"
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
        """Our parameter names to the published ones."""
        return released_weights.to_released(state)

    def from_released(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Published parameter names to ours."""
        return released_weights.from_released(state)

    def check_loaded(self, missing: list[str]) -> None:
        """Matching needs neither the prediction heads nor the block's unused projection."""
        unused = (
            *(".word_head.", ".region_head.", ".action_head.", ".region_context_value."),
            ".chosen_weight",  # the metric says what to do where it is needed
        )
        super().check_loaded([name for name in missing if not any(u in name for u in unused)])


def parse_top_k(top_k: CountOrZero | Sequence[CountOrZero]) -> tuple[int, int] | None:
    """Returns the videos of a caption and the captions of a video to match; None: all.

    Raises:
        ConfigError: ``top_k`` is neither 0 nor one or two such numbers.
    """
    numbers = (top_k, top_k) if isinstance(top_k, int) else tuple(top_k)
    if numbers == (0, 0):
        return None
    if len(numbers) != 2 or numbers[0] < 1 or numbers[1] < 0:
        raise ConfigError(
            f"MODEL.top_k={top_k}: expected 0, or how many videos of a caption to match, or that "
            "and how many captions of a video"
        )
    return numbers[0], numbers[1]
