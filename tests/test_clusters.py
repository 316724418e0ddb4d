"""The commands of docs/clusters.md on one machine, with stand-ins for a cluster's programs."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from paddlevideo.safe_pickle import load_state
from tests.test_elastic import free_ports, wait_for
from tests.tiny_data import make_project

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "clusters.md").read_text(encoding="utf-8")
pytestmark = pytest.mark.slow

#: Imported by every rank: steps slow enough to lose a machine between two, and little patience.
SLOWLY = """
import time
from paddlevideo.runtime import watch
from paddlevideo.tasks.train import Trainer

watch.SILENCE = 4.0
step = Trainer.train_step

def train_step(self, window):
    time.sleep(1)
    step(self, window)

Trainer.train_step = train_step
"""

#: Programs that the commands call, on one machine.
STAND_INS = {
    "python": f'exec "{sys.executable}" "$@"',
    "ssh": 'shift; exec bash -c "$*"',
    "scontrol": "echo 127.0.0.1; echo 127.0.0.2",
    "srun": """for id in 0 1; do SLURM_NODEID=$id "$@" & pids="$pids $!"; done
        for pid in $pids; do wait "$pid" || exit; done""",
}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cluster")
    make_project(folder)
    (folder / "slowly.py").write_text(SLOWLY)
    programs = folder / "bin"
    programs.mkdir()
    for name, script in STAND_INS.items():
        (programs / name).write_text(f"#!/bin/bash\n{script}\n")
        (programs / name).chmod(0o755)
    return folder


def start(project, *words, **more):
    paths = [str(ROOT), str(project), os.environ.get("PYTHONPATH", "")]
    env = {
        **{"PATH": f"{project / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": ":".join(paths)},
        "LAUNCH": f"--nproc_per_node 1 --log_dir {project / 'log'}",
        **{"PAUSE": "1", "ATTEMPTS": "4", **more},
    }
    with open(project / "printed.txt", "a") as printed:
        return subprocess.Popen(
            words,
            cwd=ROOT,
            env={**os.environ, **env},
            stdout=printed,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def arguments(project, output, *changes):
    steady = [f"output_dir={output}", "DATASET.batch_size=2", "device=cpu", *changes]
    return ["-c", str(project / "tiny.yaml"), "--import", "slowly", "-o", *steady]


def block(language, title):
    (text,) = re.findall(rf"## {title}\n.*?```{language}\n(.*?)```", PAGE, re.DOTALL)
    return text


def on_ssh():
    return block("bash", "ssh").replace("10.0.0.1 10.0.0.2", "127.0.0.1 127.0.0.1")


def on_slurm():
    return block("bash", "Slurm")


def on_kubernetes():
    _, job = yaml.safe_load_all(block("text", "Kubernetes"))
    (container,) = job["spec"]["template"]["spec"]["containers"]
    (command,) = container["args"]
    pods = range(job["spec"]["completions"])
    lines = [f"JOB_COMPLETION_INDEX={pod} bash -c '{command}' &" for pod in pods]
    return "\n".join([*lines, "wait"]).replace("actbert-0.actbert", "127.0.0.1")


@pytest.mark.parametrize("script", [on_ssh, on_slurm, on_kubernetes], ids=["ssh", "Slurm", "K8s"])
def test_the_documented_command_trains_on_two_machines(project, tmp_path, script):
    (port,) = free_ports(1)
    words = " ".join(arguments(project, tmp_path, "max_iters=1"))
    text = script().replace("8090", str(port)).replace("-c actbert.yaml", words)
    job = start(project, "bash", "-c", text, SLURM_NNODES="2", SLURM_JOB_NODELIST="host[0-1]")
    assert job.wait(timeout=120) == 0, (project / "printed.txt").read_text()
    assert "2 rank(s)" in (tmp_path / "log.txt").read_text()
    assert list(tmp_path.glob("Tiny_epoch_*.pdparams"))


def node(project, port, rank, output):
    words = arguments(project, output, "save_steps=1")
    script = str(ROOT / "tools" / "cluster_node.sh")
    options = f"--nproc_per_node 1 --log_dir {output / f'log{rank}'}"
    master = f"127.0.0.1:{port}"
    return start(project, "bash", script, master, "2", str(rank), *words, LAUNCH=options)


def children(process):
    return Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()


def lose_machine(machine):
    """Kills the loop, its launcher and the launcher's rank."""
    (launcher,) = map(int, children(machine))
    ranks = map(int, Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split())
    for pid in (machine.pid, launcher, *ranks):
        os.kill(pid, signal.SIGKILL)
    machine.wait(timeout=30)


@pytest.fixture(scope="module")
def undisturbed(project, tmp_path_factory):
    """The weights of two processes on one machine."""
    output = tmp_path_factory.mktemp("undisturbed")
    plain = [sys.executable, "-m", "paddle.distributed.launch", "--nproc_per_node", "2"]
    job = start(project, *plain, "main.py", *arguments(project, output))
    assert job.wait(timeout=240) == 0
    return load_state(output / "Tiny_epoch_00002.pdparams")


@pytest.mark.parametrize("lost", [0, 1])
def test_a_lost_machine_that_starts_again_costs_only_the_steps_since_a_checkpoint(
    project, undisturbed, tmp_path, lost
):
    (port,) = free_ports(1)
    output = tmp_path / "out"
    machines = [node(project, port, rank, output) for rank in (0, 1)]
    try:
        wait_for(lambda: list(output.glob("Tiny_step_*.json")), 120)
        lose_machine(machines[lost])
        machines[lost] = node(project, port, lost, output)
        assert [machine.wait(timeout=240) for machine in machines] == [0, 0]
    finally:
        for machine in machines:
            if machine.poll() is None:
                lose_machine(machine)
    log = (output / "log.txt").read_text()
    assert "2 rank(s)" in log and "resumed step_" in log
    weights = load_state(output / "Tiny_epoch_00002.pdparams")
    for name, array in undisturbed.items():
        np.testing.assert_array_equal(weights[name], array, name)


def test_sigterm_saves_and_ends_the_loop(project, tmp_path):
    (port,) = free_ports(1)
    machines = [node(project, port, rank, tmp_path) for rank in (0, 1)]
    wait_for(lambda: list(tmp_path.glob("Tiny_step_*.json")), 120)
    for machine in machines:
        machine.terminate()
    assert [machine.wait(timeout=60) for machine in machines] == [15, 15]
    for rank in (0, 1):
        assert "stopped on request" in (tmp_path / f"log{rank}" / "workerlog.0").read_text()
