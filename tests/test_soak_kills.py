"""Every command that writes, killed at its system calls and at any moment: ``make soak``.

After each kill what was there before is there still, or what the command makes; the same command
again ends well, makes what an undisturbed one makes, and leaves nothing else behind. ``SOAK_KILLS``
is how many kills there are in all.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from paddlevideo.files.whole import checksum
from paddlevideo.loader.store import FeatureStore
from tests.soak_cases import CASES, ROOT, Case, command_of_a_test, tool
from tests.tiny_data import make_project

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("unmeasured"),
    pytest.mark.timeout(7200),
]
KILLS = int(os.environ.get("SOAK_KILLS", "24"))
JOBS = int(os.environ.get("SOAK_JOBS", "2"))
SEED = int(os.environ.get("SOAK_SEED", "0"))
SYSTEM_CALLS = (
    *("rename", "renameat2", "unlink", "unlinkat", "rmdir", "mkdir", "fsync", "fdatasync"),
    *("ftruncate", "pwrite64", "write", "flock"),
)
LEFTOVER = re.compile(r"\..*\.(partial|old)|unfinished.*")
#: Logs, which are appended to, and what holds times.
VOLATILE = re.compile(
    r"log\.txt|.*tfevents.*|.*config\.yaml|.*\.(html|lock|status\.jsonl|lmdb|mdb|npz|json|pdmodel)"
)
DIES = """
import runpy, sys
from tests.killing import die_at
sys.argv = sys.argv[1:]
die_at(int(sys.argv.pop(0)))
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def environment() -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
        "GLOG_minloglevel": "3",
    }


def run(words: Sequence[str], before: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*before, sys.executable, *words],
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """What the commands read."""
    base = tmp_path_factory.mktemp("base")
    path = make_project(base)
    text = path.read_text()
    import yaml

    recipe = yaml.safe_load(text)
    recipe["MODEL"]["retrieval_head"] = {"name": "RetrievalHead", "width": 8}
    recipe["epochs"] = 1
    path.write_text(yaml.safe_dump(recipe))
    for words in (
        [str(ROOT / "main.py"), "-c", str(path)],
        tool("prepare_data", "pack", f"{base}/train.npy", "--output", f"{base}/s"),
        tool(
            *("make_demo_data", "--output", f"{base}/demo", "--train", "2", "--valid", "1"),
            *("--test", "1", "--workers", "1"),
        ),
        command_of_a_test(base, base),
    ):
        done = run(words)
        assert done.returncode == 0, done.stderr
    return base


def has_strace() -> bool:
    if shutil.which("strace") is None:
        return False
    return subprocess.run(["strace", "-o", os.devnull, "true"], check=False).returncode == 0


