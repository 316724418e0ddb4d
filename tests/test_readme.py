"""Every command, Python block and YAML file of the documentation is run, at reduced sizes.

The commands run as they are typed, in a folder where the files that they name exist and
``configs/`` holds the shipped recipes at tiny sizes. ``--gpus`` becomes two processes.
"""

from __future__ import annotations

import json
import os
import re
import runpy
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import main
from paddlevideo.config import check_config, import_parts, load_config
from tests.user_folder import make_user_folder

ROOT = Path(__file__).parents[1]
NAMES = ("config", "data", "paddlevideo", "performance", "CONTRIBUTING", "CHANGELOG")
PAGES = [ROOT / "README.md", *(ROOT / "docs" / f"{name}.md" for name in NAMES)]
LAUNCH = "python (-B )?-m paddle.distributed.launch"


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
    return folder


# -------------------------------------------------------------------- ways to run them

#: What a run must have logged, by what its command says.
LOGGED = {
    r"--resume auto|resume_epoch=": "resumed epoch_",
    r"--amp": "mixed precision needs a GPU",
    r"--validate": "valid epoch:",
    r"pretrained=| -w ": "parameters loaded",
    r" -p ": "profiling steps",
    r"--test": "results.json",
    r"^((?!--test|--resume).)*$": "train step:",
}


def run_main(command: str, place: Path) -> None:
    assert_done(command, place, lambda: main.main(shlex.split(command)[2:]))


def run_process(command: str, place: Path) -> None:
    """``python main.py`` or a launch, in processes of its own."""
    command = re.sub(r'--gpus[= ]("[\d,]+"|[\d,]+)', "--nproc_per_node 2", command)
    assert_done(command, place, lambda: finish(start(command, place)))


def run_two_machines(command: str, place: Path) -> None:
    """One line on each of two machines: here two launchers that meet on this one."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command, replaced = re.subn(r"--master \S+", f"--master 127.0.0.1:{port}", command)
    assert replaced and "--nnodes 2" in command
    both = [command.replace("main.py", f"--log_dir log{number} main.py") for number in (0, 1)]

    def launch_both() -> int:
        running = [start(one, place) for one in both]
        return max(finish(process) for process in running)

    assert_done(command, place, launch_both)


def start(command: str, place: Path) -> subprocess.Popen:
    words = [sys.executable, *shlex.split(command)[1:]]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.Popen(
        words, cwd=place, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def finish(process: subprocess.Popen) -> int:
    output, _ = process.communicate(timeout=300)
    print(output.decode())
    return process.returncode


def assert_done(command: str, place: Path, run: Callable[[], int]) -> None:
    """Runs it, and reads in the log that it did what its command says."""
    log = place / "output" / ("Mine" if "my.yaml" in command else "ActBert") / "log.txt"
    before = log.stat().st_size if log.is_file() else 0
    assert run() == 0
    text = log.read_text()[before:]
    for pattern, expected in LOGGED.items():
        if re.search(pattern, command):
            assert expected in text, expected


def make_target(command: str, place: Path) -> None:
    """A target of the Makefile that .ci/run makes, or a part of one that it makes."""
    target = command.split()[1]
    done = subprocess.run(
        ["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    part_of = {"test-fast": "test", "lint": "test"}
    stages = re.findall(r"^stage make (\S+)$", (ROOT / ".ci" / "run").read_text(), re.M)
    assert part_of.get(target, target) in stages
    if target == "lint":
        assert re.search(r"^test: .*\blint\b", (ROOT / "Makefile").read_text(), re.M)


def same_as_make(target: str) -> Callable[[str, Path], None]:
    """The command is what ``make target``, which .ci/run makes, runs in its environment."""

    def check(command: str, place: Path) -> None:
        makes = ["make", "-n", target]
        done = subprocess.run(makes, cwd=ROOT, capture_output=True, text=True, check=True)
        assert f".venv/bin/{command}" in done.stdout
        script = command.split()[1]
        assert script == "-m" or (ROOT / script).is_file(), f"{script} does not exist"

    return check


def pip_install(command: str, place: Path) -> None:
    """What pip is asked for: extras that setup.py has, and pins that the tests install."""
    import setuptools

    seen: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(setuptools, "setup", lambda **arguments: seen.update(arguments))
        runpy.run_path(str(ROOT / "setup.py"))
    asked = [word for word in shlex.split(command)[2:] if word != "-e"]
    tested = (ROOT / "Makefile").read_text()
    for word in asked:
        if extras := re.fullmatch(r"\.\[(.+)\]", word):
            assert set(extras.group(1).split(",")) <= seen["extras_require"].keys()
        elif pinned := re.fullmatch(r"(paddlepaddle-gpu)==(.+)", word):
            assert f"{pinned.group(1)}>={pinned.group(2)}" in seen["extras_require"]["gpu"]
        elif word == "numpy<2":
            assert any(re.match(r"numpy>=1\.", line) for line in seen["install_requires"])
        else:
            assert re.search(rf"PYTHON26.*[ \"]{re.escape(word)}[ \"]", tested), word


def make_environment(command: str, place: Path) -> None:
    subprocess.run(
        [sys.executable, *shlex.split(command)[1:], "--without-pip"], cwd=place, check=True
    )


def activate(command: str, place: Path) -> None:
    if not (place / ".venv").is_dir():
        make_environment("python3 -m venv .venv", place)
    where = subprocess.check_output(
        ["sh", "-c", f"{command} && command -v python"], cwd=place, text=True
    )
    assert Path(where.strip()).parent == place / ".venv" / "bin"


def benchmark_alone(command: str, place: Path) -> None:
    """The benchmark on a few pairs and without the peer, which would be downloaded."""
    words = [sys.executable, str(ROOT / "tools" / "benchmark.py"), *shlex.split(command)[2:]]
    small = ["--no_peer", "--videos", "4", "--rounds", "1", "--threads", "1"]
    subprocess.run([*words, *small], cwd=place, check=True)
    report = json.loads((place / shlex.split(command)[-1]).read_text())
    assert report["ours"]["pairs_per_second"]["median"] > 0


#: The first pattern that matches all of a command says how it is run. True: slow.
RUNS: list[tuple[str, Callable[[str, Path], None], bool]] = [
    (r"make [\w-]+", make_target, False),
    (r"pip install .+", pip_install, False),
    (r"python3 -m venv .venv", make_environment, False),
    (r"\. .venv/bin/activate", activate, False),
    (r"python tools/demo.py", same_as_make("demo"), False),
    (r"python tools/benchmark.py .+ --json \S+", benchmark_alone, True),
    (r"python -m pytest .+", same_as_make("test"), False),
    (rf"{LAUNCH} .*--nnodes 2 .+", run_two_machines, True),
    (rf"{LAUNCH} .+", run_process, True),
    (r"python main.py .*--import .+", run_process, True),
    (r"python main.py .+", run_main, False),
]


def runner(command: str) -> tuple[Callable[[str, Path], None] | None, bool]:
    for pattern, run, slow in RUNS:
        if re.fullmatch(pattern, command):
            return run, slow
    return None, False


def cases() -> list[Any]:
    return [
        pytest.param(command, id=where, marks=[pytest.mark.slow] * runner(command)[1])
        for command, where in commands().items()
    ]


# ------------------------------------------------------------------------------- tests


@pytest.mark.parametrize("command", cases())
def test_a_command_runs(command, place, monkeypatch):
    run, _ = runner(command)
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
    assert {block.language for block in blocks()} <= {"sh", "python", "yaml", "text"}
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
