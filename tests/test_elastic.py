"""A job of two launchers that meet through etcd goes on when a machine is lost and comes back.

Needs the program etcd (Debian: etcd-server) and the Python package etcd3 with protobuf<4.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from paddlevideo.safe_pickle import load_state
from tests.tiny_data import make_project

ROOT = Path(__file__).parents[1]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("etcd") is None or importlib.util.find_spec("etcd3") is None,
        reason="elastic jobs need the program etcd and the Python package etcd3",
    ),
]

#: Imported by every rank: steps slow enough for a machine to be lost between two of them.
SLOWLY = """
import time
from paddlevideo.tasks.train import Trainer

step = Trainer.train_step

def train_step(self, window):
    time.sleep(3)
    step(self, window)

Trainer.train_step = train_step
"""


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.fixture
def etcd(tmp_path):
    """The address of a running etcd."""
    client, peer = (f"127.0.0.1:{port}" for port in free_ports(2))
    ours, others = f"http://{client}", f"http://{peer}"
    process = subprocess.Popen(
        [
            *("etcd", "--data-dir", str(tmp_path / "etcd")),
            *("--listen-client-urls", ours, "--advertise-client-urls", ours),
            *("--listen-peer-urls", others, "--initial-advertise-peer-urls", others),
            *("--initial-cluster", f"default={others}"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield client
    finally:
        process.terminate()
        process.wait(timeout=30)


def documented(etcd, folder, number):
    """The line of docs/training.md, on one process a machine and a tiny configuration."""
    text = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"```bash\n(python -m \S+ --master etcd://.*?)```", text, re.DOTALL)
    line = line.replace("\\\n", " ").replace("10.0.0.1:2379", etcd)
    begin, end = line.split(" main.py -c actbert.yaml ")
    words = [sys.executable, *shlex.split(begin)[1:], "--nproc_per_node", "1"]
    words += ["--log_dir", str(folder / f"log{number}"), str(ROOT / "main.py")]
    words += ["-c", str(folder / "tiny.yaml"), *shlex.split(end), "--import", "slowly"]
    return [*words, "-o", f"output_dir={folder / 'out'}", "DATASET.batch_size=2", "save_steps=1"]


def start(words, folder):
    paths = [str(ROOT), str(folder), os.environ.get("PYTHONPATH", "")]
    return subprocess.Popen(
        words,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def lose(machine):
    """Kills a launcher and, with it, its rank."""
    ranks = Path(f"/proc/{machine.pid}/task/{machine.pid}/children").read_text().split()
    for pid in (machine.pid, *map(int, ranks)):
        os.kill(pid, signal.SIGKILL)
    machine.wait(timeout=30)


def wait_for(condition, seconds):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.2)


def test_a_machine_that_is_lost_and_comes_back_costs_nothing(tmp_path, etcd):
    make_project(tmp_path)
    (tmp_path / "slowly.py").write_text(SLOWLY)
    words = [documented(etcd, tmp_path, number) for number in (0, 1)]
    machines = [start(each, tmp_path) for each in words]
    try:
        wait_for(lambda: list((tmp_path / "out").glob("Tiny_step_*.json")), 120)
        lose(machines[1])
        time.sleep(2)
        machines[1] = start(words[1], tmp_path)
        assert [machine.wait(timeout=240) for machine in machines] == [0, 0]
    finally:
        for machine in machines:
            if machine.poll() is None:
                lose(machine)
    log = (tmp_path / "out" / "log.txt").read_text()
    assert re.search(r"2 rank\(s\)", log) and "resumed step_" in log
    plain = [sys.executable, "-m", "paddle.distributed.launch", "--nproc_per_node", "2"]
    plain += [str(ROOT / "main.py"), "-c", str(tmp_path / "tiny.yaml"), "-o"]
    whole = [*plain, f"output_dir={tmp_path / 'whole'}", "DATASET.batch_size=2"]
    assert start(whole, tmp_path).wait(timeout=240) == 0
    first, second = (
        load_state(tmp_path / name / "Tiny_epoch_00002.pdparams") for name in ("out", "whole")
    )
    for name, array in second.items():
        np.testing.assert_array_equal(first[name], array, name)
