"""How each command of the documentation is run by tests/test_readme.py."""

from __future__ import annotations

import json
import os
import re
import runpy
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from paddlevideo.cli import run as main

ROOT = Path(__file__).parents[1]
LAUNCH = "python (-B )?-m paddle.distributed.launch"

#: What a run must have logged, by what its command says.
LOGGED = {
    r"^((?!--test).)*(--resume auto|resume_epoch=)": "resumed epoch_",
    r"--test.*--resume auto": "no interrupted test",
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
    outputs = {"my.yaml": "Mine", "actbert_two_stage.yaml": "ActBert_two_stage"}
    outputs["actbert_msrvtt_finetune.yaml"] = "ActBert_msrvtt"
    name = next((name for file, name in outputs.items() if file in command), "ActBert")
    log = place / "output" / name / "log.txt"
    goes_on = log.is_file() and "--overwrite" not in command  # which begins a new log
    before = log.stat().st_size if goes_on else 0
    begins = not re.search("--test|resume", command)
    with room_for_a_run(log.parent) if begins else nullcontext():
        assert run() == 0
    text = log.read_text()[0 if "--overwrite" in command else before :]
    for pattern, expected in LOGGED.items():
        if re.search(pattern, command):
            assert expected in text, expected


@contextmanager
def room_for_a_run(output: Path) -> Iterator[None]:
    """The commands of a page stand for runs in folders of their own; the best weights stay."""
    for path in output.glob("*"):
        if re.search(r"_(epoch|step)_\d+\.|_(best|average)\.(json|pdopt)$|^run.json$", path.name):
            path.unlink()
    best = {path: path.read_bytes() for path in output.glob("*_best.pdparams")}
    for path in best:
        path.unlink()
    yield
    for path, content in best.items():
        if not path.exists():
            path.write_bytes(content)


def make_target(command: str, place: Path) -> None:
    """A target of the Makefile that .ci/run makes, or a part of one that it makes."""
    target = command.split()[1]
    done = subprocess.run(
        ["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    part_of = {"test-fast": "test", "lint": "test", "soak": "test"}
    stages = re.findall(
        r"^(?:stage|\s+BASE_PYTHON=) make (\S+)$", (ROOT / ".ci" / "run").read_text(), re.M
    )
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


#: Sizes at which a benchmark takes seconds; the peer would be downloaded.
SMALL = {
    "retrieval": "--no_peer --videos 4 --rounds 1 --threads 1",
    "loader": "--no_peer --clips 16 --samples 16 --rounds 1",
    "store": "--clips 300 --shards 3",
    "precision": "--epochs 1",
    "train": "--no_peer --rounds 1 --steps 1 --threads 1",
}


def benchmark_alone(command: str, place: Path) -> None:
    """A benchmark at a small size and without the peer."""
    words = [sys.executable, str(ROOT / "tools" / "benchmark.py"), *shlex.split(command)[2:]]
    subprocess.run(
        [*words, *SMALL[words[2]].split(), "--json", "numbers.json"], cwd=place, check=True
    )
    report = json.loads((place / "numbers.json").read_text())
    speeds = {
        "retrieval": lambda: report["ours"]["pairs_per_second"]["median"],
        "loader": lambda: report["ours_2_workers"]["samples_per_second"]["median"],
        "store": lambda: report["shuffled_clips_per_second"],
        "precision": lambda: report["store"]["losses"]["text_loss"],
        "train": lambda: report["ours"]["samples_per_second"]["median"],
    }
    assert speeds[words[2]]() > 0


def run_tool(command: str, place: Path) -> None:
    """A tool, in a process of its own, on what the commands before it have left."""
    words = [sys.executable, str(ROOT / shlex.split(command)[1]), *shlex.split(command)[2:]]
    done = subprocess.run(words, cwd=place, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for flag in ("--output", "--report", "-o"):
        if flag in words:
            assert (place / words[words.index(flag) + 1]).exists()
    if "an onion" in command:
        assert len(done.stdout.splitlines()) >= 5, "one line for each clip"


def search(command: str, place: Path) -> None:
    run_tool(command, place)
    assert list((place / "output" / "ActBert_two_stage" / "search_index").iterdir())


def test_with_report(command: str, place: Path) -> None:
    run_main(command, place)
    assert "<html" in (place / "report.html").read_text()


test_with_report.__test__ = False


def dry_run(command: str, place: Path) -> None:
    """Alone or through the launcher; only the launcher writes, its own log."""
    before = set(place.rglob("*"))
    if " -m " in command:
        assert finish(start(command, place)) == 0
    else:
        assert main.main(shlex.split(command)[2:]) == 0
    written = {path for path in place.rglob("*") if "log" not in path.parts} - before
    # Forked data workers leave what coverage counted in them.
    assert not {path for path in written if not path.name.startswith(".coverage")}


#: The first pattern that matches all of a command says how it is run. True: slow.
RUNS: list[tuple[str, Callable[[str, Path], None], bool]] = [
    (r"make [\w-]+", make_target, False),
    (r"pip install .+", pip_install, False),
    (r"python3 -m venv .venv", make_environment, False),
    (r"\. .venv/bin/activate", activate, False),
    (r"python tools/demo.py", same_as_make("demo"), False),
    (r"python tools/benchmark.py .+", benchmark_alone, True),
    (r"python tools/search.py .+", search, False),
    (
        r"python tools/(report|curves|export_model|predict|prepare_data|extract_features).py .+",
        run_tool,
        False,
    ),
    (r"python tools/doctor.py.*", run_tool, False),
    (r"python main.py .*--dry_run.*", dry_run, False),
    (r"python main.py .*--report .+", test_with_report, False),
    (r"python -m pytest .+", same_as_make("test"), False),
    (rf"{LAUNCH} .*--dry_run.*", dry_run, True),
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
