"""The picture of the curves: what is in it, and that lines are where their values are."""

import os
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from paddlevideo.report import curves, figures
from paddlevideo.report.curves import (
    Kind,
    Line,
    Panel,
    draw_panel,
    panels_of_many,
    panels_of_one,
    smoothed,
    spans_decades,
    write_curves,
)
from paddlevideo.report.figures import BLACK, BLUE, COLOURS, ORANGE, short
from paddlevideo.report.history import History, Series

pytestmark = pytest.mark.usefixtures("rendered")
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
    (rates,) = (p for p in panels_of_one(history(**low)) if p.title == "Learning rate")
    assert [line.name for line in rates.lines] == ["lowest", "highest"]
    assert rates.kind.may_be_log and not rates.kind.from_zero


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
        "Total loss",
        "Text loss",
        "Word accuracy",
        "Validation, text to video: R@1",
        "Learning rate",
        "Gradient norm",
        "Speed",
    ]
    assert panels["Word accuracy"].kind.unit == "% correct"
    assert [line.colour for line in panels["Total loss"].lines] == list(COLOURS[:3])
    assert [line.colour for line in panels["Text loss"].lines] == [COLOURS[0], COLOURS[2]]


@pytest.mark.parametrize(
    ("name", "one", "many"),
    [
        ("retrieval_loss", "Loss", "Retrieval loss"),
        ("valid.video_to_text.R@128", "Validation: video to text",
         "Validation, video to text: R@128"),
        ("valid.text_to_video.MedianR", "Validation: median rank",
         "Validation, text to video: median rank"),
        ("valid.text_to_video.MeanR", None, None),
        ("valid.first_stage.text_to_video.R@1", None, None),
        ("valid.similarity_weight", "Validation", "Validation: similarity weight"),
        ("valid.text_loss", "Validation", "Validation: text loss"),
        ("lr", "Learning rate", "Learning rate"),
        ("lr_lowest", "Learning rate", None),
        ("loss_scale", "Loss scale", None),
        ("memory_mb", None, None),
    ],
)  # fmt: skip
def test_every_number_has_its_chart(name, one, many):
    run = History("a", {name: Series(np.arange(1, 4), np.ones(3))}, 3, 1)
    assert [panel.title for panel in panels_of_one(run)] == [one] * (one is not None)
    assert [panel.title for panel in panels_of_many([run])] == [many] * (many is not None)


def size_of(path):
    with Image.open(path) as image:
        assert image.format == "PNG"
        return image.size


def test_the_file_is_a_picture_of_all_charts(tmp_path):
    path = tmp_path / "new" / "curves.png"
    write_curves(path, [history()])
    width, height = size_of(path)
    assert width == pytest.approx(125 * 3 * curves.WIDTH, abs=1)
    assert height > 125 * 2 * curves.HEIGHT, "two rows of charts"
    write_curves(path, [history("a"), history("b")])
    assert size_of(path)[1] > 125 * 3 * curves.HEIGHT, "three rows"


def drawn(lines, title="Title", **how):
    """The axes of a chart, drawn."""
    with figures.drawing(title):
        figure = Figure()
        axes = figure.subplots()
        last = max(float(line.x.max()) for line in lines)
        draw_panel(axes, Panel(title, lines, Kind(title, "", "unit", **how)), last)
        figure.canvas.draw()
    return axes


def test_a_line_is_where_its_values_are():
    steps = np.arange(100.0)
    up = Line("up", steps, steps, BLUE)
    down = Line("down", steps, 99 - steps, ORANGE)
    axes = drawn([up, down], from_zero=True)
    rising, falling = axes.get_lines()
    assert (rising.get_color(), falling.get_color()) == (BLUE, ORANGE)
    np.testing.assert_array_equal(rising.get_xydata(), np.stack([steps, steps], axis=1))
    np.testing.assert_array_equal(falling.get_ydata(), 99 - steps)
    assert axes.get_xlim() == (0, pytest.approx(1.02 * 99)) and axes.get_ylim()[0] == 0


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
        line = Line("any " * 40, np.arange(len(values)), values, BLUE)
        axes = drawn([line] * 7, "title " * 30, smooth=smooth, may_be_log=may_be_log)
        assert np.isfinite(axes.get_ylim()).all()


