"""Scores of action segmentation: one label a second, compared second by second and as segments.

T seconds, n segments. Class 0 is the background. All numbers are percentages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

BACKGROUND = 0
#: The overlaps (intersection over union) at which segments are counted as found.
OVERLAPS = (0.10, 0.25, 0.50)


class Segments(NamedTuple):
    """Maximal runs of equal labels; second ``ends[i]`` no longer belongs to segment i."""

    labels: np.ndarray  # (n,)
    starts: np.ndarray  # (n,)
    ends: np.ndarray  # (n,)

    def without(self, label: int) -> Segments:
        """Returns the segments of other labels."""
        kept = self.labels != label
        return Segments(*(array[kept] for array in self))


class Counts(NamedTuple):
    """Segments that were found, those predicted in vain, and those missed."""

    found: int
    wrong: int
    missed: int

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall in percent; 0 if nothing was found."""
        return 200.0 * self.found / max(2 * self.found + self.wrong + self.missed, 1)


def segments_of(labels: np.ndarray) -> Segments:
    """Returns the segments of ``labels`` (T,) in order of time."""
    labels = np.asarray(labels)
    changes = np.flatnonzero(labels[1:] != labels[:-1]) + 1
    starts = np.concatenate([[0], changes]).astype(np.int64)[: len(labels)]
    return Segments(labels[starts], starts, np.append(starts[1:], len(labels))[: len(starts)])


def accuracy(predicted: np.ndarray, true: np.ndarray) -> float:
    """Returns the percentage of seconds (T,) with the true label; NaN if there are none."""
    return 100.0 * float(np.mean(predicted == true)) if len(true) else float("nan")


def foreground_accuracy(predicted: np.ndarray, true: np.ndarray) -> float:
    """Returns the accuracy in the seconds whose true label is not the background."""
    foreground = true != BACKGROUND
    return accuracy(predicted[foreground], true[foreground])


def edit_distance(first: Sequence[int], second: Sequence[int]) -> int:
    """Returns the fewest insertions, deletions and substitutions (Levenshtein 1966)."""
    previous = list(range(len(second) + 1))
    for i, a in enumerate(first, start=1):
        current = [i]
        for j, b in enumerate(second, start=1):
            change = previous[j - 1] + (a != b)
            current.append(min(change, previous[j] + 1, current[-1] + 1))
        previous = current
    return previous[-1]


def edit_score(predicted: np.ndarray, true: np.ndarray) -> float:
    """Returns 100 (1 - d / m): how well the order of the segments agrees, whatever their lengths.

    d is the edit distance between the labels of the segments other than the background, m the
    larger number of them (Lea et al. 2016, "Segmental spatiotemporal CNNs", section 4). Without
    any segment in both it is 100.
    """
    a, b = (segments_of(labels).without(BACKGROUND).labels for labels in (predicted, true))
    return 100.0 * (1.0 - edit_distance(a.tolist(), b.tolist()) / max(len(a), len(b), 1))


def overlap_counts(predicted: np.ndarray, true: np.ndarray, overlap: float) -> Counts:
    """Counts predicted segments that overlap a true one of their label by at least ``overlap``.

    The overlap is the intersection over the union. Each predicted segment is compared with the true
    one that it overlaps most, the first of equals; a true segment is found once (Lea et al. 2017,
    "Temporal convolutional networks for action segmentation and detection", section 4.1).
    """
    guess, truth = (segments_of(labels).without(BACKGROUND) for labels in (predicted, true))
    taken = np.zeros(len(truth.labels), bool)
    for label, start, end in zip(*guess, strict=True):
        if not len(taken):
            break
        shared = np.minimum(end, truth.ends) - np.maximum(start, truth.starts)
        covered = np.maximum(end, truth.ends) - np.minimum(start, truth.starts)
        ratios = np.where(truth.labels == label, shared / covered, -1.0)
        best = int(ratios.argmax())
        if ratios[best] >= overlap:
            taken[best] = True  # a second segment on a taken one counts as wrong
    found = int(taken.sum())
    return Counts(found, len(guess.labels) - found, len(truth.labels) - found)


def overlap_name(overlap: float) -> str:
    """Returns the name of the F1 score at an overlap: "F1@50"."""
    return f"F1@{round(100 * overlap)}"


def video_scores(
    predicted: np.ndarray, true: np.ndarray, overlaps: Sequence[float] = OVERLAPS
) -> dict[str, float]:
    """Returns every score of one video: labels (T,) of both. NaN: no second to count."""
    return {
        "accuracy": accuracy(predicted, true),
        "foreground_accuracy": foreground_accuracy(predicted, true),
        "edit": edit_score(predicted, true),
        **{overlap_name(o): overlap_counts(predicted, true, o).f1 for o in overlaps},
    }


def mean_scores(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Returns the mean of each score over those that are not NaN; NaN without any."""
    names = scores[0] if scores else ()
    found = {name: [one[name] for one in scores if not np.isnan(one[name])] for name in names}
    return {name: float(np.mean(x)) if x else float("nan") for name, x in found.items()}


def mean_over_videos(
    predicted: Sequence[np.ndarray],
    true: Sequence[np.ndarray],
    overlaps: Sequence[float] = OVERLAPS,
) -> dict[str, float]:
    """Returns the mean over the videos of a split, as Lea et al. 2017 report their scores."""
    pairs = zip(predicted, true, strict=True)
    return mean_scores([video_scores(*pair, overlaps) for pair in pairs])


def pooled(
    predicted: Sequence[np.ndarray],
    true: Sequence[np.ndarray],
    overlaps: Sequence[float] = OVERLAPS,
) -> dict[str, float]:
    """Returns accuracies over the seconds and F1 over the segments of all videos together.

    So COIN's frame accuracy (Tang et al. 2019) and the scores of MS-TCN (Abu Farha and Gall 2019)
    are counted; the edit score is a mean over videos there too.
    """
    every = np.concatenate(predicted), np.concatenate(true)
    scores = {"accuracy": accuracy(*every), "foreground_accuracy": foreground_accuracy(*every)}
    for overlap in overlaps:
        pairs = zip(predicted, true, strict=True)
        counts = [overlap_counts(p, t, overlap) for p, t in pairs]
        scores[overlap_name(overlap)] = Counts(*(sum(x) for x in zip(*counts, strict=True))).f1
    return scores
