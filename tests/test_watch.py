"""Ranks that wait for each other: quickly, for long where that is right, and named if they hang."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from paddlevideo.runtime import watch
from tests.tiny_data import make_project

ROOT = Path(__file__).parents[1]


def start(folder, *words):
    """Starts two processes in ``folder``."""
    paths = [str(ROOT), str(folder), os.environ.get("PYTHONPATH", "")]
    command = [sys.executable, "-m", "paddle.distributed.launch", "--nproc_per_node", "2"]
    return subprocess.Popen(
        [*command, "--log_dir", str(folder / "log"), *map(str, words)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
    )


def outcome(process, folder):
    """The exit code of two processes, and what each of them wrote."""
    code = process.wait(timeout=300)
    files = [folder / "log" / f"workerlog.{rank}" for rank in (0, 1)]
    return code, [file.read_text(errors="replace") for file in files]


def launch(folder, *words):
    return outcome(start(folder, *words), folder)


BARRIERS = """
import statistics, time
from paddlevideo.runtime import World

world, times = World(), []
for _ in range(60):
    began = time.perf_counter()
    world.barrier()
    times.append(time.perf_counter() - began)
print("median", statistics.median(times[10:]))
"""


@pytest.mark.slow
def test_a_barrier_is_quick(tmp_path):
    """0.5 ms; it took 131 while the store's small packets were delayed."""
    (tmp_path / "barriers.py").write_text(BARRIERS)
    code, logs = launch(tmp_path, tmp_path / "barriers.py")
    assert code == 0, logs
    for text in logs:
        (median,) = re.findall(r"median (\S+)", text)
        assert float(median) < 0.02


HANGS_IN_BACKWARD = """
import time
from paddlevideo.tasks.train import Trainer

step, calls = Trainer.train_step, [0]

def sleep_in_backward(gradient):
    time.sleep(60)

def train_step(self, window):
    calls[0] += 1
    if calls[0] == 2 and self.world.rank == 1:
        self.model.backbone.match_head.weight.register_hook(sleep_in_backward)
    step(self, window)

Trainer.train_step = train_step
"""


#: Longer than the half minute after which gloo gives up, on one rank.
LONG_VALIDATION = """
import time
from paddlevideo.tasks.train import Trainer

validate = Trainer.validate

def slow(self):
    if self.world.rank == 1:
        time.sleep(33)
    validate(self)

Trainer.validate = slow
"""
LONG_SAVING = """
import time
from paddlevideo.tasks.saving import Saver

save, late = Saver.save, []

def slow(self, tag, *rest):
    if tag == "best" and not late:
        late.append(time.sleep(33))
    save(self, tag, *rest)

Saver.save = slow
"""


#: By name: a module that every rank imports, and further options.
LONG_RUNS = {
    "hangs": (HANGS_IN_BACKWARD,),
    "validation": (LONG_VALIDATION, "val_interval=1"),
    "saving, divided": (LONG_SAVING, "sharding=1", "val_interval=1"),
}


@pytest.fixture(scope="module")
def long_runs(tmp_path_factory):
    """The runs, started together, because most of their time they wait; each with its folder."""
    runs = {}
    for name, (patch, *changes) in LONG_RUNS.items():
        folder = tmp_path_factory.mktemp("run")
        make_project(folder)
        (folder / "patch.py").write_text(patch)
        config = [ROOT / "main.py", "-c", folder / "tiny.yaml", "--import", "patch", "--validate"]
        words = [*config, "-o", "DATASET.batch_size=2", "epochs=1", *changes]
        runs[name] = start(folder, *words), folder
    yield runs
    for process, _ in runs.values():
        process.kill()
        process.wait()


@pytest.mark.slow
def test_a_rank_that_hangs_in_the_backward_pass_is_named_before_gloo_ends_the_others(long_runs):
    code, logs = outcome(*long_runs["hangs"])
    assert code != 0
    for text in logs:
        told = re.search(
            r"step 2 takes 2\d s so far\. Rank\(s\) 1 is late; on CPU the other ranks .*", text
        )
        assert told, text
        assert "rank 1 is in sleep_in_backward (patch.py, line 8)" in told.group()
        assert "rank 0 waits for the others in backward" in told.group()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["validation", "saving, divided"])
def test_validation_and_saving_may_take_longer_than_gloo_waits(long_runs, name):
    process, folder = long_runs[name]
    code, logs = outcome(process, folder)
    assert code == 0, logs
    assert (folder / "output" / "Tiny_epoch_00001.pdparams").is_file()
    assert re.search(r"rank \d waits at the end of a test or of a checkpoint for", "".join(logs))
    assert not re.search(r"takes \d+ s so far", "".join(logs))


class Store(dict):
    """The launcher's store, within a process."""

    def add(self, key, amount):
        self[key] = self.get(key, 0) + amount
        return self[key]

    def set(self, key, text):
        self[key] = text.encode()


