"""The curves of training runs in one picture: of one run by kind, of several a chart a number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from paddlevideo.files.whole import write_whole
from paddlevideo.report.history import History
from paddlevideo.report.plot import Colour, Line, Panel, picture

#: Okabe and Ito's colours, which the colour-blind tell apart, and black.
BLACK, BLUE, ORANGE, GREEN = (30, 30, 30), (0, 114, 178), (230, 159, 0), (0, 158, 115)
PURPLE, RED, SKY = (204, 121, 167), (213, 94, 0), (86, 180, 233)
COLOURS: tuple[Colour, ...] = (BLUE, ORANGE, GREEN, PURPLE, RED, SKY, BLACK)

#: A task has one colour, whether as loss or as accuracy; a total is black.
TASKS = {"text": BLUE, "word": BLUE, "region": ORANGE, "action": GREEN, "match": PURPLE}
TASKS |= {"contrast": RED, "retrieval": SKY, "loss": BLACK}
WAYS = {"text_to_video": "text to video", "video_to_text": "video to text"}


#: Runs that can be told apart in one picture.
MOST_RUNS = len(COLOURS)


def write_curves(path: Path, histories: Sequence[History]) -> None:
    """Writes the curves of one run, or of up to ``MOST_RUNS`` side by side, as a PNG.

    The file is written whole or not at all.
    """
    if len(histories) == 1:
        (one,) = histories
        image = picture(one.name, length_of(one), list(panels_of_one(one)))
    else:
        runs = [
            Line(f"{one.name}: {length_of(one)}", np.zeros(1), np.zeros(1), colour)
            for one, colour in zip(histories, COLOURS, strict=False)
        ]
        panels = list(panels_of_many(histories))
        image = picture(
            f"{len(histories)} runs", "beside each colour: the last value", panels, runs
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda partial: image.save(partial, "PNG"))


def length_of(history: History) -> str:
    """How far a run came, for people."""
    steps = f"{history.steps:,} optimizer step{'s' * (history.steps != 1)}"
    return f"{steps}, epoch {history.epochs}" if history.epochs else steps


def panels_of_one(history: History) -> Iterator[Panel]:
    """A chart for each kind of number that a run has logged."""
    names = list(history.series)

    def panel(title: str, found: Sequence[str], unit: str = "", **how: bool) -> Iterator[Panel]:
        smooth = how.pop("smooth", False)
        for first in range(0, len(found), len(COLOURS)):  # more could not be told apart
            part = found[first : first + len(COLOURS)]
            lines = [
                line_of(history, name, spoken(name), colour, smooth)
                for name, colour in zip(part, colours_of(part), strict=True)
            ]
            yield Panel(title, lines, unit, **how)

    losses = [name for name in names if name.endswith("loss") and "." not in name]
    accuracies = [name for name in names if name.endswith("_accuracy") and "." not in name]
    yield from panel("Loss", losses, smooth=True, may_be_log=True)
    yield from panel("Accuracy", accuracies, "% right", smooth=True, from_zero=True)
    for way, words in WAYS.items():
        recalls = [name for name in names if name.startswith(f"valid.{way}.R@")]
        yield from panel(f"Validation: {words}", recalls, "% found", from_zero=True)
    ranks = [f"valid.{way}.MedianR" for way in WAYS]
    yield from panel("Validation: median rank", [n for n in ranks if n in names], may_be_log=True)
    yield from panel("Validation", other_validations(names), may_be_log=True)
    rates = ["lr_lowest", "lr_highest"] if "lr_lowest" in names else ["lr"]
    rates = [name for name in rates if name in names]
    yield from panel("Learning rate", rates, from_zero=True, may_be_log=len(rates) > 1)
    norms = [name for name in ("grad_norm",) if name in names]
    yield from panel("Gradient norm", norms, "before clipping", smooth=True, may_be_log=True)
    scales = [name for name in ("loss_scale",) if name in names]
    yield from panel("Scale of the loss", scales, may_be_log=True)
    speeds = [name for name in ("ips",) if name in names]
    yield from panel("Speed", speeds, "samples/s", smooth=True, from_zero=True)


def panels_of_many(histories: Sequence[History]) -> Iterator[Panel]:
    """A chart for each number, a line for each run."""
    names = list(dict.fromkeys(name for history in histories for name in history.series))
    for name in filter(is_compared, names):
        lines = [
            line_of(history, name, "", colour, jumps(name))
            for history, colour in zip(histories, COLOURS, strict=False)
            if name in history.series
        ]
        from_zero = name in ("ips", "lr") or is_share(name)
        yield Panel(title_of(name), lines, UNITS.get(name, ""), from_zero, not from_zero)


def is_compared(name: str) -> bool:
    """Whether a number has a chart where runs are compared."""
    if "." not in name:
        return name in TITLES or name.endswith(("loss", "_accuracy"))
    ranking = any(name.startswith(f"valid.{way}.") for way in WAYS)
    return (ranking and not name.endswith("MeanR")) or bool(other_validations([name]))


#: Of numbers without a word of their own.
TITLES = {"lr": "Learning rate", "grad_norm": "Gradient norm", "ips": "Speed"}
UNITS = {"ips": "samples/s", "grad_norm": "before clipping"}


def line_of(history: History, name: str, spoken_as: str, colour: Colour, smooth: bool) -> Line:
    """A curve of a run; accuracies in percent."""
    series = history.series[name]
    factor = 100.0 if name.endswith("_accuracy") else 1.0
    return Line(spoken_as, series.steps, factor * series.values, colour, smooth)


def other_validations(names: Sequence[str]) -> list[str]:
    """Validations that are neither recalls nor ranks, such as losses; no parts of others."""
    return [name for name in names if name.startswith("valid.") and name.count(".") == 1]


def is_share(name: str) -> bool:
    """Whether the number is in percent."""
    return name.endswith("_accuracy") or ".R@" in name


def jumps(name: str) -> bool:
    """Whether a number jumps from interval to interval, so that its mean says more."""
    return not name.startswith(("valid.", "lr"))


def spoken(name: str) -> str:
    """A name within a chart that says the rest."""
    last = name.rpartition(".")[2]
    if last == "MedianR":
        return WAYS[name.split(".")[1]]
    names = {"lr_lowest": "lowest", "lr_highest": "highest", "loss": "total"}
    names |= dict.fromkeys(("lr", "grad_norm", "ips", "loss_scale"), "")
    return names.get(name, last.removesuffix("_loss").removesuffix("_accuracy"))


def title_of(name: str) -> str:
    """The title of a chart that holds one number."""
    if name in TITLES:
        return TITLES[name]
    parts = name.removeprefix("valid.").split(".")
    words = ": ".join(WAYS.get(part, part) for part in parts).replace("_", " ")
    before = "Validation, " if name.startswith("valid.") else ""
    unit = ", %" if is_share(name) else ""
    return before + (words if before else words[:1].upper() + words[1:]) + unit


def colours_of(names: Sequence[str]) -> list[Colour]:
    """A task's own colour for each name if all have one, else one after the other."""
    own = [TASKS.get(name if name == "loss" else spoken(name)) for name in names]
    if all(own):
        return [colour for colour in own if colour]
    return list(COLOURS[: len(names)])
