"""Every command, Python block and YAML file of the documentation is run, at reduced sizes.

The commands run as they are typed, in a folder where the files that they name exist and
``configs/`` holds the shipped recipes at tiny sizes. ``--gpus`` becomes two processes.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from paddlevideo.cli import run as main
from paddlevideo.config import check_config, import_parts, load_config
from tests.extract.samples import write_clips
from tests.readme_runs import room_for_a_run, run_tool, runner
from tests.user_folder import make_user_folder

ROOT = Path(__file__).parents[1]
NAMES = ("config", "data", "training", "paddlevideo", "performance", "CONTRIBUTING", "CHANGELOG")
PAGES = [ROOT / "README.md", *(ROOT / "docs" / f"{name}.md" for name in NAMES)]


class Block(NamedTuple):
    page: Path
    line: int
    language: str
    text: str

    @property
    def file_name(self) -> str | None:
        """What the block is to be saved as, if its first line says so."""
        found = re.match(r"# (\S+\.(py|yaml))\n", self.text)
        return found and found.group(1)


def blocks(*languages: str) -> Iterator[Block]:
    for page in PAGES:
        text = page.read_text("utf-8")
        for found in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S):
            line = text.count("\n", 0, found.start()) + 2
            if not languages or found.group(1) in languages:
                yield Block(page, line, *found.groups())


def commands() -> dict[str, str]:
    """Each command once, with the place where it is first shown."""
    found: dict[str, str] = {}
    for block in blocks("sh"):
        for number, line in enumerate(block.text.splitlines(), block.line):
            command = re.sub(r"(^|\s+)#.*", "", line)
            if command:
                found.setdefault(command, f"{block.page.name}:{number}")
    return found


# ---------------------------------------------------------------------- a user's folder


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder like a user's clone, with data, weights and recipes at tiny sizes."""
    folder = tmp_path_factory.mktemp("clone")
    make_user_folder(folder)
    for block in blocks("python", "yaml"):
        if block.file_name:
            (folder / block.file_name).write_text(block.text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main.main(["-c", "actbert.yaml", "-o", "num_threads=1"]) == 0
    trained = folder / "output" / "ActBert"
    for name in ("ActBERT.pdparams", "output/ActBert/ActBert_best.pdparams"):
        shutil.copy(trained / "ActBert_epoch_00001.pdparams", folder / name)
    (folder / "data" / "msrvtt" / "videos").mkdir()
    return folder


@pytest.fixture(scope="module")
def head(place):
    """What ``actbert_two_stage.yaml`` trains, for the commands that need it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        arguments = ["-c", "actbert_two_stage.yaml", "--validate", "-w", "ActBERT.pdparams"]
        arguments += ["--overwrite"]
        assert main.main(arguments) == 0


@pytest.fixture(scope="module")
def exported(place):
    """What ``tools/export_model.py`` writes."""
    run_tool(
        "python tools/export_model.py -c actbert_msrvtt.yaml -w ActBERT.pdparams --output exported",
        place,
    )


@pytest.fixture(scope="module")
def tested(place):
    """A test's files, for a report."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        assert main.main(["--test", "-w", "ActBERT.pdparams"]) == 0


@pytest.fixture(scope="module")
def packed(place):
    """A store of the pre-training rows."""
    rows, store = "data/howto100m/actbert_train_data.npy", "data/howto100m/train.store"
    run_tool(f"python tools/prepare_data.py pack {rows} --output {store}", place)


@pytest.fixture(scope="module")
def videos(place):
    """A folder of videos."""
    write_clips(place / "data" / "videos")


@pytest.fixture(scope="module")
def resumable(place):
    """A run of the recipe as it stands: other commands have left those of other settings."""
    with pytest.MonkeyPatch.context() as patch, room_for_a_run(place / "output" / "ActBert"):
        patch.chdir(place)
        assert main.main(["-c", "actbert.yaml"]) == 0


#: What has to be there before a command that says so is run, wherever a test run begins.
NEEDED = {
    r"ActBert_two_stage(_best| )": "head",
    r"--model exported": "exported",
    r"train\.store": "packed",
    r"--results output/ActBert": "tested",
    r"extract_features": "videos",
    r"main.py -c actbert.yaml .*resume": "resumable",
}


def cases() -> list[Any]:
    return [
        pytest.param(command, id=where, marks=[pytest.mark.slow] * runner(command)[1])
        for command, where in commands().items()
    ]


# ------------------------------------------------------------------------------- tests


@pytest.mark.parametrize("command", cases())
def test_a_command_runs(command, place, monkeypatch, request):
    run, _ = runner(command)
    for pattern, fixture in NEEDED.items():
        if re.search(pattern, command):
            request.getfixturevalue(fixture)
    assert run is not None, f"RUNS does not say how to run: {command}"
    monkeypatch.chdir(place)
    run(command, place)


@pytest.mark.parametrize(
    "block", list(blocks("python")), ids=lambda block: f"{block.page.name}:{block.line}"
)
def test_a_python_block_runs(block, place, monkeypatch):
    if block.file_name:
        pytest.skip("a module that a command imports")
    monkeypatch.chdir(place)
    exec(compile(block.text, f"{block.page.name}:{block.line}", "exec"), {})  # noqa: S102


@pytest.mark.parametrize(
    "block", list(blocks("yaml")), ids=lambda block: f"{block.page.name}:{block.line}"
)
def test_a_yaml_block_is_a_valid_configuration(block, place, monkeypatch):
    assert block.file_name, "its first line is a comment with its name"
    monkeypatch.chdir(place)
    import_parts()
    config = load_config(block.file_name)
    own = {"DropRegions"}  # registered by a module that another test imports
    steps = config.PIPELINE.train.transform
    config.PIPELINE.train["transform"] = [step for step in steps if not own & step.keys()]
    assert check_config(config) == []


def test_nothing_hides_from_these_tests():
    assert {block.language for block in blocks()} <= {"sh", "bash", "python", "yaml", "text"}
    # Scripts, which have tests of their own: test_worked_path, test_restart and test_elastic.py.
    scripts = [block.text.split()[:2] for block in blocks("bash")]
    assert scripts == [["#", "912"], ["for", "attempt"], ["python", "-m"]]
    shown = list(commands())
    for needed in ("make demo", "make test", "python main.py --test -w ActBERT.pdparams"):
        assert needed in shown
    assert shown[:2] == ["make demo", "make test"]


def test_a_command_that_nobody_knows_would_fail():
    assert runner("python tools/no_such_tool.py --fast") == (None, False)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        path = page.parent / name if name else page
        assert path.exists(), target
        if anchor:
            assert anchor in anchors(path), target


def anchors(path: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", path.read_text("utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
