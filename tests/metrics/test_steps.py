"""Step localisation: the alignment against brute force, and recall on real annotations."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from paddlevideo.metrics import steps
from paddlevideo.utils.errors import DataError

SHARED = Path(__file__).parents[3] / "shared" / "data"


def best_sum(scores: np.ndarray) -> float:
    """The best sum over all ways of putting the steps on later and later seconds."""
    seconds, count = scores.shape
    ways = itertools.combinations(range(seconds), count)
    return max(scores[list(way), range(count)].sum() for way in ways)


@pytest.mark.parametrize("seed", range(30))
def test_the_ordered_alignment_is_the_best_one(seed):
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 5))
    scores = rng.normal(size=(int(rng.integers(count, 9)), count))
    if seed % 3 == 0:
        scores = scores.round()  # ties
    found = steps.align(scores)
    assert (np.diff(found) > 0).all() and found.min() >= 0 and found.max() < len(scores)
    assert scores[found, range(count)].sum() == pytest.approx(best_sum(scores))


def test_ties_take_the_earliest_seconds():
    assert steps.align(np.zeros((5, 2))).tolist() == [0, 1]
    assert steps.align(np.zeros((5, 2)), "free").tolist() == [0, 0]


def test_free_steps_may_come_in_any_order_and_share_a_second():
    scores = np.array([[0.0, 1.0], [2.0, 0.0], [1.0, 0.0]])
    assert steps.align(scores, "free").tolist() == [1, 0]
    assert steps.align(scores[:1], "free").tolist() == [0, 0]
    assert steps.align(scores, "listed").tolist() == [1, 2]


def test_log_probabilities_of_a_second_sum_to_one():
    scores = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32) * 500
    probability = np.exp(steps.log_softmax(scores))
    np.testing.assert_allclose(probability.sum(axis=1), 1)
    assert (probability.argmax(axis=1) == scores.argmax(axis=1)).all()


def test_fewer_seconds_than_steps_have_no_order():
    with pytest.raises(DataError, match="2 seconds for 3 steps"):
        steps.align(np.zeros((2, 3)))
    with pytest.raises(DataError, match="0 seconds for 3 steps"):
        steps.align(np.zeros((0, 3)), "free")


def test_recall_counts_steps_by_task():
    true = np.array([[1, 0, 0], [0, 1, 0], [0, 1, 0]], bool)
    found = steps.hits(np.array([0, 2, 1]), true)
    assert found.tolist() == [True, True, False]
    by_task = steps.recalls(["b", "a", "b", "c"], [2, 1, 0, 0], [2, 2, 2, 0])
    assert by_task == {"b": 50, "a": 50}  # c has no steps
    assert list(by_task) == ["b", "a"]
    assert steps.mean_recall({"b": 50.0, "a": 100.0}) == 75
    assert math.isnan(steps.mean_recall({}))
    assert steps.chance_hits(true) == pytest.approx(1)


def test_evenly_spaced_steps_stand_in_the_middle_of_their_parts():
    assert steps.evenly_spaced(10, 2).tolist() == [2, 8]  # 2.5 and 7.5, rounded to even
    assert steps.evenly_spaced(1, 3).tolist() == [0, 0, 0]


# --------------------------------------------------------------------- real annotations


def step_counts(path: Path) -> dict[str, int]:
    """Task cards of six lines, the last of them empty; the fourth is the number of steps."""
    lines = path.read_text("utf-8").split("\n")
    return {lines[i].strip(): int(lines[i + 3]) for i in range(0, len(lines) - 4, 6)}


def annotated(folder: Path, more: int) -> Iterator[tuple[str, np.ndarray]]:
    """Task and truth (T, K) of videos that end ``more`` seconds after their last step."""
    counts = step_counts(folder / "tasks_primary.txt")
    for path in sorted((folder / "annotations").glob("*.csv")):
        task = path.stem.split("_", 1)[0]
        rows = [line.split(",") for line in path.read_text("utf-8").split()]
        last = math.ceil(max(float(end) for _, _, end in rows))
        true = np.zeros((max(last + more, counts[task]), counts[task]), bool)
        for step, start, end in rows:
            true[math.floor(float(start)) : math.ceil(float(end)), int(step) - 1] = True
        yield task, true


def recalls_of(kind: str, more: int) -> tuple[float, float, float]:
    """Recall, mean over tasks: evenly spaced and with perfect scores; the latter by video."""
    folder = SHARED / kind
    if not folder.exists():
        pytest.skip(f"{folder} is missing")
    tasks, even, perfect, counts = [], [], [], []
    for task, true in annotated(folder, more):
        tasks.append(task)
        counts.append(int(true.any(axis=0).sum()))
        even.append(steps.hits(steps.evenly_spaced(*true.shape), true).sum())
        perfect.append(steps.hits(steps.align(true.astype(float)), true).sum())
    by_video = steps.recalls([str(video) for video in range(len(tasks))], perfect, counts)
    means = [steps.mean_recall(steps.recalls(tasks, hits, counts)) for hits in (even, perfect)]
    return (*means, steps.mean_recall(by_video))


@pytest.mark.parametrize(("more", "even"), [(0, 13.75), (30, 10.65)])
def test_yardsticks_of_crosstask(more, even):
    """How long the videos are is not in the annotations: they end with a step, or later."""
    spaced, perfect, by_video = recalls_of("crosstask", more)
    assert spaced == pytest.approx(even, abs=0.05)
    assert perfect == pytest.approx(86.4, abs=0.4)
    assert by_video == pytest.approx(86.6, abs=0.4)


def test_the_listed_order_is_not_that_of_salads():
    """Even perfect scores find half of the steps: a recipe must be able to choose the order."""
    spaced, perfect, _ = recalls_of("salads50/crosstask_form", 0)
    assert perfect < 50 and spaced < 13
