"""Signals: the step is finished, everything is saved, and a resumed run does not show it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from paddlevideo.checkpoint import Checkpoints
from paddlevideo.cli import run as main
from paddlevideo.retrieval import MSRVTTMetric
from paddlevideo.safe_pickle import load_state
from paddlevideo.solver.updater import Updater
from paddlevideo.tasks.train import Trainer
from tests.tiny_data import make_project

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that was never stopped."""
    folder = tmp_path_factory.mktemp("whole")
    assert main.main(["-c", str(make_project(folder)), "--validate"]) == 0
    return folder


def assert_same_end(first, second):
    a, b = (load_state(folder / "Tiny_epoch_00002.pdparams") for folder in (first, second))
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], name)
    best = [load_state(folder / "Tiny_best.pdparams") for folder in (first, second)]
    for name in best[0]:
        np.testing.assert_array_equal(best[0][name], best[1][name], name)


def signal_at(monkeypatch, owner, name, calls, number):
    """Sends ``number`` to this process when ``owner.name`` is called for the given times."""
    really, count = getattr(owner, name), [0]

    def call(self, *arguments, **options):
        count[0] += 1
        if count[0] in calls:
            for _ in range(3):  # the launcher repeats itself
                os.kill(os.getpid(), number)
        return really(self, *arguments, **options)

    monkeypatch.setattr(owner, name, call)


@pytest.mark.parametrize(
    ("number", "method", "call", "newest"),
    [
        (signal.SIGTERM, (Trainer, "train_step"), 2, "step_00000001"),  # between two steps
        (signal.SIGTERM, (Updater, "step"), 2, "step_00000002"),
        (signal.SIGUSR1, (Updater, "step"), 4, "step_00000004"),  # the last one of an epoch
        (signal.SIGTERM, (MSRVTTMetric, "update"), 1, "step_00000001"),  # before the first step
        (signal.SIGTERM, (Trainer, "save"), 2, "epoch_00001"),  # at an epoch's end
    ],
)
def test_a_stopped_run_goes_on_as_if_it_had_not_been(
    whole, tmp_path, monkeypatch, capfd, number, method, call, newest
):
    arguments = ["-c", str(whole / "tiny.yaml"), "--validate", "-o", f"output_dir={tmp_path}"]
    with monkeypatch.context() as patch:
        signal_at(patch, *method, [call], number)
        assert main.main(arguments) == 75
    assert f"{signal.Signals(number).name}: stops after this step" in capfd.readouterr().err
    assert Checkpoints(tmp_path, "Tiny").newest().tag == newest
    assert (tmp_path / "curves.png").is_file()
    assert main.main(["--resume", "auto", *arguments]) == 0
    assert_same_end(whole / "output", tmp_path)
    assert not list(tmp_path.glob("Tiny_step_*"))


def test_a_run_that_is_stopped_in_its_validation_comes_back_to_it(whole, tmp_path, monkeypatch):
    arguments = ["-c", str(whole / "tiny.yaml"), "--validate", "-o", f"output_dir={tmp_path}"]
    with monkeypatch.context() as patch:
        signal_at(patch, MSRVTTMetric, "update", [3], signal.SIGTERM)
        assert main.main(arguments) == 75
    progress = json.loads((tmp_path / "Tiny_epoch_00001.json").read_text())["progress"]
    assert progress["pending"] and progress["epoch"] == 1 and progress["best"] is None
    assert not list(tmp_path.glob("Tiny_step_*")), "the epoch holds all of it"
    assert main.main(["--resume", "auto", *arguments]) == 0
    assert_same_end(whole / "output", tmp_path)
    ends = [
        json.loads((folder / "Tiny_epoch_00002.json").read_text())["progress"]
        for folder in (whole / "output", tmp_path)
    ]
    assert ends[0] == ends[1] and not ends[0]["pending"]


def test_checkpoints_within_an_epoch(whole, tmp_path):
    arguments = ["-c", str(whole / "tiny.yaml"), "--validate", "-o", f"output_dir={tmp_path}"]
    saved = []

    def see(self, tag, really=Trainer.save):
        saved.append(tag)
        really(self, tag)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "save", see)
        assert main.main([*arguments, "save_steps=2"]) == 0
    assert [tag for tag in saved if tag != "best"] == [
        *("step_00000002", "epoch_00001", "step_00000006", "epoch_00002")
    ]
    assert_same_end(whole / "output", tmp_path)


def test_changed_settings_are_named_and_need_force(whole, tmp_path, capsys):
    arguments = ["-c", str(whole / "tiny.yaml"), "-o", f"output_dir={tmp_path}"]
    assert main.main([*arguments, "max_iters=2"]) == 0
    changed = [*arguments, "OPTIMIZER.weight_decay=0.5", "DATASET.train.bert_model=x", "keep=1"]
    capsys.readouterr()
    assert main.main(["--resume", "auto", *changed]) == 2
    message = capsys.readouterr().err
    assert "OPTIMIZER.weight_decay" in message and "-> 0.5" in message
    assert "DATASET.train.bert_model: '(absent)' -> 'x'" in message
    assert "keep" not in message and "--force" in message
    changed = [*arguments, "OPTIMIZER.weight_decay=0.5"]
    assert main.main(["--resume", "auto", "--force", *changed]) == 0
    assert "resumed with a changed setting: OPTIMIZER.weight_decay" in capsys.readouterr().out


@pytest.mark.slow
def test_ctrl_c_saves_and_a_second_one_ends_it_at_once(tmp_path):
    make_project(tmp_path)
    command = [sys.executable, str(ROOT / "main.py"), "-c", str(tmp_path / "tiny.yaml")]
    changes = ["-o", "epochs=100000", "save_interval=100000"]

    def start():
        process = subprocess.Popen(
            [*command, *changes],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert process.stdout is not None
        for line in process.stdout:
            if "train step" in line:
                return process
        raise AssertionError("it never trained")

    process = start()
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in output
    assert "--resume auto continues from here" in output
    saved = list((tmp_path / "output").glob("Tiny_step_*"))
    assert len(saved) == 3
    for path in saved:
        path.unlink()
    process = start()
    begin = time.monotonic()
    process.send_signal(signal.SIGINT)
    time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode in (-signal.SIGINT, 130) and time.monotonic() - begin < 20


def test_a_rank_that_stops_keeps_its_exit_code_when_the_launcher_ends_it():
    """It sends SIGTERM to the others as soon as it sees that one of them has ended."""
    code = (
        "import os, signal, sys\n"
        "from paddlevideo.utils.command import begin_command, exit_code_of\n"
        "from paddlevideo.utils.errors import Stopped\n"
        "from paddlevideo.utils.stopping import StopRequest\n"
        "begin_command()\n"
        "def stopped():\n"
        "    try:\n"
        "        with StopRequest():\n"
        "            raise Stopped(signal.SIGTERM)\n"
        "    finally:\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "sys.exit(exit_code_of(stopped))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 75
