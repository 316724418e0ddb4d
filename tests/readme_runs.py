"""How each command of the documentation is run by tests/test_readme.py.

``RUNS`` runs a command as it is typed. ``NOT_RUN`` says why one is not, and what is checked.
"""

from __future__ import annotations

import json
import os
import re
import runpy
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import pytest

from paddlevideo.cli import ablate
from paddlevideo.cli import run as main
from paddlevideo.cli.find_bert import INSTALL
from paddlevideo.config import load_config
from paddlevideo.doctor import packages
from tests.extract.samples import write_video
from tests.milvus_process import Server
from tests.user_folder import SHIPPED

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


def argv(command: str) -> list[str]:
    """The words of a typed command that starts this clone's program with this Python."""
    words = shlex.split(command)
    if words[0] == "paddlevideo":
        return [sys.executable, "-m", *words]
    if words[1].startswith("tools/") or words[1] == "main.py":
        words[1] = str(ROOT / words[1])
    return [sys.executable, *words[1:]]


def environment() -> dict[str, str]:
    """The environment of a process that imports this clone's package."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path, "BERT": "bert-base-uncased.pdparams"}


def with_bert(command: str) -> str:
    """``$BERT`` as the shell would replace it, by a small BERT."""
    return command.replace("$BERT", environment()["BERT"])


def run_main(command: str, place: Path) -> None:
    arguments = shlex.split(with_bert(command))[2:]
    assert_done(command, place, lambda: main.main(arguments))


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
    both = [command.replace("main.py", f"--log_dir log{index} main.py") for index in (0, 1)]

    def launch_both() -> int:
        running = [start(one, place) for one in both]
        return max(finish(process) for process in running)

    assert_done(command, place, launch_both)


def start(command: str, place: Path) -> subprocess.Popen:
    return subprocess.Popen(
        argv(command),
        cwd=place,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def finish(process: subprocess.Popen) -> int:
    output, _ = process.communicate(timeout=300)
    print(output.decode())
    return process.returncode


def assert_done(command: str, place: Path, run: Callable[[], int]) -> None:
    """Runs it, and reads in the log that it did what its command says."""
    recipe = re.search(r" -c (\S+)", command)
    name = load_config(recipe.group(1)).model_name if recipe else "ActBert"
    log = place / "output" / name / "log.txt"
    appends = log.is_file() and "--overwrite" not in command  # which begins a new log
    before = log.stat().st_size if appends else 0
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
        left = r"_(epoch|step)_\d+\.|_best\.(json|pdopt)$|_average\.\w+$|^run.json$"
        if re.search(left, path.name):
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
    part_of = dict.fromkeys(("test-fast", "lint", "soak", "test-gpu", "docs"), "test")
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
        typed = command.replace("paddlevideo demo", "python tools/demo.py")
        assert f".venv/bin/{typed}" in done.stdout

    return check


def pip_install(command: str, place: Path) -> None:
    """What pip is asked for: extras that setup.py has, and pins that the tests install."""
    import setuptools

    seen: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(setuptools, "setup", lambda **arguments: seen.update(arguments))
        runpy.run_path(str(ROOT / "setup.py"))
    if index := re.fullmatch(r"pip install paddlepaddle-gpu -i (\S+)", command):
        assert index[1] in {packages.wheels_for(lowest) for lowest in packages.FOLDERS}
        return
    asked = [word for word in shlex.split(command)[2:] if word != "-e"]
    tested = (ROOT / "Makefile").read_text()
    for word in asked:
        if extras := re.fullmatch(r"\.\[(.+)\]", word):
            assert set(extras.group(1).split(",")) <= seen["extras_require"].keys()
        elif pinned := re.fullmatch(r"(paddlepaddle-gpu)==(.+)", word):
            assert f"{pinned.group(1)}>={pinned.group(2)}" in seen["extras_require"]["gpu"]
        elif command == INSTALL:
            continue
        elif word == "numpy<2":
            assert any(re.match(r"numpy>=1\.", line) for line in seen["install_requires"])
        else:
            assert re.search(rf"PYTHON26.*[ \"]{re.escape(word)}[ \"]", tested), word


def ablation(command: str, place: Path) -> None:
    """Its options and variants are read."""
    options = ablate.parse_arguments(shlex.split(command)[2:])
    assert ablate.read_variants(ROOT / options.variants)
    load_config(options.config)


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
    "negatives": "--rounds 1 --steps 1",
    "denormals": "--rounds 1 --steps 1 --unused 3",
    "initialization": "--widths 16 --seeds 1 --no_published",
    "host": "--steps 1",
    "mount": "--batches 1 --workers 0 1",
    "serve": "--seconds 1 --users 4 --candidates 2",
    "index": "--clips 500 --width 16 --engines numpy",
    "gallery": "--clips 40 --captions 3 --top_k 2",
    "extract": "--videos 2 --rounds 1",
}


def benchmark_alone(command: str, place: Path) -> None:
    """A benchmark at a small size and without the peer."""
    words = argv(command)
    rounds = ["--metrics_rounds", "1"] if "--metrics_rounds" in words else []
    small = [*words, *SMALL[words[2]].split(), *rounds, "--json", "numbers.json"]
    subprocess.run(small, cwd=place, env=environment(), check=True)
    report = json.loads((place / "numbers.json").read_text())
    speeds = {
        "retrieval": lambda: report["ours"]["pairs_per_second"]["median"],
        "loader": lambda: report["ours_2_workers"]["samples_per_second"]["median"],
        "store": lambda: report["shuffled_clips_per_second"],
        "precision": lambda: report["store"]["losses"]["text_loss"],
        "mount": lambda: report["rows"][-1]["clips_per_second"],
        "train": lambda: report["ours"]["samples_per_second"]["median"],
        "negatives": lambda: report["ratio"]["median"],
        "denormals": lambda: report["trained"]["ratio"]["median"],
        "initialization": lambda: report[0]["margin"],
        "host": lambda: report["float32"]["counts"]["operators"]["forward"],
        "serve": lambda: all_answered(report),
        "index": lambda: report["engines"]["numpy"]["recall_at_32"],
        "gallery": lambda: report[0]["store_gb"],
        "extract": lambda: report["ray"]["frames_per_second"]["median"],
    }
    assert speeds[words[2]]() > 0


def with_ray(run: Callable[[str, Path], None]) -> Callable[[str, Path], None]:
    """Runs a command; the folder that it names has small videos where it is missing."""

    def run_on_videos(command: str, place: Path) -> None:
        pytest.importorskip("ray", reason="needs Ray: extra scale")
        words = shlex.split(command)
        folder = place / words[words.index("extract") + 1]
        for name in () if folder.is_dir() else ("a", "b"):
            write_video(folder / f"{name}.mp4")
        run(command, place)

    return run_on_videos


def all_answered(report: dict[str, Any]) -> int:
    """The number of searches, none of which was lost."""
    assert not any(part["lost"] for part in report.values()), report
    return min(part["answers"] for part in report.values())


def serve(command: str, place: Path) -> None:
    """A server answers at the address that it prints, until Ctrl-C."""
    words = [*argv(command), "--port", "0"]
    with subprocess.Popen(
        words, cwd=place, env=environment(), stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            address = process.stdout.readline().split()[-1]
            token = urlsplit(address).query.replace("token=", "Bearer ")
            asked = Request(f"http://127.0.0.1:{urlsplit(address).port}/api/health")
            asked.add_header("Authorization", token)
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("no_proxy", "127.0.0.1")
                for _ in range(100):
                    try:
                        assert json.load(urlopen(asked, timeout=30))["clips"] > 0
                        break
                    except HTTPError as error:
                        assert error.code == 503
                        time.sleep(0.1)
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 130
        finally:
            process.kill()


def run_tool(command: str, place: Path) -> None:
    """A tool, in a process of its own, on what the commands before it have left."""
    words = argv(with_bert(command))
    done = subprocess.run(
        words, cwd=place, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for flag in ("--output", "--report", "-o"):
        if flag in words:
            assert (place / words[words.index(flag) + 1]).exists()
    if "an onion" in command:
        assert len(done.stdout.splitlines()) >= 5, "one line for each clip"


def search(command: str, place: Path) -> None:
    run_tool(command, place)
    assert list((place / "output" / "ActBert_two_stage" / "search_index").iterdir())


def search_in_milvus(command: str, place: Path) -> None:
    """With Milvus Lite's server at a free port in the place of Milvus."""
    for name in ("pymilvus", "milvus_lite"):
        pytest.importorskip(name, reason="the extra scale is not installed")
    server = Server(place / "milvus")
    server.start()
    try:
        run_tool(command.replace("http://localhost:19530", server.address), place)
    finally:
        server.kill()


