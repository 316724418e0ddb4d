"""Encoded videos that are kept in memory while they are in use."""

import numpy as np
import paddle
import pytest

from paddlevideo.modeling.match_scorer import VideoCache
from paddlevideo.retrieval.recent import RecentVideos


class Source:
    """Videos whose content is their position; notes which are read."""

    def __init__(self):
        self.read = []

    def take(self, positions):
        self.read.append(positions.tolist())
        return {"at": np.asarray(positions, np.float32)}


def encode(videos):
    states = paddle.to_tensor(videos["at"]).reshape([-1, 1, 1])
    return VideoCache(states, states, None, None, (states + 1,), None, states, states, None)


#: Bytes of one video of :func:`encode`.
ONE = encode({"at": np.zeros(1, np.float32)}).nbytes


@pytest.fixture
def source():
    return Source()


def taken(videos, *positions):
    cache = videos.take(np.array(positions))
    assert cache.action_queries[0].numpy().ravel().tolist() == [at + 1 for at in positions]
    return cache.state.numpy().ravel().tolist()


def test_only_those_that_are_missing_are_read(source):
    videos = RecentVideos(encode, source, gigabytes=1)
    assert taken(videos, 3, 1, 7) == [3, 1, 7]
    assert taken(videos, 7, 2, 3) == [7, 2, 3]
    assert taken(videos, 1, 2) == [1, 2]
    assert source.read == [[3, 1, 7], [2]]


def test_those_used_last_are_kept(source):
    videos = RecentVideos(encode, source, gigabytes=3.5 * ONE / 1e9)
    taken(videos, 0, 1, 2)
    taken(videos, 0)
    taken(videos, 5)
    assert len(videos) == 3
    taken(videos, 0, 2, 5)
    assert source.read == [[0, 1, 2], [5]], "1 was used longest ago"
    assert taken(videos, 1, 0) == [1, 0]
    assert source.read[-1] == [1]


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_more_than_fit_are_read_again(source, kept):
    videos = RecentVideos(encode, source, gigabytes=(kept + 0.5) * ONE / 1e9)
    for _ in range(2):
        assert taken(videos, 0, 1, 2, 3) == [0, 1, 2, 3]
        assert len(videos) == kept
    assert len(source.read[1]) == 4 - kept
