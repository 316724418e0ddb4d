"""Matching against other captions: many negatives per clip, in both directions.

B clips of this process's micro-batch; N captions of the micro-batch or of all ranks; k negative
captions per clip; T words, R regions, A actions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import Tensor

from paddlevideo.modeling.accuracy import Hits, rank_hits, sum_hits
from paddlevideo.modeling.backbones.actbert import LowerStates
from paddlevideo.modeling.backbones.tangled import PaddedLengths
from paddlevideo.modeling.heads.vectors import VectorHead
from paddlevideo.modeling.layers import MASKED_SCORE
from paddlevideo.modeling.losses.actbert import IGNORED
from paddlevideo.modeling.match_scorer import MatchScorer, match_margins
from paddlevideo.modeling.transfer import gather_alone, to_tensors

if TYPE_CHECKING:
    from paddlevideo.modeling.framework.base import Gather

VIDEO_KEYS = ("image_feat", "image_mask", "action_feat", "action_mask")


@dataclass(frozen=True)
class Captions:
    """N captions to match clips with; ``positive`` (B,) are the indices of the clips' captions."""

    state: Tensor  # N, T, D, below the first tangled layer
    bias: Tensor  # N, 1, 1, T
    words: np.ndarray  # N, T: ids before masking
    ids: Tensor  # the same on the device
    positive: np.ndarray  # B


class PairIndices(NamedTuple):
    """Where the scores of pairs (1 + k, B) are computed from and go to."""

    text: Any  # (k * B,) the caption of each negative pair
    clip: Any  # (k * B,) its clip
    by_caption: Any  # (B * B,) see ``caption_indices``
    taught: Any  # ((1 + k) * B,) each pair's index into similarities (B * N)
    duplicates: Any  # (1 + k, B): 1 for negatives with the words of the positive, else 0
    counted: Any  # (B,): 1 for clips with a matching caption, else 0