def find_bert(command: str, place: Path) -> None:
    """``BERT=$(...)``: prints a path, or says how to install the package."""
    (inside,) = re.fullmatch(r"BERT=\$\((.+)\)", command).groups()
    done = subprocess.run(
        argv(inside), cwd=place, env=environment(), capture_output=True, text=True, check=False
    )
    path = done.stdout.strip()
    assert Path(path).is_file() if done.returncode == 0 else "pip install" in done.stderr


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
    (r"python3 -m venv .venv", make_environment, False),
    (r"\. .venv/bin/activate", activate, False),
    (r"python tools/benchmark.py extract .+", with_ray(benchmark_alone), True),
    (r"python tools/benchmark.py .+", benchmark_alone, True),
    (r"paddlevideo search .+ --index http.+", search_in_milvus, True),
    (r"paddlevideo extract .+ --ray local", with_ray(run_tool), True),
    (r"paddlevideo search .+", search, False),
    (r"paddlevideo serve .+", serve, True),
    (r"paddlevideo (report|compare|curves|doctor)\b.*", run_tool, False),
    (r"paddlevideo (export|predict|pack|validate|inspect|split|convert) .+", run_tool, False),
    (r"BERT=.+", find_bert, False),
    (r"paddlevideo linear_baseline .+", run_tool, True),
    (r"python main.py .*--dry_run.*", dry_run, False),
    (r"python main.py .*--report .+", test_with_report, False),
    (rf"{LAUNCH} .*--dry_run.*", dry_run, True),
    (rf"{LAUNCH} .*--nnodes 2 .+", run_two_machines, True),
    (rf"{LAUNCH} .+", run_process, True),
    (r"python main.py .*--import .+", run_process, True),
    (r"python main.py .+", run_main, False),
]


