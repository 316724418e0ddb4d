"""Jobs of two processes that are stopped, killed and started again, as docs/training.md says."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from paddlevideo.safe_pickle import load_state
from paddlevideo.solver.schedules import Clock, make_schedule
from tests.tiny_data import NO_DROPOUT, make_project

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow

#: Imported by every rank: once, at the third step, does something to rank 1.
ONCE = """
import os, pathlib, signal
from paddlevideo.tasks.train import Trainer

step, calls, marker = Trainer.train_step, [0], pathlib.Path({marker!r})

def train_step(self, window):
    calls[0] += 1
    if calls[0] == 3 and self.world.rank == 1 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.{name})
    step(self, window)

Trainer.train_step = train_step
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    make_project(folder)
    return folder


def command(project, processes, *arguments):
    launch = ["-m", "paddle.distributed.launch", "--nproc_per_node", str(processes)]
    start = [sys.executable, *launch, "--log_dir", str(project / "log")]
    train = [str(ROOT / "main.py"), "-c", str(project / "tiny.yaml"), "--import", "once"]
    return [*start, *train, *arguments]


def environment(project):
    paths = [str(ROOT), str(project), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def start(project, words, stdout=subprocess.PIPE):
    return subprocess.Popen(
        words,
        cwd=project,
        env=environment(project),
        stdout=stdout,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(project, words, shell=False):
    return subprocess.run(
        words,
        cwd=project,
        env=environment(project),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        shell=shell,
        executable="/bin/bash" if shell else None,
    )


def changes(output, *more):
    return ["-o", f"output_dir={output}", "DATASET.batch_size=2", "save_steps=1", *more]


def weights(output):
    return load_state(output / "Tiny_epoch_00002.pdparams")


def assert_equal(first, second, tolerance=0.0):
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_allclose(first[name], second[name], rtol=0, atol=tolerance, err_msg=name)


@pytest.fixture(scope="module", autouse=True)
def hung(tmp_path_factory):
    """A job whose rank 1 hangs, and its folder: it waits for half a minute beside the tests."""
    folder = tmp_path_factory.mktemp("hung")
    make_project(folder)
    (folder / "once.py").write_text(ONCE.format(marker=str(folder / "once"), name="SIGSTOP"))
    output = changes(folder / "output", "save_steps=0", "rank_timeout=0.5")
    process = start(folder, command(folder, 2, *output), stdout=subprocess.DEVNULL)
    yield process, folder
    process.kill()
    process.wait()


@pytest.fixture(scope="module")
def whole(project):
    """The weights of a job that was never disturbed."""
    (project / "once.py").write_text("")
    done = run(project, command(project, 2, *changes(project / "whole")))
    assert done.returncode == 0, done.stdout + done.stderr
    return weights(project / "whole")


def test_a_signal_that_reaches_one_rank_stops_all_and_nothing_is_lost(project, whole):
    output = project / "stopped"
    (project / "once.py").write_text(ONCE.format(marker=str(project / "a"), name="SIGUSR1"))
    done = run(project, command(project, 2, *changes(output, "save_steps=0")))
    assert done.returncode == 75
    (saved,) = output.glob("Tiny_step_*.json")
    assert json.loads(saved.read_text())["progress"]["step"] == 2  # before the third
    logs = [(project / "log" / f"workerlog.{rank}").read_text() for rank in (0, 1)]
    assert all("stopped on request" in text and "Traceback" not in text for text in logs)
    resumed = command(project, 2, "--resume", "auto", *changes(output, "save_steps=0"))
    assert run(project, resumed).returncode == 0
    assert_equal(weights(output), whole)


def test_a_killed_rank_costs_nothing_with_the_documented_loop(project, whole):
    output = project / "killed"
    (project / "once.py").write_text(ONCE.format(marker=str(project / "b"), name="SIGKILL"))
    text = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    (loop,) = re.findall(r"```bash\n(for attempt.*?)```", text, re.DOTALL)
    (launch,) = re.findall(r"python -m .* --resume auto", loop)
    words = " ".join(command(project, 2, "--resume", "auto", *changes(output)))
    script = loop.replace(launch, words).replace("sleep 10", "echo started again; sleep 1")
    done = run(project, script, shell=True)
    assert done.returncode == 0 and done.stdout.count("started again") == 1
    assert_equal(weights(output), whole)


def test_another_number_of_processes_goes_on_with_the_same_order(project, tmp_path):
    (project / "once.py").write_text(SEEN.format(path=str(tmp_path / "seen")))
    output = tmp_path / "out"
    steady = changes(output, "save_steps=0", *NO_DROPOUT)
    assert run(project, command(project, 2, *steady, "max_iters=3")).returncode == 0
    alone = [sys.executable, *command(project, 1, "--resume", "auto", *steady)[7:]]
    done = run(project, alone)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (
        "resumed with batches of 2 samples over all processes instead of 4: 12 samples"
        in done.stdout
    )
    together = [json.loads(line) for line in (tmp_path / "seen.2").read_text().splitlines()]
    later = [json.loads(line) for line in (tmp_path / "seen.1").read_text().splitlines()]
    first = sorted(index for batch in together for index in batch)
    rest = sorted(index for batch in later[:2] for index in batch)
    assert len(first) == 12 and sorted(first + rest) == list(range(16))


RATES = {"name": "WarmupPiecewiseDecay", "warmup_steps": 6, "boundaries": [10], "values": [1, 0.1]}


@pytest.mark.parametrize(("before", "now"), [(2, 1), (1, 2)])
def test_another_number_of_processes_keeps_rates_and_end_of_the_run(project, before, now):
    """Whatever is written in steps counts those of the run as it was begun: 16 or 8 of them."""
    (project / "once.py").write_text("")
    output = project / f"rates_{before}"
    steady = changes(output, "save_steps=0", f"OPTIMIZER.learning_rate={json.dumps(RATES)}")
    for processes, more in ((before, ["max_iters=3"]), (now, ["max_iters=12", "epochs=4"])):
        words = command(project, processes, "--resume", "auto", "--force", *steady, *more)
        done = run(project, words if processes > 1 else [sys.executable, *words[7:]])
        assert done.returncode == 0, done.stdout + done.stderr
    lines = (output / "train.jsonl").read_text().splitlines()
    records = [record for record in map(json.loads, lines) if "lr" in record]
    assert [record["step_total"] for record in records] == list(range(1, len(records) + 1))
    steps = {1: 8, 2: 4}
    begun, schedule = steps[before], make_schedule(RATES)
    for record in records[3:]:
        epochs = record["epoch"] - 1 + record["step"] / steps[now]
        assert record["lr"] == pytest.approx(schedule(Clock(epochs * begun, begun, 4 * begun)))
    # Three steps that end within a step of twice the size: it is taken from its beginning.
    assert len(records) == 3 + {1: 18, 2: 5}[now]
    log = (output / "log.txt").read_text()
    assert "lr: 0 " not in log and "eta: -" not in log


#: Imported by every rank: writes down the samples of each step.
SEEN = """
import json
from paddlevideo.tasks.train import Trainer

step = Trainer.train_step

def train_step(self, window):
    with open({path!r} + "." + str(self.world.size), "a") as file:
        for batch in window:
            file.write(json.dumps([int(index) for index in batch["index"]]) + chr(10))
    step(self, window)

Trainer.train_step = train_step
"""


def test_sigterm_to_the_launcher_saves(project, whole):
    output = project / "terminated"
    (project / "once.py").write_text("")
    words = command(project, 2, *changes(output, "save_steps=0", "epochs=500", "save_interval=500"))
    process = start(project, words)
    assert process.stdout is not None
    for line in process.stdout:
        if "train step" in line:
            break
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    (saved,) = output.glob("Tiny_step_*.json")
    assert json.loads(saved.read_text())["progress"]["step"] > 0


def test_a_rank_that_hangs_is_named_and_ends_the_job(hung):
    process, folder = hung
    assert process.wait(timeout=300) == 1
    log = (folder / "log" / "workerlog.0").read_text(errors="replace")
    assert "rank 0 waits at step 3 for rank(s) 1" in log
    assert re.search(r"error: rank 0 has waited 3\d s at step 3 for rank\(s\) 1, which hang", log)
