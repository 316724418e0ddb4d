"""Captions of similar training clips choose among those that a search found."""

import numpy as np
import paddle
import pytest

from paddlevideo.metrics.captions import References
from paddlevideo.modeling.heads.similar_captions import SimilarCaptions, all_rows
from paddlevideo.utils.errors import ConfigError
from tests.modeling.test_caption_head import END, alone, build, fitted

#: Ids of words; every caption ends with 2.
CAPTIONS = np.array([[5, 6, 7, 2, 0], [5, 6, 8, 2, 0], [9, 10, 2, 0, 0], [11, 2, 0, 0, 0]])


def text(ids):
    return " ".join(f"w{id}" for id in ids)


def test_nearest_captions_are_those_of_the_most_similar_words():
    similar = SimilarCaptions(CAPTIONS, np.eye(4)[:, :3] + 0.1, 2)
    best, weights = similar.nearest(np.array([[1.0, 0.8, -1.0], [0.0, 0.0, 2.0]]))
    assert best[0].tolist() == [0, 1] and best[1][0] == 2
    assert weights.sum(axis=1) == pytest.approx([1, 1]) and weights[0][0] > weights[0][1]


def test_ratings_are_mean_ciders_with_the_nearest():
    similar = SimilarCaptions(CAPTIONS, np.eye(4), 2)
    candidates, weights = [[5, 6, 7], [9, 10]], np.array([0.75, 0.25])
    ratings = similar.ratings(candidates, np.array([0, 1]), weights)
    references = References([[text(row[row > 0][:-1])] for row in CAPTIONS])
    for candidate, rating in zip(candidates, ratings, strict=True):
        ciders = references.cider([text(candidate)] * 4)
        assert rating == pytest.approx((0.75 * ciders[0] + 0.25 * ciders[1]) / 10)
    assert ratings[0] > ratings[1] == 0


def test_rows_of_all_ranks_are_in_order():
    index, rows = np.array([7, 0, 3]), np.array([[1, 2], [3, 4], [5, 6]])
    assert all_rows(index, rows, alone).tolist() == [[3, 4], [5, 6], [1, 2]]
    assert all_rows(np.zeros(0, np.int64), np.zeros((0, 2)), alone).shape == (0, 2)


def test_the_consensus_decides_as_much_as_its_weight_says():
    model, batches = fitted(neighbours=5, neighbour_weight=0.0)
    hints = np.zeros((1, 6), np.float32)
    found = [[(-1.0, [9, 9]), (-1.5, [50, 51]), (-1.6, [7])]]
    assert model.head.agreeing(found, hints) == found
    model.head.neighbour_weight = 100.0
    assert model.head.agreeing(found, hints)[0][0] == (-1.5, [50, 51])
    assert model.head.captions.shape == [96, 6]
    assert model.predict(batches[0], None)["words"].shape == (16, 6)
    assert END not in model.predict(batches[0], None)["words"]


def test_a_head_makes_room_for_the_captions_of_the_weights():
    model, _ = fitted(neighbours=5)
    other = build(words=12, fitted_words=6, neighbours=5)
    state = {name: x.numpy() for name, x in model.state_dict().items()}
    other.before_loading(state)
    assert other.head.captions.shape == [96, 6]
    other.set_state_dict({name: paddle.to_tensor(x) for name, x in state.items()})
    np.testing.assert_array_equal(other.head.captions.numpy(), state["head.captions"])


def test_neighbours_need_fitted_words():
    with pytest.raises(ConfigError, match="neighbours needs fitted_words"):
        build(words=12, neighbours=3)