def test_the_smooth_curve_is_the_mean_around_and_keeps_a_straight_line():
    x = np.arange(400.0)
    np.testing.assert_allclose(smoothed(3 * x + 1)[10:-10], (3 * x + 1)[10:-10])
    noise = np.random.default_rng(0).normal(size=400)
    calm = smoothed(noise)
    assert calm[200] == pytest.approx(noise[190:211].mean())
    assert calm[0] == pytest.approx(noise[:11].mean())
    np.testing.assert_array_equal(smoothed(noise[:39]), noise[:39])
    jumping = drawn([Line("", x, noise, BLUE)]).get_lines()
    np.testing.assert_array_equal(jumping[0].get_ydata(), noise)


def test_very_many_points_are_drawn_and_a_few_far_ones_do_not_set_the_axis():
    x, y = np.arange(60_000), np.random.default_rng(0).normal(size=60_000)
    y[::1000] = 1e6
    low, high = drawn([Line("noise", x, y, BLUE)], smooth=True).get_ylim()
    assert -300 < low < high < 3000


def test_axes():
    def ends(values, **how):
        return drawn([Line("", np.arange(2), np.array(values), BLUE)], **how).get_ylim()

    assert ends([1.0, 10.0], from_zero=True) == pytest.approx((0.0, 10.45))
    assert ends([-1.0, 10.0], from_zero=True) == pytest.approx((-1.55, 10.55))
    assert ends([2.0, 2.0]) == pytest.approx((1.8, 2.2))
    assert ends([0.0, 0.0], from_zero=True) == (0.0, 1.0)
    assert not spans_decades(np.array([1.0, 10.0]))
    assert spans_decades(np.array([1.0, 100.0]))
    assert not spans_decades(np.array([0.0, 0.0, 100.0]))
    values = np.array([0.02, 3.0])
    axes = drawn([Line("", values, values, BLUE)], may_be_log=True)
    assert axes.get_yscale() == "log"
    shown = [label.get_text() for label in axes.get_yticklabels()]
    assert {"0.02", "0.05", "0.1", "0.2", "0.5", "1", "2"} <= set(shown)


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


def test_a_run_without_any_number_has_a_picture_without_charts(tmp_path):
    write_curves(tmp_path / "curves.png", [History("a", {}, 3, 1)])
    assert size_of(tmp_path / "curves.png")


def test_a_dollar_is_a_dollar_and_hostile_names_are_only_text(tmp_path):
    names = (
        "costs $5 and $6",
        "$\\frac{1}{0}$",
        "<b>\n\x1b[31m",
        "x" * 5000,
        "\ud83d",
        "%s %(a)s {0}",
    )
    write_curves(tmp_path / "curves.png", [history(name) for name in names])
    assert size_of(tmp_path / "curves.png")[0] > 1000


DRAW = """
import sys
from pathlib import Path
import numpy as np
from paddlevideo.report.curves import write_curves
from paddlevideo.report.history import History, Series
steps = np.arange(1, 4)
write_curves(Path(sys.argv[1]), [History("a", {"loss": Series(steps, 1 / steps)}, 3, 1)])
"""
STATE = """
import logging, os, matplotlib
state = dict(matplotlib.rcParams.copy()), dict(os.environ), logging.getLogger("matplotlib").level
"""
NOTEBOOK = f"""
import matplotlib
matplotlib.rcParams["font.size"] = 33
{STATE}
before = state
{DRAW}
{STATE}
assert before == state
assert "matplotlib.pyplot" not in sys.modules
"""


@pytest.mark.parametrize(("code", "config"), [(NOTEBOOK, "settings"), (DRAW, "/proc/none")])
def test_drawing_leaves_a_notebook_as_it_was_and_prints_nothing(tmp_path, code, config):
    """Also where matplotlib has no folder for its settings and its list of fonts."""
    config = str(tmp_path / config)
    environment = os.environ | {"MPLCONFIGDIR": config, "HOME": config}
    command = [sys.executable, "-c", code, str(tmp_path / "curves.png")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert size_of(tmp_path / "curves.png")
