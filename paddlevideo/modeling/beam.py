"""Beam search: the most probable sequences of words, for a batch of clips at once.

B clips, K sequences that are followed for each, V words.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

#: Log probability of a word that must not follow.
NEVER = -1e9
#: Returns the log probabilities (n, V) of the next words of n sequences. ``words`` (n,): the last
#: word of each; ``rows`` (n,): the sequence of the last call that it extends, in the first call
#: the clip.
Next = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class BeamSettings:
    """How sequences are searched and compared.

    ``width``: K. ``longest``: words of a sequence, the end included. ``length_penalty`` a: a
    sequence of n words is rated by its log probability / n ** a. ``no_repeat``: no n-gram of that
    many words occurs twice in a sequence; 0: any may.
    """

    width: int
    longest: int
    length_penalty: float
    no_repeat: int


@dataclass
class _Clip:
    """The complete sequences of one clip with their ratings."""

    complete: list[tuple[float, list[int]]] = field(default_factory=list)

    def add(self, rating: float, words: list[int], width: int) -> None:
        self.complete.append((rating, words))
        self.complete.sort(key=lambda rated: -rated[0])
        del self.complete[width:]


def search(
    clips: int, start: int, end: int, following: Next, settings: BeamSettings
) -> list[list[tuple[float, list[int]]]]:
    """Returns up to K sequences of each clip with their ratings, best first.

    Sequences are without ``start`` and ``end``, and have at least one word. ``following`` is called
    for the start of each clip, then for all K sequences of all clips.
    """
    width, found = settings.width, [_Clip() for _ in range(clips)]
    sequences: list[list[list[int]]] = [[[]] for _ in range(clips)]
    totals = np.zeros((clips, 1))
    rows, last = np.arange(clips), np.full(clips, start)
    for length in range(1, settings.longest + 1):
        logs = following(last, rows).astype(np.float64)
        alive = totals.shape[1]
        logs = logs.reshape(clips, alive, -1)
        _forbid(logs, sequences, end if length == 1 else None, settings.no_repeat)
        scores, parents, words = _best(totals[:, :, None] + logs, 2 * width)
        penalty = length**settings.length_penalty
        kept = [
            _extend(found[clip], sequences[clip], rows_of, end, penalty, width)
            for clip, rows_of in enumerate(
                list(zip(s.tolist(), p.tolist(), w.tolist(), strict=True))
                for s, p, w in zip(scores, parents, words, strict=True)
            )
        ]
        totals = np.array([[score for score, _, _ in each] for each in kept])
        chosen = np.array([[parent for _, parent, _ in each] for each in kept])
        last = np.array([[word for _, _, word in each] for each in kept]).ravel()
        sequences = [
            [before[parent] + [word] for _, parent, word in each]
            for before, each in zip(sequences, kept, strict=True)
        ]
        rows = (np.arange(clips)[:, None] * alive + chosen).ravel()
        if all(map(_is_done, found, totals[:, 0], [settings] * clips)):
            break
    for clip, alive_words, scores in zip(found, sequences, totals, strict=True):
        if not clip.complete:  # the longest sequence has no end
            clip.add(scores[0] / settings.longest**settings.length_penalty, alive_words[0], width)
    return [clip.complete for clip in found]


def _best(scores: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the highest ``count`` of (B, K, V) scores, their sequences and words, (B, count)."""
    clips, _, vocabulary = scores.shape
    flat = scores.reshape(clips, -1)
    count = min(count, flat.shape[1])
    best = np.argpartition(-flat, count - 1, axis=1)[:, :count]
    values = np.take_along_axis(flat, best, axis=1)
    order = np.lexsort((best, -values), axis=1)
    best = np.take_along_axis(best, order, axis=1)
    return np.take_along_axis(flat, best, axis=1), best // vocabulary, best % vocabulary


def _extend(
    clip: _Clip,
    sequences: list[list[int]],
    candidates: list[tuple[float, int, int]],
    end: int,
    penalty: float,
    width: int,
) -> list[tuple[float, int, int]]:
    """Stores complete sequences, and returns the ``width`` best of the others.

    ``candidates``: scores, sequences and words, best first.
    """
    kept = []
    for rank, (score, parent, word) in enumerate(candidates):
        if word != end:
            kept.append((score, parent, word))
        elif rank < width and score > NEVER / 2:
            clip.add(score / penalty, sequences[parent], width)
        if len(kept) == width:
            break
    while len(kept) < width:  # a vocabulary of few words
        kept.append((2 * NEVER, *kept[-1][1:]))
    return kept


def _forbid(logs: np.ndarray, sequences: list[list[list[int]]], end: int | None, size: int) -> None:
    """Makes the end, and words that would repeat an n-gram of ``size``, impossible in (B, K, V)."""
    if end is not None:
        logs[:, :, end] = NEVER
    if not size:
        return
    for clip, alive in enumerate(sequences):
        for number, words in enumerate(alive):
            tail = words[len(words) - size + 1 :] if size > 1 else []
            for at in range(len(words) - size + 1):
                if words[at : at + size - 1] == tail:
                    logs[clip, number, words[at + size - 1]] = NEVER


def _is_done(clip: _Clip, alive: float, settings: BeamSettings) -> bool:
    """Returns whether no sequence can become better than the K complete ones."""
    if len(clip.complete) < settings.width:
        return False
    return clip.complete[-1][0] >= alive / settings.longest**settings.length_penalty
