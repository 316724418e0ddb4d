"""The picture of the curves: what is in it, and that lines are where their values are."""

import math

import numpy as np
import pytest
from PIL import Image

from paddlevideo.report import plot
from paddlevideo.report.axes import Axis, short, value_axis
from paddlevideo.report.curves import (
    BLACK,
    BLUE,
    COLOURS,
    ORANGE,
    panels_of_many,
    panels_of_one,
    write_curves,
)
from paddlevideo.report.history import History, Series
from paddlevideo.report.plot import Line, Panel, band, draw_panel, smoothed

RECALL = "valid.text_to_video.R@1"


def history(name="Tiny", points=50, **values):
    """A run in which every number falls from 1 to 0.5, unless it is given."""
    steps = np.arange(1, points + 1) * 10
    names = ("loss", "text_loss", "word_accuracy", "lr", "grad_norm", "ips", "memory_mb", RECALL)
    falling = {number: np.linspace(1.0, 0.5, points) for number in names} | values
    series = {key: Series(steps, value) for key, value in falling.items()}
    return History(name, series, int(steps[-1]), 2)


def test_one_run_has_a_chart_for_each_kind():
    panels = list(panels_of_one(history()))
    assert [panel.title for panel in panels] == [
        "Loss",
        "Accuracy",
        "Validation: text to video",
        "Learning rate",
        "Gradient norm",
        "Speed",
    ]
    loss, accuracy = panels[0].lines, panels[1].lines
    assert [(line.name, line.colour) for line in loss] == [("total", BLACK), ("text", BLUE)]
    assert [(line.name, line.colour) for line in accuracy] == [("word", BLUE)]
    assert accuracy[0].y[0] == 100.0, "in percent"


def test_rates_that_differ_are_both_shown():
    low = {"lr_lowest": np.full(50, 1e-6), "lr_highest": np.full(50, 1e-3)}
    rates = next(p for p in panels_of_one(history(**low)) if p.title == "Learning rate")
    assert [line.name for line in rates.lines] == ["lowest", "highest"]


def test_more_lines_than_colours_make_more_charts():
    terms = {f"term{number}_loss": np.ones(50) for number in range(9)}
    losses = [panel for panel in panels_of_one(history(**terms)) if panel.title == "Loss"]
    assert [len(panel.lines) for panel in losses] == [7, 4]
    for panel in losses:
        assert len({line.colour for line in panel.lines}) == len(panel.lines)


def test_several_runs_have_a_chart_for_each_number():
    runs = [history("a"), history("b", valid=np.ones(50)), history("c")]
    del runs[1].series["text_loss"]
    panels = {panel.title: panel for panel in panels_of_many(runs)}
    assert list(panels) == [
        "Loss",
        "Text loss",
        "Word accuracy, %",
        "Learning rate",
        "Gradient norm",
        "Speed",
        "Validation, text to video: R@1, %",
    ]
    assert [line.colour for line in panels["Loss"].lines] == list(COLOURS[:3])
    assert [line.colour for line in panels["Text loss"].lines] == [COLOURS[0], COLOURS[2]]


def test_the_file_is_a_picture_of_all_charts(tmp_path):
    path = tmp_path / "new" / "curves.png"
    write_curves(path, [history()])
    with Image.open(path) as image:
        assert (image.format, image.width) == ("PNG", 24 + 3 * (plot.WIDTH + 24))
        assert image.height == plot.HEAD + 2 * (plot.HEIGHT + 24)
    write_curves(path, [history("a"), history("b")])
    with Image.open(path) as image:
        assert image.height == plot.HEAD + 2 * plot.LEGEND + 3 * (plot.HEIGHT + 24)


def rows_of(image, colour):
    """Where ``colour`` is on average, for each column that has it: {x: y}."""
    near = np.abs(np.asarray(image).astype(int) - colour).sum(axis=-1) < 60
    near[:45] = False  # title and legend
    return {x: near[:, x].nonzero()[0].mean() for x in near.any(axis=0).nonzero()[0]}


def test_a_line_is_where_its_values_are():
    steps = np.arange(100.0)
    up = Line("up", steps, steps, BLUE)
    down = Line("down", steps, 99 - steps, ORANGE)
    image = draw_panel(Panel("Both", [up, down], from_zero=True))
    rising, falling = rows_of(image, BLUE), rows_of(image, ORANGE)
    first, last = min(rising), max(rising)
    assert first < 50 and last > plot.WIDTH - 30
    assert rising[first + 3] > rising[last - 3] + 150
    assert falling[min(falling) + 3] < falling[max(falling) - 3] - 150
    middle = (first + last) // 2
    assert rising[middle - 20] == pytest.approx(falling[middle + 20], abs=5), "they cross"


@pytest.mark.parametrize(
    "values",
    [
        np.zeros(5),
        np.full(5, 3.0),
        np.array([7.0]),
        np.array([-3.0, 2.0, 1e-9]),
        10.0 ** np.arange(-30, 30, 6),
        np.array([0.0, 1e12]),
    ],
)
@pytest.mark.parametrize("may_be_log", [True, False])
def test_any_numbers_can_be_drawn(values, may_be_log):
    for smooth in (True, False):
        line = Line("any " * 40, np.arange(len(values)), values, BLUE, smooth)
        panel = Panel("title " * 30, [line] * 7, "unit", may_be_log=may_be_log)
        assert draw_panel(panel).size == (plot.WIDTH, plot.HEIGHT)


def test_the_smooth_curve_is_the_mean_around_and_keeps_a_straight_line():
    x = np.arange(400.0)
    inner = smoothed(Line("", x, 3 * x + 1, BLUE, smooth=True))[10:-10]
    np.testing.assert_allclose(inner, (3 * x + 1)[10:-10])
    noise = np.random.default_rng(0).normal(size=400)
    calm = smoothed(Line("", x, noise, BLUE, smooth=True))
    assert calm[200] == pytest.approx(noise[190:211].mean())
    assert calm[0] == pytest.approx(noise[:11].mean())
    np.testing.assert_array_equal(smoothed(Line("", x, noise, BLUE)), noise)


def test_very_many_points_become_a_band():
    x = np.arange(60_000)
    steps, values = band(x, np.where(x % 2, 1.0, -1.0))
    assert len(steps) == len(values) == 2 * plot.MOST
    assert (values[::2] == -1).all() and (values[1::2] == 1).all()


def test_axes():
    assert value_axis(np.array([1.0, 10.0]), from_zero=True) == Axis(0.0, 10.5)
    assert not value_axis(np.array([1.0, 10.0]), may_be_log=True).logarithmic
    assert value_axis(np.array([1.0, 100.0]), may_be_log=True).logarithmic
    assert not value_axis(np.array([0.0, 0.0, 100.0]), may_be_log=True).logarithmic
    assert Axis(0.0, 105.0).ticks() == [0, 20, 40, 60, 80, 100]
    assert Axis(0.02, 3.0, logarithmic=True).ticks() == pytest.approx(
        [0.02, 0.05, 0.1, 0.2, 0.5, 1, 2]
    )
    places = Axis(1.0, 100.0, logarithmic=True).place(np.array([1.0, 10.0, 100.0, 0.0]))
    assert places[:3] == pytest.approx([0, 0.5, 1]) and math.isnan(places[3])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.25, "0.25"),
        (3e-5, "3e-5"),
        (2.7e-9, "2.7e-9"),
        (1500, "1,500"),
        (20_000, "20k"),
        (2.5e6, "2.5M"),
        (1e24, "1e24"),
        (-1, "-1"),
    ],
)
def test_numbers_are_short(value, text):
    assert short(value) == text