class BatchContrast:
    """Classifies each clip's caption among ``negatives`` others, and each caption's clip.

    The candidates for a caption are the clips that were matched with it. One negative teaches at
    most one bit per clip; k negatives teach log2(k + 1). Clip i is matched with captions
    i + 1 ... i + k of its micro-batch, modulo its size.

    ``hard``: number of hard negatives among the k: the captions of all ranks most similar to the
    clip according to the retrieval head (after Li et al. 2021, "Align before Fuse", section 3.2,
    which samples one by similarity). The others then come from all ranks too. Captions of other
    ranks get no gradient.

    ``teacher_weight``: the fraction of the target that the retrieval head's probabilities make up
    (section 3.3 of the same, with the head in the place of a moving average of the model).
    """

    #: Gathers rows from all ranks; by default there is one.
    gather: Gather = staticmethod(gather_alone)

    def __init__(
        self, scorer: MatchScorer, negatives: int, hard: int = 0, teacher_weight: float = 0.0
    ) -> None:
        self.scorer, self.negatives, self.hard = scorer, negatives, hard
        self.teacher_weight = teacher_weight

    def loss(
        self,
        batch: Mapping[str, Any],
        tensors: Mapping[str, Tensor],
        lower: LowerStates,
        padded: PaddedLengths,
        match_logits: Tensor,
        count: float,
    ) -> tuple[Tensor, Hits]:
        """Returns the scalar loss of ``batch``, a sum divided by ``count``, and its hits.

        ``tensors``: the batch on the device, with its ``original_words``;
        ``lower``: the states of the batch's streams below the first tangled layer;
        ``match_logits`` (B, 2): what the rest of the model made of them, so that only negatives
        are left to compute, three quarters of the pairs where k is 3.
        """
        captions = self.captions(batch, tensors, lower, padded)
        similarities = None
        if self.hard or self.teacher_weight:
            similarities = self.similarities(tensors, lower, captions)
        pairs = self.pairs(captions, similarities)
        matching = has_matching_caption(batch)
        at = to_tensors(pair_indices(pairs, captions.words, matching))
        margins = match_margins(match_logits).unsqueeze(0)
        if len(pairs) > 1:
            negatives = self.margins(lower, padded, captions, at.text, at.clip)
            margins = paddle.concat([margins, negatives.reshape([len(pairs) - 1, -1])])
        masked, counted = at.duplicates * MASKED_SCORE, at.counted.astype("float32")
        scores = margins + masked
        by_caption = scores_by_caption(scores, at.by_caption)
        loss = contrast_loss(scores, by_caption, counted, count)
        if similarities is not None and self.teacher_weight:
            taught = paddle.index_select(similarities.flatten(), at.taught).reshape(pairs.shape)
            taught = taught * self.head.scale.detach() + masked
            targets = F.softmax(taught, 0), F.softmax(scores_by_caption(taught, at.by_caption), 0)
            taught_loss = contrast_loss(scores, by_caption, counted, count, targets)
            loss = loss * (1 - self.teacher_weight) + taught_loss * self.teacher_weight
        hits = contrast_hits(scores, by_caption, at.counted.astype("bool"), int(matching.sum()))
        return loss, hits

    @property
    def head(self) -> VectorHead:
        """The retrieval head, which hard negatives and a teacher need."""
        assert self.scorer.head is not None
        return self.scorer.head

    def captions(
        self,
        batch: Mapping[str, Any],
        tensors: Mapping[str, Tensor],
        lower: LowerStates,
        padded: PaddedLengths,
    ) -> Captions:
        """Returns the captions of this micro-batch or, with hard negatives, of all ranks."""
        state, bias = lower.states.text, lower.bias.text
        ids, index = tensors["original_words"], np.arange(len(state))
        if not self.hard or self.gather is gather_alone:
            return Captions(state, bias, original_words(batch), ids, index)
        missing = padded.text - state.shape[1]  # ranks have cut padding to different lengths
        if missing:
            state = paddle.concat([state, paddle.zeros([len(state), missing, state.shape[2]])], 1)
            bias = F.pad(bias, [0, missing, 0, 0], value=MASKED_SCORE)
            ids = paddle.concat([ids, paddle.zeros([len(ids), missing], ids.dtype)], axis=1)
        states, rank = self.gather(state)
        biases, all_ids = self.gather(bias)[0], self.gather(ids)[0]
        states[rank] = state  # with its gradient
        start = sum(len(part) for part in states[:rank])
        ids = paddle.concat(all_ids)
        words = ids.numpy()
        longest = int(np.flatnonzero(words.any(axis=0))[-1]) + 1
        return Captions(
            paddle.concat(states)[:, :longest], paddle.concat(biases)[..., :longest],
            words[:, :longest], ids[:, :longest], start + index,
        )  # fmt: skip

    def pairs(self, captions: Captions, similarities: Tensor | None) -> np.ndarray:
        """Returns the captions that each clip is matched with, (1 + k, B); row 0 the positives."""
        if similarities is None or not self.hard:
            return shifted_pairs(len(captions.positive), self.negatives)
        return hard_pairs(similarities.numpy(), captions.positive, self.hard, self.negatives)

    @paddle.no_grad()
    def similarities(
        self, tensors: Mapping[str, Tensor], lower: LowerStates, captions: Captions
    ) -> Tensor:
        """Returns the retrieval head's similarities of clips and captions, (B, N) float32."""
        mask = (captions.bias[:, 0, 0] > MASKED_SCORE / 2).astype("int64")
        texts = {"text_ids": captions.ids, "text_mask": mask}
        videos = {key: tensors[key] for key in VIDEO_KEYS}
        return self.head.similarities_in_training(
            (captions.state, captions.bias, texts),
            (tuple(lower.states[1:]), tuple(lower.bias[1:]), videos),
            captions.positive,
        ).astype("float32")

    def margins(
        self,
        lower: LowerStates,
        padded: PaddedLengths,
        captions: Captions,
        text_at: Tensor,
        clip_at: Tensor,
    ) -> Tensor:
        """Returns the margins (P,) of the clips ``clip_at`` (P,) with the captions ``text_at``.

        Whatever depends on only a clip or a caption is computed once and repeated for its pairs.
        """
        (_, regions, actions), (_, region_bias, action_bias) = lower
        texts = self.scorer.caption_cache(captions.state, captions.bias, padded.text).take(text_at)
        videos = self.scorer.video_cache(regions, region_bias, actions, action_bias).take(clip_at)
        return self.scorer.pair_margins(texts, videos, padded.regions)


def has_matching_caption(batch: Mapping[str, Any]) -> np.ndarray:
    """Returns which clips of a batch have a matching caption, (B,) bool."""
    return np.asarray(batch["next_sentence_label"]).ravel() == 0


def shifted_pairs(clips: int, negatives: int) -> np.ndarray:
    """Returns (1 + k, B) captions: row s holds caption i + s for clip i, modulo B.

    k is ``negatives``, or B - 1 in a smaller batch.
    """
    shifts = np.arange(1 + min(negatives, clips - 1))
    return (np.arange(clips) + shifts[:, None]) % clips


