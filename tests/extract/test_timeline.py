"""Time stamps of frames: constant, variable, and unusable ones."""

import numpy as np
import pytest

from paddlevideo.extract.timeline import Timeline


def test_a_constant_rate_needs_no_stamps():
    for jitter in (0.0, 0.004):  # stamps of milliseconds are rounded
        times = np.arange(50) / 25 + jitter * (np.arange(50) % 2)
        timeline = Timeline.of(times, 25.0)
        assert (timeline.count, timeline.ticks, timeline.seconds) == (50, None, 2.0)
    assert [timeline.first_from(second) for second in (0, 0.041, 1.0, 9.0)] == [0, 2, 25, 50]
    assert [timeline.shown_at(tick) for tick in (-1, 0.9, 24.0, 99)] == [0, 0, 24, 49]


def test_stamps_say_when_frames_are_shown():
    timeline = Timeline.of([0, 1, 2, 2.5, 3], 10.0)
    assert timeline.count == 5 and timeline.seconds == pytest.approx(3.75)
    assert [timeline.first_from(second) for second in (0, 0.5, 2.5, 3.1)] == [0, 1, 3, 5]
    assert [timeline.shown_at(second * 10) for second in (0.9, 1.0, 2.7, 50)] == [0, 1, 3, 4]
    assert not timeline.differs(3, 2.5) and timeline.differs(3, 3.0) and timeline.differs(5, 4.0)


def test_frames_are_coded_in_another_order_than_they_are_shown():
    times = np.array([0, 4, 2, 1, 3, 8, 6, 5, 7]) / 25
    assert Timeline.of(times, 25.0) == Timeline(9, 25.0)
    assert Timeline.of(times * 3, 25.0).ticks.tolist() == pytest.approx(list(range(0, 27, 3)))


@pytest.mark.parametrize(
    "times",
    [
        [0.0] * 20,
        [float("nan")] * 20,
        [number / 25 % 2 for number in range(100)],  # joined recordings: the clock begins again
    ],
)
def test_stamps_that_cannot_be(times):
    assert Timeline.of(times, 25.0) is None


def test_the_last_frames_that_a_decoder_gives_lack_a_time():
    times = [*(number / 25 for number in range(38)), 0.0, 0.0]
    assert Timeline.of(times, 25.0, is_decoded=True) == Timeline(40, 25.0)
    assert Timeline.of(times[:15] + [0.0] * 25, 25.0, is_decoded=True) is None


def test_a_single_frame():
    assert Timeline.of([0.0], 25.0) == Timeline(1, 25.0)
