"""Matching with other captions: many negatives for each clip, both ways.

B clips of this process's micro-batch, N captions (theirs first or, with several processes, where
they stand among all ranks'); k other captions for each clip; T words, R regions, A actions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import Tensor

from paddlevideo.modeling.accuracy import Hits, added, winner_hits
from paddlevideo.modeling.backbones.actbert import LowerStates
from paddlevideo.modeling.backbones.tangled import PaddedLengths
from paddlevideo.modeling.layers import MASKED_SCORE, to_tensors
from paddlevideo.modeling.losses.actbert import IGNORED
from paddlevideo.modeling.match_scorer import MatchScorer

if TYPE_CHECKING:
    from paddlevideo.modeling.framework.base import Gather

VIDEO_KEYS = ("image_feat", "image_mask", "action_feat", "action_mask")


@dataclass(frozen=True)
class Captions:
    """N captions that clips can meet; those of this process's clips stand at ``own`` (B,)."""

    state: Tensor  # N, T, D, below the first tangled layer
    bias: Tensor  # N, 1, 1, T
    words: np.ndarray  # N, T: ids, before any was masked
    own: np.ndarray  # B


class BatchContrast:
    """Each clip's own caption has to win against ``negatives`` others.

    And each caption's own clip against the clips that met it. One negative at a time teaches at
    most one bit a clip; k of them teach log2(k + 1). Clip i meets captions i + 1 ... i + k of the
    micro-batch of its process, counted around it.

    ``hard``: so many of the k are those that the retrieval head finds most similar to the clip
    among the captions of all ranks (after Li et al. 2021, "Align before Fuse", section 3.2, which
    draws one by similarity), and the others come from all ranks too. Other ranks' captions come
    without gradient.
    """

    #: How rows come from all ranks; a world of one by default.
    gather: Gather = staticmethod(lambda rows: ([rows], 0))

    def __init__(self, scorer: MatchScorer, negatives: int, hard: int = 0) -> None:
        self.scorer, self.negatives, self.hard = scorer, negatives, hard

    def loss(
        self, batch: Mapping[str, Any], lower: LowerStates, padded: PaddedLengths, divisor: float
    ) -> tuple[Tensor, Hits]:
        """The loss of ``batch``, a scalar, and how often the right one won, both ways.

        ``lower``: how far the batch's streams have come.
        """
        own = own_captions(batch)
        captions = self.captions(batch, lower, padded)
        met = self.meetings(batch, lower, captions)
        margins = self.margins(lower, padded, captions, met)
        by_clip, by_caption = both_sides(margins, met, same_words(captions.words, met))
        loss = contrast_loss(by_clip, by_caption, own, max(divisor, 1.0))
        return loss, contrast_hits(by_clip, by_caption, own)

    def captions(
        self, batch: Mapping[str, Any], lower: LowerStates, padded: PaddedLengths
    ) -> Captions:
        """Those that clips can meet: of this micro-batch or, if they are mined, of all ranks."""
        state, bias = lower.states.text, lower.bias.text
        words, here = original_words(batch), np.arange(len(state))
        if not self.hard:
            return Captions(state, bias, words, here)
        missing = padded.text - state.shape[1]  # ranks have cut padding to other lengths
        if missing:
            state = paddle.concat([state, paddle.zeros([len(here), missing, state.shape[2]])], 1)
            bias = F.pad(bias, [0, missing, 0, 0], value=MASKED_SCORE)
            words = np.pad(words, [(0, 0), (0, missing)])
        states, place = self.gather(state)
        states[place] = state
        biases, all_words = self.gather(bias)[0], self.gather(paddle.to_tensor(words))[0]
        start = sum(len(part) for part in states[:place])
        if len(states) == 1:
            return Captions(state, bias, words, here)
        return Captions(
            paddle.concat(states), paddle.concat(biases), paddle.concat(all_words).numpy(),
            start + here,
        )  # fmt: skip

    def meetings(
        self, batch: Mapping[str, Any], lower: LowerStates, captions: Captions
    ) -> np.ndarray:
        """Which captions each clip meets, (1 + k, B): its own first."""
        if not self.hard:
            return meetings(len(captions.own), self.negatives)
        similar = self.similarities(batch, lower, captions)
        return hardest(similar, captions.own, self.hard, self.negatives)

    @paddle.no_grad()
    def similarities(
        self, batch: Mapping[str, Any], lower: LowerStates, captions: Captions
    ) -> np.ndarray:
        """What the retrieval head thinks of all captions for each clip, (B, N)."""
        head = self.scorer.head
        assert head is not None
        ids = paddle.to_tensor(captions.words)
        mask = (captions.bias[:, 0, 0] > MASKED_SCORE / 2).astype("int64")
        texts = head.caption_vectors(
            captions.state, captions.bias, {"text_ids": ids, "text_mask": mask}
        )
        videos = to_tensors({key: batch[key] for key in VIDEO_KEYS})
        clips = head.video_vectors(tuple(lower.states[1:]), tuple(lower.bias[1:]), videos)
        return paddle.matmul(clips, texts, transpose_y=True).astype("float32").numpy()

    def margins(
        self, lower: LowerStates, padded: PaddedLengths, captions: Captions, met: np.ndarray
    ) -> Tensor:
        """Margins of each clip with the captions at the places ``met`` (rows, B); same shape.

        What a clip or a caption has on its own is computed once and repeated for its pairs.
        """
        (_, regions, actions), (_, region_bias, action_bias) = lower
        rows, clips = met.shape
        text_at = paddle.to_tensor(met.ravel())
        clip_at = paddle.to_tensor(np.tile(np.arange(clips), rows))
        texts = self.scorer.caption_cache(captions.state, captions.bias, padded.text).take(text_at)
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


