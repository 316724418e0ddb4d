"""Matching with the other captions of a batch: many negatives for each clip, both ways.

B clips and as many captions; k other captions for each clip; T words, R regions, A actions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import Tensor

from paddlevideo.modeling.accuracy import Hits, added, winner_hits
from paddlevideo.modeling.backbones.actbert import LowerStates
from paddlevideo.modeling.backbones.tangled import PaddedLengths
from paddlevideo.modeling.layers import MASKED_SCORE
from paddlevideo.modeling.losses.actbert import IGNORED
from paddlevideo.modeling.match_scorer import MatchScorer


class BatchContrast:
    """Each clip's own caption has to win against ``negatives`` others of its batch.

    And each caption's own clip against the clips that met it. One negative at a time teaches at
    most one bit a clip; k of them teach log2(k + 1). Clip i meets captions i + 1 ... i + k,
    counted around the batch, so negatives come from the micro-batch of one process.
    """

    def __init__(self, scorer: MatchScorer, negatives: int) -> None:
        self.scorer = scorer
        self.negatives = negatives

    def loss(
        self, batch: Mapping[str, Any], lower: LowerStates, padded: PaddedLengths, divisor: float
    ) -> tuple[Tensor, Hits]:
        """The loss of ``batch``, a scalar, and how often the right one won, both ways.

        ``lower``: how far the batch's streams have come.
        """
        own = own_captions(batch)
        captions = meetings(len(own), self.negatives)
        margins, same = self.margins(lower, padded, captions), same_caption(batch, captions)
        loss = contrast_loss(margins, same, own, max(divisor, 1.0))
        return loss, contrast_hits(margins, same, own)

    def margins(self, lower: LowerStates, padded: PaddedLengths, captions: np.ndarray) -> Tensor:
        """Margins of each clip with ``captions`` (rows, B), places in the batch; same shape.

        What a clip or a caption has on its own is computed once and repeated for its pairs.
        """
        (text, regions, actions), (text_bias, region_bias, action_bias) = lower
        rows, clips = captions.shape
        text_at = paddle.to_tensor(captions.ravel())
        clip_at = paddle.to_tensor(np.tile(np.arange(clips), rows))
        texts = self.scorer.caption_cache(text, text_bias, padded.text).take(text_at)
        videos = self.scorer.video_cache(regions, region_bias, actions, action_bias).take(clip_at)
        return self.scorer.pair_margins(texts, videos, padded.regions).reshape([rows, clips])


def own_captions(batch: Mapping[str, Any]) -> np.ndarray:
    """Which clips of a batch have their own caption, (B,) bool."""
    return np.asarray(batch["next_sentence_label"]).ravel() == 0


def meetings(clips: int, negatives: int) -> np.ndarray:
    """Which captions each clip meets, (1 + k, B): row s holds caption i + s for clip i.

    k is ``negatives``, or B - 1 in a smaller batch.
    """
    shifts = np.arange(1 + min(negatives, clips - 1))
    return (np.arange(clips) + shifts[:, None]) % clips


def same_caption(batch: Mapping[str, Any], captions: np.ndarray) -> np.ndarray:
    """Where the caption that a clip meets has the words of its own, (1 + k, B) bool.

    Such a pair is no negative. Words that were masked count as what they were.
    """
    words = original_words(batch)
    return (words[captions] == words).all(axis=-1)


def original_words(batch: Mapping[str, Any]) -> np.ndarray:
    """The captions' ids (B, T) as they were before words were masked."""
    ids, labels = np.asarray(batch["text_ids"]), np.asarray(batch["text_labels"])
    return np.where(labels == IGNORED, ids, labels)


def contrast_loss(margins: Tensor, same: np.ndarray, own: np.ndarray, divisor: float) -> Tensor:
    """Cross-entropy of the right caption for a clip and of the right clip for a caption.

    ``margins`` (1 + k, B) as ``meetings`` arranges them, so row 0 holds the right pairs; pairs in
    ``same`` (1 + k, B) are left out of the other rows. Only clips in ``own`` (B,) have a right
    pair; the other clips and captions are negatives. The mean of the two cross-entropies is
    summed over ``own`` and divided by ``divisor`` (van den Oord et al. 2018, equation 4). Scalar.
    """
    by_clip, by_caption = both_sides(margins, same)
    right = F.log_softmax(by_clip, axis=0)[0] + F.log_softmax(by_caption, axis=0)[0]
    return -(right * paddle.to_tensor(own.astype("float32"))).sum() / (2 * divisor)


@paddle.no_grad()
def contrast_hits(margins: Tensor, same: np.ndarray, own: np.ndarray) -> Hits:
    """How often the right caption of a clip, and the right clip of a caption, has won.

    The arguments are those of ``contrast_loss``.
    """
    sides = [winner_hits(side, side[:1], own, axis=0) for side in both_sides(margins, same)]
    return added(*sides)


def both_sides(margins: Tensor, same: np.ndarray) -> tuple[Tensor, Tensor]:
    """``margins`` (1 + k, B) in columns of one clip each, and of one caption each.

    Row 0 holds the right pairs; pairs in ``same`` (1 + k, B) are masked in the other rows.
    """
    rows, clips = margins.shape
    left_out = same.astype("float32")
    left_out[0] = 0.0
    by_clip = margins + paddle.to_tensor(left_out) * MASKED_SCORE
    # Caption j met clip j - s in row s.
    shifts = np.arange(rows)[:, None]
    at = shifts * clips + (np.arange(clips) - shifts) % clips
    by_caption = paddle.index_select(by_clip.flatten(), paddle.to_tensor(at.ravel()))
    return by_clip, by_caption.reshape([rows, clips])
