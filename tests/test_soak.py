"""Faults at random moments of a run, again and again; at the end nothing is lost.

``SOAK_FAULTS=100 make soak`` goes on for longer, from another seed with ``SOAK_SEED``.
"""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from paddlevideo.safe_pickle import load_state
from tests.tiny_data import make_project

ROOT = Path(__file__).parents[1]
FAULTS = int(os.environ.get("SOAK_FAULTS", "4"))
SEED = int(os.environ.get("SOAK_SEED", "0"))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("unmeasured"),
    pytest.mark.timeout(max(900, 60 * FAULTS)),
]

#: Steps of a tiny model take milliseconds: a fault must have a chance to hit one.
SLOW = """
import time
from paddlevideo.tasks.train import Trainer

step = Trainer.train_step

def train_step(self, window):
    time.sleep(0.1)
    step(self, window)

Trainer.train_step = train_step
"""
KINDS = ("kill", "terminate", "interrupt", "cut", "flip", "no manifest", "full disk")


def start(folder, output, *more, file_size=None):
    changes = [f"output_dir={output}", "epochs=6", "save_steps=1", "num_threads=1", *more]
    arguments = ["--resume", "auto", "--import", "slow", "--validate", "-o", *changes]
    limit = resource.RLIM_INFINITY if file_size is None else file_size

    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return subprocess.Popen(
        [sys.executable, str(ROOT / "main.py"), "-c", str(folder / "tiny.yaml"), *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(folder)])},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=limited,
    )


def until_it_trains(process):
    return any("train step" in line for line in process.stdout)


def newest(output):
    """The manifest that was written last."""
    manifests = output.glob("Tiny_[es]*.json")
    return max(manifests, key=lambda path: path.stat().st_mtime_ns, default=None)


def damage(output, kind, rng):
    """Something that happens to the newest checkpoint after its process is gone."""
    manifest = newest(output)
    if manifest is None:
        return
    file = manifest.with_suffix(rng.choice((".pdparams", ".pdopt")))
    if kind == "no manifest":
        manifest.unlink()
    elif kind == "cut":
        os.truncate(file, rng.randrange(file.stat().st_size))
    elif kind == "flip":
        content = bytearray(file.read_bytes())
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        file.write_bytes(content)


def one_fault(folder, output, kind, rng):
    """Starts or resumes the run and disturbs it. True: it had ended before that."""
    process = start(folder, output, file_size=1 << 20 if kind == "full disk" else None)
    trains = until_it_trains(process)
    time.sleep(rng.uniform(0, 1.5))
    numbers = {"terminate": signal.SIGTERM, "interrupt": signal.SIGINT, "full disk": None}
    number = numbers.get(kind, signal.SIGKILL)
    if number is not None:
        process.send_signal(number)
    text, _ = process.communicate(timeout=120)
    if kind == "full disk" and trains:
        assert process.returncode == 1 and "could not be written" in text, text
    elif number in (signal.SIGTERM, signal.SIGINT) and process.returncode:
        assert process.returncode in (75, 130, -number), text
    damage(output, kind, rng)
    return process.returncode == 0


def finish(folder, output):
    process = start(folder, output)
    text, _ = process.communicate(timeout=300)
    assert process.returncode == 0, text


def assert_same_end(first, second):
    for name in ("Tiny_epoch_00006.pdparams", "Tiny_best.pdparams"):
        a, b = (load_state(folder / name) for folder in (first, second))
        assert a.keys() == b.keys()
        for key in a:
            np.testing.assert_array_equal(a[key], b[key], key)
    manifests = [folder / "Tiny_epoch_00006.json" for folder in (first, second)]
    progress = [json.loads(path.read_text())["progress"] for path in manifests]
    assert progress[0] == progress[1]


def test_nothing_is_lost_whatever_happens(tmp_path):
    make_project(tmp_path)
    (tmp_path / "slow.py").write_text(SLOW)
    finish(tmp_path, tmp_path / "whole")
    rng, injected, runs = random.Random(SEED), Counter(), 0
    while injected.total() < FAULTS:
        runs += 1
        output = tmp_path / f"disturbed{runs}"
        for kind in rng.sample(KINDS, min(len(KINDS), FAULTS - injected.total())):
            if one_fault(tmp_path, output, kind, rng):
                break  # it had ended before
            injected[kind] += 1
        finish(tmp_path, output)
        assert_same_end(tmp_path / "whole", output)
    print(f"{injected.total()} faults in {runs} runs, nothing lost: {dict(injected)}")
