"""Two processes in training, of which one has a disk without room: a real, small file system."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from paddlevideo.safe_pickle import load_state
from tests.test_distributed import ROOT, environment
from tests.test_shards import OWN_DATA, told_in
from tests.tiny_data import make_project

pytestmark = pytest.mark.slow

#: Runs the rest of its arguments where the folder $1 is a file system of $2 bytes.
MOUNT = 'folder=$1; size=$2; shift 2; mount -t tmpfs -o size=$size none "$folder" && exec "$@"'
IN_NAMESPACE = ["unshare", "--mount", "--map-root-user", "sh", "-c", MOUNT, "sh"]
#: What the run of the other rank writes is looked at before its file system is gone.
KEEP = 'python=$1; shift; "$python" "$@"; code=$?; cp -r "$0"/. "$0".kept; exit $code'


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("full")
    (folder / "try").mkdir()
    try:
        tried = [*IN_NAMESPACE, str(folder / "try"), "4096", "true"]
        subprocess.run(tried, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs unshare and a system that lets a user mount a file system")
    make_project(folder)
    (folder / "own_data.py").write_text(OWN_DATA)
    return folder


def train_with(project, folder, rank, size):
    """Trains with two ranks that write to $DATA/out; that of ``rank`` has ``size`` bytes of disk.

    Returns the exit code, and the logs and the folders of the ranks.
    """
    folders = [folder / "0", folder / "1"]
    for each in folders:
        each.mkdir()
    env = environment(project)
    env |= {f"DATA_OF_{number}": str(path) for number, path in enumerate(folders)}
    launch = ["-m", "paddle.distributed.launch", "--nproc_per_node", "2", "--log_dir"]
    script = [str(project / "own_data.py"), str(ROOT / "main.py"), "-c", str(project / "tiny.yaml")]
    changes = ["output_dir=$DATA/out", "save_steps=1", "DATASET.batch_size=2"]
    done = subprocess.run(
        [
            *(*IN_NAMESPACE, str(folders[rank]), str(size)),
            *("sh", "-c", KEEP, str(folders[rank]), sys.executable),
            *(*launch, str(folder / "logs"), *script, "-o", *changes),
        ],
        **{"cwd": project, "env": env, "capture_output": True, "text": True},
        timeout=200,
        check=False,
    )
    logs = [(folder / "logs" / f"workerlog.{number}").read_text() for number in (0, 1)]
    folders[rank] = folders[rank].with_name(f"{rank}.kept")
    return done.returncode, logs, folders


def test_the_run_goes_on_without_checkpoints_and_says_so_at_its_end(project, tmp_path):
    code, logs, (output, _) = train_with(project, tmp_path, 0, 100_000)
    assert code == 1
    told = "a checkpoint could not be written ([Errno 28] No space left on device"
    assert logs[0].count(f"ERROR: {tmp_path / '0' / 'out'}: {told}") > 1
    assert "training continues and will try again" in logs[0]
    (last,) = told_in(logs[0])
    assert told in last and "Complete ones: none. Free some space" in last
    lines = (output / "out" / "train.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["epoch"] == 2  # the last one
    assert not list((output / "out").glob("*.pdparams"))
    lost = "error: rank 1 has lost the connection to rank 0"  # unless the launcher ends it first
    assert all(line.startswith(lost) for line in told_in(logs[1])), logs[1]


def test_the_disk_of_another_rank_is_not_needed(project, tmp_path):
    code, logs, (output, other) = train_with(project, tmp_path, 1, 4096)
    assert code == 0, logs
    assert load_state(output / "out" / "Tiny_epoch_00002.pdparams")
    assert not list(other.iterdir())