def content(folder: Path) -> dict[str, str]:
    """What was made, by relative path; of a store its clips."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if LEFTOVER.fullmatch(path.name):
            found[name] = "a leftover"
        elif path.name == "store.json":
            record = json.loads(path.read_text())
            for shard in record["shards"]:
                del shard["bytes"]
            ids = list(FeatureStore(path.parent).ids())
            del record["made_by"]
            found[name] = json.dumps([record, ids], sort_keys=True)
        elif path.name == "results.json":
            found[name] = json.dumps(json.loads(path.read_text())["text_to_video"])
        elif path.is_file():
            is_same = not VOLATILE.fullmatch(path.name) and not path.name.endswith(
                (".lmdb", ".mdb")
            )
            is_same &= "work" not in name and path.suffix not in (".npz", ".json", ".pdmodel")
            found[name] = checksum(path) if is_same else ""
    return found


def kill_at_moment(words: Sequence[str], seconds: float) -> bool:
    process = subprocess.Popen(
        [sys.executable, *words],
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


def traced(words: Sequence[str], log: Path) -> Counter[str]:
    """How often a command makes each of the system calls."""
    # Of the process itself: a decoder that dies in a child is a bad video, not a killed command.
    given = ["strace", "-qq", "-o", str(log), "-e", f"trace={','.join(SYSTEM_CALLS)}"]
    assert run(words, given).returncode == 0
    calls = re.findall(r"^(\w+)\(", log.read_text(errors="replace"), re.M)
    return Counter(calls)


def kill_at_call(words: Sequence[str], calls: Counter[str], rng: random.Random) -> bool:
    name = rng.choice(sorted(calls))
    when = rng.randint(1, calls[name])
    inject = f"inject={name}:signal=SIGKILL:when={when}"
    given = ["strace", "-qq", "-o", os.devnull, "-e", f"trace={name}", "-e", inject]
    return run(words, given).returncode in (-signal.SIGKILL, 128 + signal.SIGKILL)


def kill_at_change(words: Sequence[str], rng: random.Random) -> bool:
    return run(["-c", DIES, str(rng.randint(0, 40)), *words]).returncode == 77


class Soak:
    """Kills one command again and again."""

    def __init__(self, case: Case, base: Path, folder: Path) -> None:
        self.case, self.base, self.folder = case, base, folder
        self.lock, self.number, self.counts = threading.Lock(), 0, Counter()
        if case.before is not None:
            (folder / "before").mkdir()
            done = run(case.before(base, folder / "before"))
            assert done.returncode == 0, done.stderr
        started = time.monotonic()
        whole = self.fresh()
        done = run(case.words(base, whole))
        assert done.returncode == 0, done.stderr
        self.seconds = time.monotonic() - started
        self.reference = content(whole)
        assert "a leftover" not in self.reference.values()
        self.calls = Counter()
        if has_strace():
            self.calls = traced(case.words(base, self.fresh()), folder / "calls.txt")

    def fresh(self) -> Path:
        """A new folder, as it is before the command."""
        with self.lock:
            self.number += 1
            folder = self.folder / str(self.number)
        folder.mkdir()
        if self.case.before is not None:
            shutil.copytree(self.folder / "before", folder, dirs_exist_ok=True)
        return folder

    def kill(self, seed: str) -> None:
        """One kill, and what has to hold after it."""
        rng = random.Random(seed)
        folder = self.fresh()
        words = self.case.words(self.base, folder)
        kinds = ["moment", "change", *(["call"] * 2 if self.calls else [])]
        kind = rng.choice(kinds)
        killed = {
            "moment": lambda: kill_at_moment(words, rng.uniform(0.3, 1.0) * self.seconds),
            "change": lambda: kill_at_change(words, rng),
            "call": lambda: kill_at_call(words, self.calls, rng),
        }[kind]()
        for name in self.case.kept:
            assert (folder / name).is_file(), f"{seed}: {name} is lost"
        if not (self.case.is_done(folder) and killed):
            done = run(words)
            refused = self.case.is_done(folder) and "already exists" in done.stderr
            assert done.returncode == 0 or refused, f"{seed} ({kind}): {done.stderr}"
        assert content(folder) == self.reference, f"{seed} ({kind})"
        shutil.rmtree(folder)
        with self.lock:
            self.counts[kind if killed else "too late"] += 1


@pytest.mark.parametrize("name", CASES)
def test_a_killed_command_loses_nothing_and_leaves_nothing(base, tmp_path, name):
    case = CASES[name]
    soak = Soak(case, base, tmp_path)
    wanted = max(1, round(KILLS * case.weight / sum(each.weight for each in CASES.values())))
    tries = 0
    with ThreadPoolExecutor(JOBS) as pool:
        while (left := wanted - soak.counts.total() + soak.counts["too late"]) > 0:
            assert tries < 10 * wanted + 20, soak.counts
            seeds = [f"{name} {SEED} {tries + n}" for n in range(left)]
            tries += left
            list(pool.map(soak.kill, seeds))
    print(f"{name}: {dict(soak.counts)}, nothing lost, stuck or left over")