#: Commands that are not run, by pattern: why not, and what is checked instead.
def described_videos(command: str, place: Path) -> None:
    """Checks the options of ``predict``."""
    from paddlevideo.cli.predict_videos import parse_arguments

    assert parse_arguments(shlex.split(command)[2:]).weights.suffix == ".pdparams"


def demo_captions(command: str, place: Path) -> None:
    """Checks the options, and that the recipe reads what the commands write."""
    from paddlevideo.cli import extract_features, make_demo_data

    words = shlex.split(command)
    recipe = (SHIPPED / "actbert_demo_caption.yaml").read_text("utf-8")
    if words[1] == "extract":
        options = extract_features.parse_arguments(words[2:])
        assert f"features_path: {options.output}\n" in recipe
    else:
        options = make_demo_data.parse_arguments(words[2:])
        assert f"file_path: {options['output']}/plain_train.csv\n" in recipe
        assert f"make_demo_data --train {options['train']} " in recipe


def cluster_command(command: str, place: Path) -> None:
    """Checks the options of ``extract``; those of ``ray`` are in the tests of a cluster."""
    from paddlevideo.cli.extract_features import parse_arguments

    words = shlex.split(command)
    if words[0] == "paddlevideo":
        assert parse_arguments(words[2:]).ray == "auto"
    else:
        tests = (ROOT / "tests" / "extract" / "cluster" / "test_cluster.py").read_text("utf-8")
        assert all(f'"{word}"' in tests for word in words[1:] if word.startswith("--"))


def from_elsewhere(command: str, place: Path) -> None:
    """What it fetches is used by the next command, and what it writes is what a YAML file names."""
    page = (ROOT / "docs" / "networks.md").read_text("utf-8")
    after = page.split(f"\n{command}\n")[1]
    words = shlex.split(command)
    if words[0] in ("git", "wget"):
        assert Path(words[-1]).name in after
    elif "--output_dir=models" in words:
        assert f"model: models/{Path(words[words.index('-c') + 1]).stem}\n" in after
    elif "-o" in words:
        assert f"model: {words[words.index('-o') + 1]}\n" in after
        assert f"/{words[words.index('-p') + 1]}\n" in page
    else:
        assert words[:2] == ["tar", "xf"] and f"/{words[2]}\n" in page


NOT_RUN: list[tuple[str, str, Callable[[str, Path], None]]] = [
    (r"make [\w-]+", ".ci/run makes these targets, or targets that contain them", make_target),
    (r"pip install .+", "installs packages: its extras and pins must exist", pip_install),
    (r"paddlevideo demo", "tests/cli/test_demo.py runs it smaller", same_as_make("demo")),
    (r"paddlevideo predict -w .+", "needs your videos; tests/describe runs it", described_videos),
    (
        r"(git clone|wget|tar|python Paddle\w+/tools/export_model.py) .+",
        "fetches other projects: tests/extract/test_networks_page.py runs what is made of it",
        from_elsewhere,
    ),
    (
        r"paddlevideo (make_demo_data|extract) .*data/demo_captions.*",
        "takes minutes: tests/test_install.py runs both smaller",
        demo_captions,
    ),
    (
        r"ray start .+|paddlevideo extract .+ --ray auto",
        "needs several machines: tests/extract/cluster/test_cluster.py starts them on one",
        cluster_command,
    ),
    (r"paddlevideo ablate .+", "takes hours; tests/test_configs.py checks variants", ablation),
    (r"python -m pytest .+", "runs these tests", same_as_make("test")),
]


def runner(command: str) -> tuple[Callable[[str, Path], None] | None, bool]:
    """How a command is run or, where it cannot be, checked; and whether that is slow."""
    for pattern, _, check in NOT_RUN:
        if re.fullmatch(pattern, command):
            return check, False
    for pattern, run, slow in RUNS:
        if re.fullmatch(pattern, command):
            return run, slow
    return None, False