def test_a_step_that_takes_too_long_is_told_once_and_a_pause_is_not(monkeypatch):
    monkeypatch.setattr(watch, "INTERVAL", 0.01)
    monkeypatch.setattr(watch, "GATHERING", 0.01)
    told, waiting = [], threading.Event()
    monkeypatch.setattr(watch.log, "warning", lambda text, *of: (told.append(of), waiting.set()))
    store = Store()
    watched = watch.Watch(0, 2, store, patience=0.1)
    watched.begin("step 1")
    watched.end()
    assert not waiting.wait(0.4)
    watched.begin("step 2")
    assert waiting.wait(10)
    assert not threading.Event().wait(0.3) and len(told) == 1
    where, seconds, places = told[0]
    assert where == "step 2" and seconds > 0.1 and "rank 1 does not answer" in places
    watched.end()


def test_a_store_that_is_gone_ends_the_thread_without_a_traceback(monkeypatch):
    class Gone:
        def add(self, key, amount):
            raise ValueError("(InvalidArgument) TCP send error. Details: Broken pipe.")

    monkeypatch.setattr(watch, "INTERVAL", 0.01)
    raised: list[object] = []
    monkeypatch.setattr(threading, "excepthook", raised.append)
    watched = watch.Watch(1, 2, Gone(), patience=0.1)
    watched._thread.join(10)
    assert not watched._thread.is_alive() and not raised


ENDS_FIRST = """
import os, time
from paddlevideo.runtime import RankLost, World

world = World()
world.barrier()
sleep = time.sleep
if world.rank == 0:
    sleep(0.2)
else:
    time.sleep = lambda seconds: sleep(0.6)  # as on a busy machine
world.barrier()  # rank 0 does not take the store away from those that are still in it
if world.rank == 0:
    os._exit(0)
try:
    world.barrier("the end")
    world.barrier("the end")
except RankLost as error:
    print("told:", error)
"""


@pytest.mark.slow
def test_a_barrier_without_rank_0_says_so(tmp_path):
    (tmp_path / "ends.py").write_text(ENDS_FIRST)
    _, logs = launch(tmp_path, tmp_path / "ends.py")
    said = "told: rank 1 has lost the connection to rank 0 at the end. See the log of rank 0"
    assert said in logs[1] and "Traceback" not in logs[1]


GOES_ON = """
import time
from paddlevideo.runtime import RankLost, World
from paddlevideo.runtime import world as module

module.LEAVE = 2.0
world = World()
world.barrier()
if world.rank == 0:
    time.sleep(2)
try:
    world.barrier("here", 0.5)
except RankLost:
    print("rank", world.rank, "did not leave")
world.barrier()
began = time.monotonic()
world.barrier()
world.barrier()
print("waited", "long" if time.monotonic() - began > 1 else "no more")
"""


@pytest.mark.slow
def test_a_barrier_that_a_rank_did_not_leave_delays_no_later_ones(tmp_path):
    (tmp_path / "goes_on.py").write_text(GOES_ON)
    code, logs = launch(tmp_path, tmp_path / "goes_on.py")
    assert code == 0
    assert "rank 1 did not leave" in logs[1] and "waited no more" in logs[0]


def test_those_who_do_not_wait_are_named():
    waits = f"{watch.WAITS}backward"
    text = watch.message({0: waits, 1: "is in read (disk.py, line 3)", 2: None, 3: waits})
    assert text.startswith("Rank(s) 1, 2 are late; on CPU the other ranks abort after 30 s")
    assert "rank 1 is in read (disk.py, line 3); rank 2 does not answer; rank 0 waits" in text
    assert watch.message({0: waits, 1: waits}) == f"rank 0 {waits}; rank 1 {waits}"


def test_the_location_of_the_main_thread():
    assert re.fullmatch(
        r"is in main_thread_location \(watch\.py, line \d+\)", watch.main_thread_location()
    )


class Counters(dict):
    """Counts as the launcher's store does."""

    def add(self, key, number):
        self[key] = self.get(key, 0) + number
        return self[key]


def test_a_rank_is_lost_after_a_minute_without_a_sign_of_life(monkeypatch):
    store, clock = Counters(), [0.0]
    monkeypatch.setattr(watch.time, "monotonic", lambda: clock[0])
    store.add("alive/1", 1)  # rank 2 has not yet given one: it may still be starting
    silence = watch.Silence(store)
    for clock[0] in (1.0, 59.0):
        assert silence.lost([1, 2]) == []
    store.add("alive/1", 1)
    for clock[0], lost in ((60.0, []), (119.0, []), (121.0, [1])):
        assert silence.lost([1, 2]) == lost
    # What an earlier wait has seen does not count: ranks that wait themselves give no signs.
    assert watch.Silence(store).lost([1, 2]) == []


FINDS_ITS_FILES = """
import os
from paddlevideo.runtime import World


def count():
    return len(os.listdir("/proc/self/fd"))


first = World()
first.barrier()
first.barrier()
before = count()
second = World()
second.barrier()
if second.rank == 0:
    import time
    time.sleep(0.5)
    open("arrived", "w").close()
second.barrier()
print("arrived", os.path.exists("arrived"), "more", count() - before)
"""


@pytest.mark.slow
def test_a_second_run_of_the_processes_waits_too_and_leaves_no_files_open(tmp_path):
    """It found the first run's counts, and each run left a copy of every open file."""
    (tmp_path / "twice.py").write_text(FINDS_ITS_FILES)
    code, logs = launch(tmp_path, tmp_path / "twice.py")
    assert code == 0, logs
    for text in logs:
        assert re.search(r"arrived True more [-0-2]", text), text
