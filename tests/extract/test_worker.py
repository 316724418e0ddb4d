"""Native code that crashes costs one video; and whatever ends the run ends its worker."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from paddlevideo.extract import decode, draw, extractor, work, worker
from paddlevideo.loader.store import FeatureStore
from paddlevideo.utils.command import RESUMES
from paddlevideo.utils.errors import DataError
from tests.extract import samples

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    data = samples.write_video(folder / "a.mp4").read_bytes()
    for name in ("bad", "z"):
        (folder / f"{name}.mp4").write_bytes(data)
    return folder


@pytest.fixture
def run(capfd, tmp_path):
    return samples.Command(capfd, tmp_path / "c.store")


def statuses(tmp_path):
    lines = (tmp_path / "c.store.status.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


def on_bad(monkeypatch, place, name, action):
    """``place.name`` does ``action`` for bad.mp4."""
    real = getattr(place, name)

    def changed(self, *arguments):
        if Path(getattr(self, "path", self)).stem == "bad":
            action()
        return real(self, *arguments)

    monkeypatch.setattr(place, name, changed)


CRASHES = {
    "abort": (os.abort, "crashed (SIGABRT)"),
    "segmentation fault": (lambda: os.kill(os.getpid(), signal.SIGSEGV), "crashed (SIGSEGV)"),
    "out of memory": (lambda: os.kill(os.getpid(), signal.SIGKILL), "where memory is short"),
    "exit": (lambda: os._exit(3), "ended its process (exit code 3)"),
}


def test_results_do_not_depend_on_the_number_of_processes(clips, tmp_path, run):
    records = []
    for count in ("1", "3"):
        store = tmp_path / f"{count}.store"
        code, out, _ = run(clips, "--workers", count, output=store)
        assert code == 0 and "3 done" in out
        work = tmp_path / f"{count}.store.work"
        records.append([path.read_bytes() for path in sorted(work.rglob("*.clips"))])
    assert records[0] == records[1] and len(records[0]) == 3


def test_a_network_runs_in_one_process_and_classical_features_in_several(clips, tmp_path):
    options = work.ExtractOptions(clips, tmp_path / "c.store")
    with worker.Workers(options) as workers:
        assert workers.count() == len(os.sched_getaffinity(0)) and not workers.ready.has_networks
        workers.ready = replace(workers.ready, has_networks=True)
        assert workers.count() == 1
    with worker.Workers(replace(options, part="1/2")) as workers:
        assert workers.count() == 1, "processes of a launcher share the cores"


@pytest.mark.parametrize("count", ["1", "3"])
@pytest.mark.parametrize("kind", CRASHES)
def test_a_crash_costs_one_video(clips, tmp_path, run, monkeypatch, kind, count):
    action, message = CRASHES[kind]
    with monkeypatch.context() as patch:
        on_bad(patch, decode.VideoFile, "_open", action)
        code, out, err = run(clips, "--workers", count)
        assert code == 1 and "2 done, 1 failed" in out and "crashed: 1: bad.mp4" in out
        assert message in err and "ffmpeg -i 'bad.mp4'" in err
        assert [status["status"] for status in statuses(tmp_path)] == ["done", "failed", "done"]
        store = FeatureStore(tmp_path / "c.store")
        assert [store[number].id for number in range(len(store))] == ["a", "z"]
    # With a decoder that does not crash, only that video is left to do.
    code, out, _ = run(clips, "--work", tmp_path / "c.store.work", output=tmp_path / "d.store")
    assert code == 0 and "3 done, 2 of them by a run before" in out


def test_a_crash_while_drawing_costs_one_picture(clips, tmp_path, run, monkeypatch):
    real = draw.draw_video

    def drawing(video, *arguments):
        if video.id == "bad.mp4":
            os.abort()
        real(video, *arguments)

    monkeypatch.setattr(draw, "draw_video", drawing)
    code, out, err = run(clips, "--draw", tmp_path / "p")
    assert code == 0 and "3 done" in out and "not drawn: its decoder crashed (SIGABRT)" in err
    assert sorted(path.name for path in (tmp_path / "p").iterdir()) == ["a.jpg", "z.jpg"]


def test_networks_that_crash_are_told_before_the_work(clips, tmp_path, run, monkeypatch):
    monkeypatch.setattr(extractor.Extractor, "_run_once", lambda self: os.abort())
    code, _, err = run(clips)
    assert code == 2 and "the networks, tried on a blank frame, crashed (SIGABRT)" in err
    assert not (tmp_path / "c.store").exists()


def test_a_mistake_of_ours_is_no_fault_of_a_video(clips, run, monkeypatch):
    monkeypatch.setattr(decode.VideoFile, "read", lambda self, wanted: {}["x"])
    with pytest.raises(RuntimeError, match="KeyError"):
        run(clips)


def test_a_full_disk_ends_the_run(clips, run, monkeypatch):
    def full(self, status, records):
        raise DataError("No space left on device. Make room")

    monkeypatch.setattr(work.WorkFolder, "save", full)
    code, _, err = run(clips)
    assert code == 1 and "Make room" in err


# ----------------------------------------------------------------------- ends of a run

SLOW = """
import os, sys, time
from pathlib import Path
from paddlevideo.extract import decode
from paddlevideo.cli import extract_features

def read(self, wanted):
    Path("worker").write_text(str(os.getpid()))
    while True:
        time.sleep(0.05)

decode.VideoFile.read = read
sys.exit(extract_features.main(sys.argv[1:]))
"""


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize(
    "number, to_group, expected",
    [(signal.SIGINT, True, 130), (signal.SIGTERM, False, 143), (signal.SIGKILL, False, -9)],
)
def test_the_worker_ends_with_the_run(clips, tmp_path, number, to_group, expected):
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, str(clips), "--output", "c.store"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    file = tmp_path / "worker"
    until(lambda: file.exists() and file.read_text())
    worker = int(file.read_text())
    assert worker != process.pid and is_running(worker)
    (os.killpg if to_group else os.kill)(process.pid, number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == expected and "Traceback" not in err
    said = [line for line in err.splitlines() if "interrupted" in line or "error" in line]
    assert said == ([f"interrupted; {RESUMES}"] if number != signal.SIGKILL else [])
    until(lambda: not is_running(worker))
    assert not (tmp_path / "c.store").exists()
