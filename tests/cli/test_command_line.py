"""The console command ``paddlevideo``: its verbs, help, version and mistakes."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from paddlevideo import cli
from tests.tiny_data import make_project

ROOT = Path(__file__).parents[2]
#: What pip writes into the folder of an environment's programs.
PROGRAM = f"""#!{sys.executable}
import sys
from paddlevideo.cli import main
if __name__ == "__main__":
    sys.exit(main())
"""


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """A folder with the program, as for PATH."""
    program = tmp_path_factory.mktemp("bin") / "paddlevideo"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    return program.parent


@pytest.fixture
def paddlevideo(programs, tmp_path):
    def run(*arguments, program=("paddlevideo",), **more):
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "COLUMNS": "80",
        }
        return subprocess.run(
            [*program, *arguments],
            **{"cwd": tmp_path, "env": environment, "capture_output": True, "text": True, **more},
        )

    return run


def test_help_lists_every_verb_in_80_columns(paddlevideo):
    done = paddlevideo("--help")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    listed = [line.split()[0] for line in lines if line.startswith("  ")]
    assert [verb for verb in listed if verb in cli.VERBS] == list(cli.VERBS)


#: Prints after the help of each verb which slow libraries are loaded by then.
LOADED = """
import contextlib, io, sys
from paddlevideo import cli
for verb in ["--help", *cli.VERBS]:
    sys.argv = ["paddlevideo", *([] if verb == "--help" else [verb]), "--help"]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        cli.main()
    print(verb, *sorted({"paddle", "matplotlib"} & set(sys.modules)))
"""


def test_help_loads_no_slow_library(paddlevideo):
    """Paddle takes two seconds, help a tenth of one, or 0.3 where it needs NumPy."""
    done = paddlevideo("-c", LOADED, program=[sys.executable])
    assert done.stdout.splitlines() == ["--help", *cli.VERBS], done.stdout + done.stderr


def test_no_argument_is_a_mistake_with_help(paddlevideo):
    done = paddlevideo()
    assert (done.returncode, done.stdout) == (2, "") and "usage: paddlevideo" in done.stderr


def test_the_version_is_that_of_paddle_and_python_too(paddlevideo):
    done = paddlevideo("--version")
    pattern = (
        r"paddlevideo \d\S+ \((paddlepaddle(-gpu)? \d\S+|without Paddle), Python 3\.\d+\.\S+\)\n"
    )
    assert done.returncode == 0 and re.fullmatch(pattern, done.stdout), done.stdout


@pytest.mark.parametrize(
    "words, says",
    [
        (["trian"], 'unknown verb "trian". Did you mean "train"?'),
        (["find-bert"], 'Did you mean "find_bert"?'),
        (["xyzzy"], 'unknown verb "xyzzy" ('),
        (["-c", "actbert.yaml"], "as in paddlevideo train -c actbert.yaml"),
        (["train", "--test"], "--test: it is an option of paddlevideo test"),
        (["train", "--report", "x.html"], "--report: it is an option of paddlevideo test"),
        (["test", "--validate"], "--validate: it is an option of paddlevideo train"),
        (["test", "--dry_run"], "--dry_run: it is an option of paddlevideo train"),
        (["train", "--train"], "--train: leave it out"),
        (["train", "--gpus", "0"], "paddle.distributed.launch"),
        (["train"], "training needs -c FILE"),
        (["train", "--seeds", "1"], 'Did you mean "--seed"?'),
        (["pack", "--outputs", "x"], "(paddlevideo pack --help lists the options)"),
    ],
)
def test_a_mistake_is_one_line(paddlevideo, words, says):
    done = paddlevideo(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert says in done.stderr and "--help lists the " in done.stderr


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_verb_shows_its_own_name_and_loads_no_paddle(paddlevideo, tmp_path, verb):
    (tmp_path / "paddle.py").write_text("raise SystemExit('Paddle was loaded')")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}", "COLUMNS": "80"}
    done = paddlevideo(
        *(verb, "--help"), program=(sys.executable, "-m", "paddlevideo"), env=environment
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: python -m paddlevideo {verb} ")
    assert "python tools/" not in done.stdout


def test_a_door_shows_how_it_was_started(paddlevideo):
    for script in ("main.py", "tools/search.py"):
        done = paddlevideo(script, "--help", program=(sys.executable,), cwd=ROOT)
        assert done.stdout.startswith(f"usage: python {script} ")


def test_a_door_runs_the_package_of_its_own_clone(paddlevideo, tmp_path):
    clone = tmp_path / "clone"
    clone.mkdir()
    for name in ("paddlevideo", "tools"):
        shutil.copytree(ROOT / name, clone / name, ignore=shutil.ignore_patterns("*.pyc"))
    code = "import sys; from paddlevideo import files; print(files.__file__); sys.exit(3)"
    (clone / "paddlevideo" / "cli" / "find_bert.py").write_text(code)
    done = paddlevideo(str(clone / "tools" / "find_bert.py"), program=(sys.executable,))
    assert done.returncode == 3 and done.stdout.startswith(str(clone)), done.stderr


def test_closed_output_and_an_early_interrupt_are_quiet(paddlevideo, tmp_path):
    for stream in (0, 1, 2):
        command = f"paddlevideo find_bert {stream}>&-"
        assert "Traceback" not in paddlevideo("-c", command, program=("sh",)).stderr
    (tmp_path / "argparse.py").write_text(
        "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n"
    )
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    done = paddlevideo("train", program=(sys.executable, "-m", "paddlevideo"), env=environment)
    assert (done.returncode, done.stderr) == (130, "interrupted; run the same command again\n")


def test_train_then_test(paddlevideo, tmp_path):
    config = str(make_project(tmp_path))
    done = paddlevideo("train", "-c", config, "--max_iters", "1", "-o", "epochs=1")
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "output" / "run.json").read_text())["command"]
    assert record.endswith(f"paddlevideo train -c {config} --max_iters 1 -o epochs=1")
    weights = str(tmp_path / "output")
    done = paddlevideo("test", "-w", weights, "--report", "page.html")
    assert done.returncode == 0 and (tmp_path / "page.html").is_file(), done.stderr


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_output_that_cannot_be_printed_is_no_traceback(paddlevideo, option):
    with open("/dev/full", "w") as full:
        done = paddlevideo(option, capture_output=False, stdout=full, stderr=subprocess.PIPE)
    message = "error: standard output: No space left on device\n"
    assert (done.returncode, done.stderr) == (1, message)
    reader, writer = os.pipe()
    os.close(reader)
    done = paddlevideo(option, capture_output=False, stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.slow
@pytest.mark.parametrize(
    "program", [["paddlevideo"], [sys.executable, "-m", "paddlevideo"]], ids=["program", "module"]
)
def test_two_processes_of_the_launcher_train(paddlevideo, tmp_path, program):
    config = str(make_project(tmp_path))
    launch = ["-m", "paddle.distributed.launch", "--nproc_per_node", "2", "--log_dir", "log"]
    words = [*program, "train", "-c", config, "-o", "device=cpu", "--max_iters", "1"]
    done = paddlevideo(*launch, *words, program=(sys.executable,))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 rank(s)" in (tmp_path / "log" / "workerlog.0").read_text()
