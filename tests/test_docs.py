"""docs/config.md has every key of the code with its default; other lists are complete too."""

from __future__ import annotations

import dataclasses
import inspect
import re
import runpy
from pathlib import Path
from typing import Any

import pytest
import setuptools
import yaml

from paddlevideo import registry
from paddlevideo.config import import_parts
from paddlevideo.config.settings import (
    IGNORED_SETTINGS,
    REFUSED_SETTINGS,
    AccumulationSettings,
    AmpSettings,
    DatasetSettings,
    RunSettings,
)

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "config.md").read_text("utf-8")
SETTINGS = {
    "## Run settings": RunSettings,
    "Mixed precision is the map `amp`:": AmpSettings,
    "## DATASET": DatasetSettings,
    "## GRADIENT_ACCUMULATION": AccumulationSettings,
}
REQUIRED = object()


@pytest.fixture(scope="module", autouse=True)
def parts():
    import_parts()


def documented() -> dict[str, dict[str, str]]:
    """By the line that introduces a table: its first column to its second."""
    tables: dict[str, dict[str, str]] = {}
    title = ""
    for line in TEXT.splitlines():
        if row := re.match(r"\| `(\w+)` \| (.+?) \| ", line):
            tables[title][row.group(1)] = row.group(2)
        elif line.startswith("##") or line in SETTINGS:
            title = line
        elif part := re.match(r"`(\w+)`( \(.*\))?(:|\. )", line):
            title = part.group(1)
        elif re.search(r"(have|more):$", line):
            title = line
        tables.setdefault(title, {})
    return {title: rows for title, rows in tables.items() if rows}


def value(text: str) -> Any:
    """A default as it is written: YAML in backticks, or "required"."""
    if text == "required":
        return REQUIRED
    (inside,) = re.fullmatch(r"`(.+)`", text).groups()
    number = re.fullmatch(r"[\d.]+(e-?\d+)?", inside)
    return float(inside) if number and "e" in inside else yaml.safe_load(inside)


def defaults(part: Any) -> dict[str, Any]:
    """Arguments and their defaults, as YAML would hold them."""
    found = {}
    for name, parameter in inspect.signature(part).parameters.items():
        default = REQUIRED if parameter.default is parameter.empty else parameter.default
        found[name] = list(default) if isinstance(default, tuple) else default
    return found


def ours(kind: registry.Registry) -> dict[str, Any]:
    """The package's own parts; other tests may have registered theirs."""
    return {
        name: kind.get(name)
        for name in kind
        if kind.get(name).__module__.startswith("paddlevideo.")
    }


@pytest.mark.parametrize(
    "kind", ["FRAMEWORKS", "BACKBONES", "LOSSES", "HEADS", "DATASETS", "PIPELINES", "METRICS"]
)
def test_every_part_is_documented(kind):
    tables = documented()
    for name, part in ours(getattr(registry, kind)).items():
        assert name in tables, f"{name} has no table"
        written = {key: value(text) for key, text in tables[name].items()}
        assert written == defaults(part), name


@pytest.mark.parametrize("title", SETTINGS)
def test_every_setting_is_documented(title):
    written = {key: value(text) for key, text in documented()[title].items()}
    expected = defaults(SETTINGS[title])
    for name in [name for name, default in expected.items() if dataclasses.is_dataclass(default)]:
        del expected[name]  # a map with a table of its own
    expected.pop("amp", None)
    assert written == expected


def test_every_optimizer_is_documented():
    section = TEXT[TEXT.index("## OPTIMIZER") : TEXT.index("## METRIC")]
    tables = documented()
    shared, special = (
        next(rows for title, rows in tables.items() if title.endswith(end))
        for end in ("All have:", "Some have more:")
    )
    for name, part in ours(registry.OPTIMIZERS).items():
        assert f"`{name}`" in section
        for key in defaults(part).keys() - shared.keys():
            row = next(line for line in section.splitlines() if line.startswith(f"| `{key}` |"))
            assert f"`{name}`" in row.rsplit("|", 2)[1], f"{key} of {name}"
            assert key in special
    keys = set().union(*(defaults(part) for part in ours(registry.OPTIMIZERS).values()))
    assert keys == shared.keys() | special.keys()


