"""A Ray cluster on this machine: whatever goes in the middle, the store is that of one process."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from paddlevideo.loader.store import FeatureStore
from paddlevideo.utils.command import RESUMES
from tests.extract import samples

pytest.importorskip("ray", reason="needs Ray: extra scale")
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
COUNT = 12
#: Many clips of a video take it time in which something can happen.
CLIPS = ("-o", "clips.seconds=1")
#: Seconds after which Ray gives up a head that is gone.
ENVIRONMENT = {"RAY_gcs_rpc_server_reconnect_timeout_s": "3"}


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Videos that take a few seconds, and a file that is none."""
    folder = tmp_path_factory.mktemp("clips")
    data = samples.write_video(folder / "00.mp4", samples.moving((0.5, 0), 60)).read_bytes()
    for number in range(1, COUNT):
        (folder / f"{number:02d}.mp4").write_bytes(data)
    (folder / "bad.mp4").write_bytes(data[:100])
    return folder


@pytest.fixture(scope="module")
def plain(clips, tmp_path_factory):
    """What one process makes of the videos: its output and its store."""
    store = tmp_path_factory.mktemp("plain") / "c.store"
    return Command(clips, store).result(), store


class Command:
    """The command in a process of its own."""

    def __init__(self, clips: Path, store: Path, *words: str) -> None:
        self.store = store
        words = ("extract", str(clips), "--output", str(store), *CLIPS, *words)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "paddlevideo", *words],
            cwd=store.parent,  # Ray takes modules from here
            env={**os.environ, "PYTHONPATH": str(ROOT), **ENVIRONMENT},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def until_done(self, count: int) -> None:
        """Waits for the statuses of ``count`` videos."""
        work = Path(f"{self.store}.work")
        until(lambda: len(list(work.glob("*/*.json"))) >= count or self.process.poll() is not None)
        assert self.process.poll() is None, self.result()

    def result(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=120)
        assert "Traceback" not in err
        return self.process.returncode, out, err


class Cluster:
    """Machines of a cluster: each a ``ray start --block`` with its own environment."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        self.address = f"127.0.0.1:{port}"
        # A path of pytest's would be too long for the sockets.
        self.folder = tempfile.mkdtemp(prefix="ray-test-", dir="/tmp")
        self.machines: list[subprocess.Popen[str]] = []
        words = ["--head", "--port", str(port)]
        self.head = self._start([*words, "--include-dashboard=false"], {})

    def join(self, *environments: dict[str, str]) -> list[subprocess.Popen[str]]:
        """Adds a machine with each of the environments, all at once."""
        joined = [self._start(["--address", self.address], each) for each in environments]
        for machine in joined:
            self.wait_for(machine)
        return joined

    def _start(self, words: list[str], environment: dict[str, str]) -> subprocess.Popen[str]:
        words = [*words, "--num-cpus=1", "--object-store-memory=100000000", "--disable-usage-stats"]
        # One each: machines that start together would find the same names for their sockets.
        words += ["--temp-dir", tempfile.mkdtemp(dir=self.folder)]
        own = {"PYTHONPATH": str(ROOT), "RAY_TMPDIR": self.folder}  # not what auto would find
        machine = subprocess.Popen(
            [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *words],
            env={**os.environ, **ENVIRONMENT, **own, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.machines.append(machine)
        return machine

    @staticmethod
    def wait_for(machine: subprocess.Popen[str]) -> None:
        assert machine.stdout is not None
        said = []
        for line in machine.stdout:
            said.append(line)
            if "Ray runtime started" in line:
                return
        raise AssertionError("".join(said))

    def kill(self, machine: subprocess.Popen[str]) -> None:
        """Ends a machine and all that runs on it, as a power cut would."""
        for process in children_of(machine.pid):
            with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
                os.kill(process, signal.SIGKILL)
        machine.kill()
        machine.communicate()
        self.machines.remove(machine)

    def close(self) -> None:
        for machine in list(self.machines):
            self.kill(machine)
        until(lambda: not processes(self.folder))
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture(scope="module")
def clusters():
    made: list[Cluster] = []
    yield made
    for each in made:
        each.close()


@pytest.fixture
def cluster(clusters):
    """The cluster of the tests before, or a new one where they have ended it."""
    if not clusters or clusters[-1].head not in clusters[-1].machines:
        clusters.append(Cluster())
        clusters[-1].wait_for(clusters[-1].head)
    return clusters[-1]


@pytest.fixture
def join(cluster):
    """Returns the function that adds machines, which are gone after the test."""
    yield cluster.join
    for each in set(cluster.machines) - {cluster.head}:
        cluster.kill(each)


def until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def processes(text: str) -> list[int]:
    """Returns the processes whose command contains a text."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if text in path.read_text("utf-8", "replace"):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def command_line(process: int) -> str:
    try:
        return Path(f"/proc/{process}/cmdline").read_text("utf-8", "replace").replace("\0", " ")
    except OSError:
        return ""


