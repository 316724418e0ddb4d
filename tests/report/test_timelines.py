"""Bars in time: scales, marks, colours and the choice of videos."""

from __future__ import annotations

from paddlevideo.report import timelines


def test_bars_are_scaled_to_the_length_of_the_video():
    video = timelines.VideoBars("v", 200, {"true": [timelines.Bar(50, 100, "cut")]})
    drawing = timelines.drawing_of(video, {"cut": "#123456"})
    (shape,) = drawing["lanes"][0]["shapes"]
    assert (shape["x"], shape["width"], shape["colour"]) == (250, 250, "#123456")
    assert shape["text"] == "cut, 0:50 to 1:40"
    assert [label for _, label in drawing["ticks"]][:3] == ["0:00", "0:30", "1:00"]


def test_times_have_hours_where_there_are_some():
    assert timelines.clock(59.9) == "0:59"
    assert timelines.clock(3845) == "1:04:05"
    assert len(timelines.ticks(4 * 3600, 1.0)) <= 11


def test_colours_differ():
    colours = timelines.colours_of([str(i) for i in range(40)])
    assert len(set(colours.values())) == 40


def test_half_of_the_videos_are_the_worst_ones():
    chosen = timelines.spread([float(i) for i in range(100)][::-1], 4)
    assert chosen == [99, 98, 97, 0]
    assert sorted(timelines.spread([3.0, 1.0], 20)) == [0, 1]
    assert timelines.spread([], 20) == []