def test_every_schedule_is_documented():
    section = TEXT[TEXT.index("### Schedules") : TEXT.index("## METRIC")]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    for name, part in ours(registry.SCHEDULES).items():
        row = next(line for line in rows if re.search(rf"`{name}`.*\|.*\|.*\|", line))
        if "| the same |" in row:
            row = rows[rows.index(row) - 1]
        for key, default in defaults(part).items():
            if key == "iter_step" and default is False:
                continue  # said above the table
            assert f"`{key}`" in row, f"{key} of {name}"
            if default is not REQUIRED:
                assert f"`{default}" in row, f"default of {key} of {name}"


def test_every_setting_of_the_base_file_has_its_default():
    base = yaml.safe_load((ROOT / "configs" / "_base_" / "run.yaml").read_text("utf-8"))
    expected = defaults(RunSettings)
    amp = base.pop("amp")
    assert all(expected[name] == default for name, default in base.items())
    assert all(defaults(AmpSettings)[name] == default for name, default in amp.items())
    assert set(base) == expected.keys() - {"amp", "model_name", "epochs"}


def page(name: str) -> str:
    return (ROOT / "docs" / f"{name}.md").read_text("utf-8")


def test_every_refused_and_ignored_section_of_paddlevideo_is_named():
    text = page("paddlevideo")
    refused = text[text.index("are refused") :].split("\n\n")[0]
    assert set(re.findall(r"`([A-Z]+)`", refused)) == set(REFUSED_SETTINGS)
    (ignored,) = re.findall(r"\| (.+?) \| \| ignored with a warning", text)
    assert set(re.findall(r"`(\w+)`", ignored)) == set(IGNORED_SETTINGS)


def test_the_limits_of_functions_are_those_of_the_linter():
    text = page("CONTRIBUTING").partition("`ruff` limits a function to ")[2]
    numbers = [int(number) for number in re.findall(r"\d+", text.partition(" characters")[0])]
    linter = (ROOT / "pyproject.toml").read_text("utf-8")
    keys = ("max-complexity", "max-args", "max-statements", "max-locals", "line-length")
    assert numbers == [int(re.search(rf"{key} = (\d+)", linter).group(1)) for key in keys]


def test_the_layers_are_those_that_are_checked():
    linter = (ROOT / "pyproject.toml").read_text("utf-8")
    layers = re.search(r"^layers = \[\n(.*?)^\]", linter, re.M | re.S).group(1)
    checked = [set(re.findall(r"\w+", line)) - {"__main__"} for line in layers.splitlines()]
    rows = re.findall(r"^\| \d+ \| (.+) \|$", page("CONTRIBUTING"), re.M)
    names = [re.findall(r"`([\w.]+)`", row) for row in rows]
    written = [{name.removesuffix(".py") for name in row} for row in names]
    assert written == [layer for layer in checked if layer]


def test_every_extra_is_described():
    seen: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(setuptools, "setup", lambda **arguments: seen.update(arguments))
        patch.chdir(ROOT)
        runpy.run_path(str(ROOT / "setup.py"))
    section = page("install").partition("| extra |")[2].split("\n\n")[0]
    first = [row.split("|")[1] for row in section.splitlines() if row.startswith("| `")]
    named = re.findall(r"`(\w+)`", " ".join(first))
    assert set(named) == set(seen["extras_require"])


def test_weights_md_names_every_public_file_of_the_recipes():
    """The paths in ``data/`` of the recipes, except those that the demo or a user writes."""
    text = page("weights")
    made_here = {"demo", "demo_captions", "youcook2_mini", "salads50"}
    named = {
        (*file.parts[1:-1], file.name)
        for recipe in ROOT.glob("configs/multimodal/**/*.yaml")
        for file in map(Path, re.findall(r"\bdata/[\w./]+", recipe.read_text("utf-8")))
        if len(file.parts) > 2 and file.parts[1] not in made_here
    }
    assert len(named) > 25
    missing = [
        parts
        for parts in named
        if f"`data/{parts[0]}/`" not in text or not re.search(rf"`{re.escape(parts[-1])}/?`", text)
    ]
    assert not missing
