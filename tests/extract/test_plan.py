"""Clips and frames of a video, from counts and times alone."""

import pytest

from paddlevideo.extract.plan import pieces_of, plan
from paddlevideo.extract.settings import load_settings
from paddlevideo.extract.timeline import Timeline
from paddlevideo.extract.videos import Row, clip_id


def at(count, rate=25.0):
    return Timeline(count, rate)


def names(pieces):
    return [piece.id for piece in pieces]


def test_a_video_is_one_clip_unless_pieces_are_asked_for():
    (piece,) = pieces_of([Row("a")], at(250), None)
    assert (piece.id, piece.first, piece.stop, piece.start, piece.end) == ("a", 0, 250, None, None)


def test_a_long_video_is_cut_and_a_short_rest_stays_with_the_piece_before():
    pieces = pieces_of([Row("a")], at(270), 5.0)
    assert names(pieces) == ["a_0_5", "a_5_10.8"]
    assert [(piece.first, piece.stop) for piece in pieces] == [(0, 125), (125, 270)]
    assert names(pieces_of([Row("a")], at(325), 5.0)) == ["a_0_5", "a_5_10", "a_10_13"]
    assert names(pieces_of([Row("a")], at(30), 5.0)) == ["a_0_1.2"]


def test_a_row_names_seconds_of_its_video():
    rows = [Row(clip_id("a", 2.0, 4.0), 2.0, 4.0), Row("late", 20.0, 30.0), Row("b", 8.0)]
    pieces = pieces_of(rows, at(250), None)
    assert names(pieces) == ["a_2_4", "b"], "a clip after the end is left out"
    assert (pieces[0].first, pieces[0].stop) == (50, 100)
    assert (pieces[1].first, pieces[1].stop, pieces[1].start, pieces[1].end) == (200, 250, 8, 10)
    assert [piece.row for piece in pieces] == [0, 2]


def test_pieces_of_a_row_lie_in_it_and_keep_the_name_of_the_video():
    rows = [Row(clip_id("a", 2.0, 8.0), 2.0, 8.0), Row("mine", 0.0, 4.0)]
    pieces = pieces_of(rows, at(250), 2.0)
    assert names(pieces) == ["a_2_4", "a_4_6", "a_6_8", "mine_0_2", "mine_2_4"]


@pytest.mark.parametrize("start, end, expected", [(None, None, "v"), (1.5, None, "v_1.5")])
def test_names_of_parts(start, end, expected):
    assert clip_id("v", start, end) == expected


@pytest.fixture
def settings():
    return load_settings("extract/classical.yaml")


def test_frames_for_regions_are_spread_and_followed(settings):
    (piece,) = pieces_of([Row("a")], at(100), None)
    found = plan(piece, at(piece.stop), settings)
    assert found.regions == [12, 37, 62, 87] and found.followers == [16, 41, 66, 91]
    assert found.middle == 62


def test_frames_for_actions_come_at_their_own_rate(settings):
    (piece,) = pieces_of([Row("a")], at(250), None)
    found = plan(piece, at(piece.stop), settings)
    assert found.interval == pytest.approx(1 / 8)
    assert [len(window) for window in found.actions] == [16] * 5, "10 seconds hold five windows"
    assert found.actions[0][0] == 1 and found.actions[-1][-1] >= 247
    assert all(sorted(window) == window for window in found.actions)


def test_a_clip_shorter_than_a_window_is_spread_over_it(settings):
    (piece,) = pieces_of([Row("a")], at(8), None)
    found = plan(piece, at(piece.stop), settings)
    assert found.actions == [[n // 2 for n in range(16)]]
    assert found.interval == pytest.approx(8 / 25 / 16)


def test_one_frame_is_enough(settings):
    (piece,) = pieces_of([Row("a")], at(1), None)
    found = plan(piece, at(piece.stop), settings)
    assert found.regions == found.followers == [0] and found.actions == [[0] * 16]


def test_what_several_rows_ask_for_is_one_piece():
    rows = [Row("a_0_2", 0.0, 2.0), Row("a_1_3", 1.0, 3.0), Row("late", 30.0, 31.0)]
    pieces = pieces_of(rows, at(250), 1.0)
    assert names(pieces) == ["a_0_1", "a_1_2", "a_2_3"]
    assert [(piece.row, piece.shared) for piece in pieces] == [(0, ()), (0, (1,)), (1, ())]


# ------------------------------------------------------------------ variable frame rates


@pytest.fixture
def recording():
    """A screen recording: a frame a second for eight seconds, then 25 a second for two."""
    times = [*range(8), *(8 + number / 25 for number in range(50))]
    return Timeline.of(times, 25.0)


def test_clips_are_found_by_time(recording):
    rows = [Row("slow", 2.0, 4.0), Row("fast", 8.0, 9.0), Row("still", 4.2, 4.6), Row("late", 11.0)]
    pieces = pieces_of(rows, recording, None)
    assert [(piece.id, piece.first, piece.stop) for piece in pieces] == [
        ("slow", 2, 4),
        ("fast", 8, 33),
        ("still", 4, 5),  # nothing begins in it, but something is shown
    ]
    assert names(pieces_of([Row("a")], recording, 5.0)) == ["a_0_5", "a_5_10"]


def test_frames_are_spread_in_time(recording, settings):
    (piece,) = pieces_of([Row("a")], recording, None)
    found = plan(piece, recording, settings)
    assert found.regions == [1, 3, 6, 26], "at 1.25, 3.75, 6.25 and 8.75 seconds"
    assert found.followers == [2, 4, 7, 30]
    (piece,) = pieces_of([Row("a", 4.0, 6.0)], recording, None)
    found = plan(piece, recording, settings)
    assert (found.regions, found.followers) == ([4, 5], [5, 4])
    assert found.actions == [[4] * 8 + [5] * 8] and found.interval == pytest.approx(1 / 8)


def test_a_clip_of_one_frame_that_is_shown_for_long(recording, settings):
    (piece,) = pieces_of([Row("a", 4.2, 4.6)], recording, None)
    found = plan(piece, recording, settings)
    assert found.regions == found.followers == [4] and found.actions == [[4] * 16]