def is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def children_of(process: int, without: str = "no such text") -> list[int]:
    """Returns all processes below one, the nearest last, except those of a command."""
    try:
        texts = [each.read_text() for each in Path(f"/proc/{process}/task").glob("*/children")]
    except OSError:
        return []
    children = [int(text) for text in " ".join(texts).split()]
    below = [each for child in children for each in (*children_of(child), child)]
    return [each for each in below if without not in command_line(each)]


def at_work(machine: subprocess.Popen[str]) -> list[int]:
    """Returns the processes on a machine that Ray has started for videos."""
    return [each for each in children_of(machine.pid) if each in processes("ray::Slot")]


def lines_of(out: str) -> list[str]:
    """Returns what a command prints, without times and names of stores."""
    return [line for line in out.splitlines() if not re.search(r" in [\d.]+ s|store: ", line)]


def check_same(plain, result, store: Path) -> None:
    """A store and its work folder equal those of one process, and so does what was printed."""
    (code, out, err), expected = plain
    assert (result[0], lines_of(result[1])) == (code, lines_of(out)), result
    told = [line.replace(str(store), str(expected)) for line in result[2].splitlines()]
    assert set(err.splitlines()) <= set(told)
    manifests = [json.loads((each / "store.json").read_text()) for each in (expected, store)]
    assert manifests[0] == manifests[1]
    records = [
        {path.name: path.read_bytes() for path in Path(f"{each}.work").glob("*/*.clips")}
        for each in (expected, store)
    ]
    assert records[0] == records[1] and len(records[0]) == COUNT + 1
    changing = ("seconds", "decode_seconds")
    statuses = [
        [json.loads(line) for line in Path(f"{each}.status.jsonl").read_text().splitlines()]
        for each in (expected, store)
    ]
    for status in statuses[0] + statuses[1]:
        for name in changing:
            del status[name]
    assert statuses[0] == statuses[1]


# ------------------------------------------------------------------------------ a local Ray


def test_local_gives_what_one_process_gives_and_leaves_nothing(clips, plain, tmp_path):
    before = set(Path(tempfile.gettempdir()).glob("paddlevideo-ray-*"))
    command = Command(clips, tmp_path / "c.store", "--ray", "local", "--draw", str(tmp_path / "p"))
    check_same(plain, command.result(), tmp_path / "c.store")
    assert len(list((tmp_path / "p").iterdir())) == 6 * COUNT
    assert set(Path(tempfile.gettempdir()).glob("paddlevideo-ray-*")) <= before


def test_ctrl_c_ends_a_local_ray_and_it_goes_on_later(clips, tmp_path):
    command = Command(clips, tmp_path / "c.store", "--ray", "local")
    command.until_done(2)
    below = children_of(command.process.pid)
    (folder,) = {
        match[0]
        for each in below
        if (match := re.search(r"/\S*?paddlevideo-ray-\w+", command_line(each)))
    }
    begun = time.monotonic()
    os.killpg(command.process.pid, signal.SIGINT)
    code, _, err = command.result()
    assert (code, err) == (130, f"interrupted; {RESUMES}\n") and time.monotonic() - begun < 20
    until(lambda: not processes(folder) and not any(map(is_running, below)), 10)
    assert not Path(folder).exists() and not (tmp_path / "c.store").exists()
    again = Command(clips, tmp_path / "c.store").result()
    done = re.search(rf"{COUNT} done, (\d+) of them by a run before, checked, 1 failed", again[1])
    assert done and int(done[1]) >= 1


# -------------------------------------------------------------------------------- a cluster


def test_whatever_is_lost_the_store_is_that_of_one_process(clips, plain, tmp_path, cluster, join):
    (tmp_path / "large").mkdir()
    (tmp_path / "large" / "sitecustomize.py").write_text(LARGE)
    path = f"{tmp_path / 'large'}{os.pathsep}{ROOT}"
    full = {"PYTHONPATH": path, "RAY_local_fs_capacity_threshold": "0.01"}
    without_videos = {"PYTHONPATH": hiding(tmp_path, clips, tmp_path / "gone")}
    _, second, third = join(full, {}, without_videos)
    command = Command(clips, tmp_path / "c.store", "--ray", cluster.address)
    next_at_work(third, set())
    (tmp_path / "gone").touch()
    command.until_done(2)
    os.kill(next_at_work(cluster.head, set()), signal.SIGKILL)
    next_at_work(second, set())
    cluster.kill(second)
    code, out, err = command.result()
    check_same(plain, (code, out, err), tmp_path / "c.store")
    assert err.count("lost the process that had") == 2, err
    assert err.count("cannot go on: The object cannot be created") == 1, err
    assert err.count(" is missing there: every machine needs the videos at") == 1, err


