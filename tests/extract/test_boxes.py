"""Suppression, class distributions and PicoDet's heads, on made-up numbers."""

import numpy as np
import pytest

from paddlevideo.extract.boxes import inside, overlaps, suppress, suppress_by_class, with_none
from paddlevideo.extract.picodet import decode_heads, expectations, grid_centres
from paddlevideo.utils.errors import DataError

BOXES = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [20, 20, 30, 30], [0, 0, 10, 10]], float)


def test_overlaps_are_shares_of_the_union():
    np.testing.assert_allclose(overlaps(BOXES[0], BOXES), [1, 90 / 110, 0, 1])
    empty = np.array([[5.0, 5.0, 5.0, 5.0]])
    assert overlaps(empty[0], empty)[0] == 0


def test_of_boxes_that_overlap_the_best_stays():
    scores = np.array([0.5, 0.9, 0.3, 0.9])
    assert suppress(BOXES, scores, 0.5).tolist() == [1, 2]
    assert suppress(BOXES, scores, 0.9).tolist() == [1, 3, 2], "0.82 is no more than 0.9"
    assert suppress(BOXES[:0], scores[:0], 0.5).tolist() == []


def test_boxes_of_other_classes_do_not_suppress():
    scores = np.array([[0.8, 0.1], [0.2, 0.7], [0.1, 0.2], [0.6, 0.0]])
    assert suppress_by_class(BOXES, scores, 0.4, 0.5).tolist() == [0, 1]
    assert suppress_by_class(BOXES, scores, 0.15, 0.5).tolist() == [0, 1, 2]
    assert suppress_by_class(BOXES, scores, 0.95, 0.5).tolist() == []
    assert suppress_by_class(BOXES[:0], np.empty((0, 2)), 0.4, 0.5).tolist() == []


def test_a_distribution_gives_none_what_the_best_class_leaves():
    rows = with_none(np.array([[0.6, 0.3], [0.0, 0.0], [1.2, 0.0], [0.5, 0.5]]))
    np.testing.assert_allclose(rows.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(rows[:, -1], [0.4, 1.0, 0.0, 0.5], atol=1e-6)
    assert rows[0, 0] == pytest.approx(0.6 * 0.36 / 0.45)
    # Many small scores do not outweigh the one that counts.
    wide = with_none(np.array([[0.6] + [0.03] * 79]))
    assert wide[0, 0] > 0.5


def test_boxes_are_cut_at_the_edges():
    cut = inside(np.array([[-3.0, 2.0, 70.0, 50.0]]), 48, 64)
    assert cut.tolist() == [[0, 2, 64, 48]] and cut.dtype == np.float32


# ----------------------------------------------------------------------------- picodet


def heads(bins: int = 8):
    """Two strides of a 32 x 64 input; one cell of the second says 1, 2, 3 and 1.5 strides."""
    strides, size = [16, 32], (32, 64)
    cells = [len(grid_centres(stride, size)) for stride in strides]
    distances = [np.zeros((1, count, 4 * bins), np.float32) for count in cells]
    scores = [np.zeros((1, count, 3), np.float32) for count in cells]
    scores[1][0, 1, 2] = 0.9
    side = distances[1][0, 1].reshape(4, bins)
    for number, distance in enumerate([1, 2, 3]):
        side[number, distance] = 60
    side[3, 1] = side[3, 2] = 60
    return scores, distances, strides, size


def test_a_cell_becomes_a_box_around_its_centre():
    boxes, scores = decode_heads(*heads())
    assert len(boxes) == 2 * 4 + 2 and scores.shape == (10, 3)
    best = int(scores.max(axis=1).argmax())
    assert best == 9 and scores[best].argmax() == 2
    # The second cell of stride 32 has its centre at (48, 16).
    np.testing.assert_allclose(boxes[best], [48 - 32, 16 - 64, 48 + 96, 16 + 48], atol=1e-4)


def test_an_even_distribution_has_its_mean_in_the_middle():
    assert expectations(np.zeros((2, 8))).tolist() == [3.5, 3.5]
    assert expectations(np.array([1e4, 0.0])).tolist() == 0.0


def test_cells_that_a_stride_cuts_count():
    assert len(grid_centres(64, (416, 416))) == 49
    assert grid_centres(8, (16, 24))[:4].tolist() == [[4, 4], [12, 4], [20, 4], [4, 12]]


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda s, d: (s, d[::-1]), "cells with four distributions each were expected"),
        (lambda s, d: (s[::-1], d), "do not fit the boxes"),
        (lambda s, d: (s, [each[..., :30] for each in d]), "four distributions"),
    ],
)
def test_heads_that_do_not_fit_are_named(change, message):
    scores, distances, strides, size = heads()
    with pytest.raises(DataError, match=message):
        decode_heads(*change(scores, distances), strides, size)