def hard_pairs(
    similarities: np.ndarray, positive: np.ndarray, hard: int, negatives: int
) -> np.ndarray:
    """Returns (1 + k, B) captions: ``positive`` (B,), the ``hard`` most similar ones, others.

    ``similarities`` (B, N). k is ``negatives``, or N - 1 if that is smaller. The others are those
    that follow the clip's positive, modulo N.
    """
    clips, count = similarities.shape
    priority = (np.arange(count) - positive[:, None]) % count  # 0 for the positive
    masked = similarities.astype(np.float64)
    masked[np.arange(clips), positive] = -np.inf
    hardest = np.argsort(-masked, axis=1, kind="stable")[:, : min(hard, count - 1)]
    np.put_along_axis(priority, hardest, np.arange(hardest.shape[1]) - hardest.shape[1], axis=1)
    priority[np.arange(clips), positive] = -count
    return np.argsort(priority, axis=1, kind="stable")[:, : 1 + min(negatives, count - 1)].T


def has_same_words(words: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Returns which captions of ``pairs`` equal the clip's positive, (1 + k, B) bool.

    Such pairs are not negatives. ``words`` (N, T): ids before masking.
    """
    return (words[pairs] == words[pairs[0]]).all(axis=-1)


def original_words(batch: Mapping[str, Any]) -> np.ndarray:
    """Returns the captions' ids (B, T) before words were masked."""
    ids, labels = np.asarray(batch["text_ids"]), np.asarray(batch["text_labels"])
    return np.where(labels == IGNORED, ids, labels)


def contrast_loss(
    by_clip: Tensor,
    by_caption: Tensor,
    counted: Tensor,
    count: float,
    targets: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Returns the cross-entropy of each clip's caption and of each caption's clip, a scalar.

    The mean of the two, summed over the clips where ``counted`` (B,) is 1 and divided by
    ``count`` (van den Oord et al. 2018, equation 4). The other clips and captions are negatives.

    Args:
        by_clip: (1 + k, B) scores; a column holds one clip's candidates, row 0 the positives.
        by_caption: (B, B) scores; a column holds one caption's candidates, the positive on the
            diagonal.
        counted: (B,) float32: 1 for clips with a matching caption, else 0.
        count: the divisor of the sum.
        targets: probabilities of the candidates, shaped as the scores; by default the positives
            have 1.
    """
    clips, captions = F.log_softmax(by_clip, 0), F.log_softmax(by_caption, 0)
    if targets is None:
        likelihood = clips[0] + paddle.diagonal(captions)
    else:
        likelihood = (clips * targets[0]).sum(0) + (captions * targets[1]).sum(0)
    return -(likelihood * counted).sum() / (2 * count)


@paddle.no_grad()
def contrast_hits(by_clip: Tensor, by_caption: Tensor, counted: Tensor, total: int) -> Hits:
    """Counts the hits in both directions.

    The scores are those of ``contrast_loss``; ``counted`` (B,) bool: the clips to count, of which
    there are ``total``.
    """
    positive = paddle.diagonal(by_caption).unsqueeze(0)
    return sum_hits(
        rank_hits(by_clip, by_clip[:1], counted, total, axis=0),
        rank_hits(by_caption, positive, counted, total, axis=0),
    )


def pair_indices(pairs: np.ndarray, words: np.ndarray, matching: np.ndarray) -> PairIndices:
    """Returns int64 arrays, which are copied as one block.

    ``pairs`` (1 + k, B): each clip's captions; ``words`` (N, T): the captions' ids before masking;
    ``matching`` (B,) bool: clips with a matching caption.
    """
    rows, clips = pairs.shape
    duplicates = has_same_words(words, pairs)
    duplicates[0] = False
    arrays = (
        pairs[1:].ravel(),
        np.tile(np.arange(clips), rows - 1),
        caption_indices(pairs),
        (np.arange(clips) * len(words) + pairs).ravel(),
        duplicates,
        matching,
    )
    return PairIndices(*(array.astype(np.int64) for array in arrays))


def caption_indices(pairs: np.ndarray) -> np.ndarray:
    """Returns (B * B,) indices into the flattened scores (1 + k, B) of ``pairs``.

    They are in the order of a matrix with a row per clip and a column per clip's caption. A clip
    that was not matched with a caption has the index after the last.
    """
    rows, clips = pairs.shape
    indices = np.full((clips, clips), rows * clips)
    row, clip = np.nonzero(np.isin(pairs, pairs[0]))
    column = np.searchsorted(pairs[0], pairs[row, clip])  # positives are ascending
    indices[clip, column] = row * clips + clip
    return indices.ravel()


def scores_by_caption(scores: Tensor, indices: Tensor) -> Tensor:
    """Rearranges ``scores`` (1 + k, B) of pairs into (B, B), a column per clip's caption.

    ``indices``: the pairs' ``caption_indices``. A pair that was not computed has a masked score.
    """
    clips = scores.shape[1]
    known = paddle.concat([scores.flatten(), paddle.full([1], MASKED_SCORE, scores.dtype)])
    return paddle.index_select(known, indices).reshape([clips, clips])