#: Answers that are larger than the memory for them, on a disk that counts as full.
LARGE = """
import os, sys
from importlib.machinery import PathFinder

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name != "paddlevideo.extract.worker":
            return None
        spec = PathFinder.find_spec(name, path)
        load = spec.loader.exec_module

        def exec_module(module):
            load(module)
            records = module.REQUESTS["records"]

            def large(*arguments):
                status, found = records(*arguments)
                return status, [*found, os.urandom(150_000_000)]

            module.REQUESTS["records"] = large

        spec.loader.exec_module = exec_module
        return spec

sys.meta_path.insert(0, Finder())
"""


def test_a_video_that_ends_its_process_again_and_again_fails_as_one_that_crashes_does(
    tmp_path, cluster
):
    frames = samples.moving((0.1, 0), 300)
    path = samples.write_video(tmp_path / "v" / "a.mp4", frames)
    shutil.copy(path, path.with_stem("b"))
    samples.write_video(tmp_path / "v" / "c.mp4")
    command = Command(tmp_path / "v", tmp_path / "c.store", "--ray", cluster.address)
    killed: set[int] = set()
    for _ in range(3):
        process = next_at_work(cluster.head, killed)
        os.kill(process, signal.SIGKILL)
        killed.add(process)
    (decoder,) = children_of(next_at_work(cluster.head, killed), without="resource_tracker")
    os.kill(decoder, signal.SIGSEGV)
    code, out, err = command.result()
    assert code == 1 and "1 done, 2 failed" in out and "crashed: 2: a.mp4, b.mp4" in out, err
    assert "a.mp4: its decoder or a network ended the process of Ray 3 times" in err
    assert "b.mp4: its decoder or a network crashed (SIGSEGV)" in err and "ffmpeg -i" in err


def next_at_work(machine: subprocess.Popen[str], known: set[int]) -> int:
    """Waits for another process that is decoding, and returns it."""
    found: list[int] = []

    def look() -> bool:
        found[:] = [
            each
            for each in at_work(machine)
            if each not in known and "extract" in command_line(each)
        ]
        return bool(found)

    until(look)
    return found[0]


def test_machines_that_are_not_as_expected_are_named_before_any_work(
    clips, tmp_path, cluster, join
):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "paddlevideo.py").write_text("__version__ = '0.0.1'\n")
    folders = (hiding(tmp_path, clips, tmp_path), str(tmp_path / "other"))
    join(*({"PYTHONPATH": folder} for folder in folders))
    code, out, err = Command(clips, tmp_path / "c.store", "--ray", cluster.address).result()
    told = [line for line in err.splitlines() if not line.startswith("waiting for a free core")]
    assert code == 2 and not out and len(told) == 2, err
    assert "00.mp4 is missing there: every machine needs the videos" in err
    assert "starts there: ModuleNotFoundError: No module named 'paddlevideo" in err
    assert "Every machine needs it in the Python that runs Ray" in err
    assert not list(Path(f"{tmp_path}/c.store.work").glob("*/*"))


def hiding(folder: Path, hidden: Path, flag: Path) -> str:
    """Returns the PYTHONPATH of a machine without the folder ``hidden``, once there is ``flag``."""
    (folder / "hide").mkdir()
    text = HIDE.format(folder=str(hidden), flag=str(flag))
    (folder / "hide" / "sitecustomize.py").write_text(text)
    return f"{folder / 'hide'}{os.pathsep}{ROOT}"


#: A machine without a folder, once there is a file.
HIDE = """
import os

stat = os.stat

def hiding(path, *arguments, **more):
    if str(path).startswith({folder!r}) and os.path.lexists({flag!r}):
        raise FileNotFoundError(2, "No such file or directory", path)
    return stat(path, *arguments, **more)

os.stat = hiding
"""


def test_a_cluster_that_goes_away_keeps_what_is_done(clips, tmp_path, cluster):
    command = Command(clips, tmp_path / "c.store", "--ray", cluster.address)
    command.until_done(2)
    cluster.kill(cluster.head)
    code, _, err = command.result()
    said = f"error: --ray {cluster.address}: the cluster is gone. Start it again, then run the same"
    assert code == 1 and said in err
    again = Command(clips, tmp_path / "c.store").result()
    assert re.search(rf"{COUNT} done, \d+ of them by a run before, checked, 1 failed", again[1])
    assert len(FeatureStore(tmp_path / "c.store")) == 6 * COUNT