def hardest(similar: np.ndarray, own: np.ndarray, hard: int, negatives: int) -> np.ndarray:
    """Which captions each clip meets, (1 + k, B): its ``own`` (B,), ``hard`` similar ones, others.

    ``similar`` (B, N). k is ``negatives``, or N - 1 where there are fewer. The others are those
    that come after the clip's own, counted around all N.
    """
    clips, count = similar.shape
    place = np.arange(count)
    priority = (place - own[:, None]) % count  # 0 for the own one
    masked = similar.astype(np.float64)
    masked[np.arange(clips), own] = -np.inf
    found = np.argsort(-masked, axis=1, kind="stable")[:, : min(hard, count - 1)]
    np.put_along_axis(priority, found, np.arange(found.shape[1]) - found.shape[1], axis=1)
    priority[np.arange(clips), own] = -count
    return np.argsort(priority, axis=1, kind="stable")[:, : 1 + min(negatives, count - 1)].T


def same_words(words: np.ndarray, met: np.ndarray) -> np.ndarray:
    """Where the caption that a clip meets has the words of its own, (1 + k, B) bool.

    Such a pair is no negative. ``words`` (N, T) as they were before any was masked.
    """
    return (words[met] == words[met[0]]).all(axis=-1)


def original_words(batch: Mapping[str, Any]) -> np.ndarray:
    """The captions' ids (B, T) as they were before words were masked."""
    ids, labels = np.asarray(batch["text_ids"]), np.asarray(batch["text_labels"])
    return np.where(labels == IGNORED, ids, labels)


def contrast_loss(by_clip: Tensor, by_caption: Tensor, own: np.ndarray, divisor: float) -> Tensor:
    """Cross-entropy of the right caption for a clip and of the right clip for a caption.

    Both sides as ``both_sides`` gives them. Only clips in ``own`` (B,) have a right pair; the
    other clips and captions are negatives. The mean of the two cross-entropies is summed over
    ``own`` and divided by ``divisor`` (van den Oord et al. 2018, equation 4). Scalar.
    """
    right = F.log_softmax(by_clip, axis=0)[0] + paddle.diagonal(F.log_softmax(by_caption, axis=0))
    return -(right * paddle.to_tensor(own.astype("float32"))).sum() / (2 * divisor)


@paddle.no_grad()
def contrast_hits(by_clip: Tensor, by_caption: Tensor, own: np.ndarray) -> Hits:
    """How often the right caption of a clip, and the right clip of a caption, has won.

    The arguments are those of ``contrast_loss``.
    """
    right = paddle.diagonal(by_caption).unsqueeze(0)
    return added(
        winner_hits(by_clip, by_clip[:1], own, axis=0), winner_hits(by_caption, right, own, axis=0)
    )


def both_sides(margins: Tensor, met: np.ndarray, same: np.ndarray) -> tuple[Tensor, Tensor]:
    """``margins`` (1 + k, B) in columns of one clip each, and (B, B) of one own caption each.

    ``met`` (1 + k, B): the captions' places; row 0 holds the right pairs. Pairs in ``same``
    (1 + k, B) are masked in the other rows, and so are the clips that a caption did not meet.
    """
    rows, clips = margins.shape
    left_out = same.astype("float32")
    left_out[0] = 0.0
    by_clip = margins + paddle.to_tensor(left_out) * MASKED_SCORE
    # Clip i and clip j's caption: where they met among the margins, else one more place.
    at = np.full((clips, clips), rows * clips)
    row, clip = np.nonzero(np.isin(met, met[0]))
    column = np.searchsorted(met[0], met[row, clip])  # own captions stand in rising order
    at[clip, column] = row * clips + clip
    stranger = paddle.full([1], MASKED_SCORE, by_clip.dtype)
    known = paddle.concat([by_clip.flatten(), stranger])
    by_caption = paddle.index_select(known, paddle.to_tensor(at.ravel()))
    return by_clip, by_caption.reshape([clips, clips])
