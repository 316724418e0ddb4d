"""Two processes that read stores: what one lacks is named, and each may read its own shards."""

import json
import os
import shutil
import socket
import subprocess
import sys

import numpy as np
import pytest
import yaml

from paddlevideo.loader.clips.rows import RowFile
from paddlevideo.loader.store import FeatureStore, Sizes, StoreWriter
from paddlevideo.prepare import to_tars
from paddlevideo.safe_pickle import load_state
from tests.test_distributed import ROOT, environment, launch, records
from tests.tiny_data import (
    ACTION_CLASSES,
    ACTION_SIZE,
    NO_DROPOUT,
    REGION_CLASSES,
    REGION_SIZE,
    make_project,
)

SIZES = Sizes(REGION_SIZE, ACTION_SIZE, REGION_CLASSES, ACTION_CLASSES)
CLIPS, SHARD = 19, 5  # shards of 5, 5, 5 and 4 clips

#: Imported by every rank: each sees a store of its own, and notes the clips that it reads.
WITNESS = """
import json, os
from paddlevideo.tasks.train import Trainer

step = Trainer.train_step

def train_step(self, window):
    named = self.loader.reader.dataset.name_of
    clips = [named(int(index)) for batch in window for index in batch["index"]]
    at = {"epoch": self.progress.epoch, "clips": clips, "words": window[0]["text_ids"].tolist()}
    with open(self.run.folder / f"read{self.world.rank}.jsonl", "a") as file:
        file.write(json.dumps(at) + "\\n")
    step(self, window)

Trainer.train_step = train_step
"""
#: Sets DATA to the folder of the process before anything reads it.
OWN_DATA = """
import os, sys
os.environ["DATA"] = os.environ["DATA_OF_" + os.environ.get("PADDLE_TRAINER_ID", "0")]
sys.argv = sys.argv[1:]
exec(compile(open(sys.argv[0]).read(), sys.argv[0], "exec"))
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    make_project(folder, clips=CLIPS)
    rows = RowFile(folder / "train.npy")
    with StoreWriter(folder / "train.store", SIZES, shard_clips=SHARD) as writer:
        for index in range(len(rows)):
            writer.add(rows.read(index))
        writer.finish()
    to_tars(FeatureStore(folder / "train.store"), folder / "train.tars", 4)
    (folder / "witness.py").write_text(WITNESS)
    (folder / "own_data.py").write_text(OWN_DATA)
    return folder


def settings(store, output, *more):
    return [
        *("--import", "witness", "-o", *NO_DROPOUT),
        f"DATASET.train.file_path={store}",
        f"PIPELINE.train.transform.1.RandomCap.caption_path={store}",
        *("DATASET.batch_size=2", f"output_dir={output}", *more),
    ]


def launch_with_own_data(folder, folders, *arguments):
    """Runs two processes, each of which sees another folder as $DATA."""
    env = environment(folder)
    env |= {f"DATA_OF_{rank}": str(path) for rank, path in enumerate(folders)}
    logs = folder / "own_logs"
    shutil.rmtree(logs, ignore_errors=True)
    start = [sys.executable, "-m", "paddle.distributed.launch", "--nproc_per_node", "2"]
    script = [str(folder / "own_data.py"), str(ROOT / "main.py"), "-c", str(folder / "tiny.yaml")]
    done = subprocess.run(
        [*start, "--log_dir", str(logs), *script, *arguments],
        **{"cwd": folder, "env": env, "capture_output": True, "text": True},
        timeout=200,
        check=False,
    )
    return done, [(logs / f"workerlog.{rank}").read_text() for rank in (0, 1)]


def told_in(log):
    """The lines of an error, or of a traceback of Python.

    Paddle prints one of C++ if the launcher ends a process that is about to end.
    """
    lines = log.splitlines()
    return [line for line in lines if line.startswith(("error:", "Traceback", '  File "'))]


def read_by(output, rank):
    lines = (output / f"read{rank}.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture
def copies(project, tmp_path):
    """The data as two machines have them."""
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        for name in ("train.store", "train.tars"):
            shutil.copytree(project / name, folder / name)
    return folders


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, fault, expected",
    [
        (
            "train.store",
            lambda folder: (folder / "shard-00002.lmdb").unlink(),
            "of the 4 shards that are read, absent or cut short: shard-00002.lmdb: No",
        ),
        (
            "train.tars",
            lambda folder: os.truncate(folder / "shard-00003.tar", 1000),
            "shard-00003.tar: 1000 of ",
        ),
        ("train.tars", lambda folder: (folder / "shard-00001.index").unlink(), "shard-00001.index"),
        ("train.store", shutil.rmtree, "(working directory: "),
    ],
)
def test_a_rank_that_lacks_a_shard_is_named_by_rank_0(project, copies, name, fault, expected):
    fault(copies[1] / name)
    output = copies[0] / "out"
    done, logs = launch_with_own_data(project, copies, *settings(f"$DATA/{name}", output))
    assert done.returncode != 0
    assert f"rank 1 on {socket.gethostname()}: " in logs[0] and expected in logs[0]
    assert str(copies[1] / name) in logs[0]
    assert len(told_in(logs[0])) == 1 and told_in(logs[1]) == []
    assert not (output / "train.jsonl").exists()


@pytest.mark.slow
def test_a_test_names_the_rank_too(project, copies, tmp_path):
    done = launch(project, 1, *settings(project / "train.store", tmp_path / "trained"))
    assert done.returncode == 0, done.stdout + done.stderr
    for folder in copies:
        shutil.copytree(project / "test.lmdb", folder / "test.lmdb")
    (copies[1] / "test.lmdb" / "data.mdb").unlink()
    weights = str(tmp_path / "trained" / "Tiny_epoch_00002.pdparams")
    changes = ["DATASET.test.features_path=$DATA/test.lmdb", f"output_dir={tmp_path / 'tested'}"]
    done, logs = launch_with_own_data(project, copies, "--test", "-w", weights, "-o", *changes)
    assert done.returncode != 0
    assert f"rank 1 on {socket.gethostname()}: " in logs[0] and "test.lmdb" in logs[0]
    assert len(told_in(logs[0])) == 1 and told_in(logs[1]) == []


@pytest.mark.slow
def test_a_rank_with_another_store_is_named(project, copies):
    manifest = copies[1] / "train.store" / "store.json"
    record = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**record, "made_by": {"command": "another"}}))
    store = "$DATA/train.store"
    done, logs = launch_with_own_data(project, copies, *settings(store, copies[0] / "out"))
    assert done.returncode != 0
    assert f"{manifest}: is not equal to {copies[0]}/train.store of rank 0" in logs[0]


@pytest.mark.slow
@pytest.mark.parametrize("name, ending", [("train.store", "lmdb"), ("train.tars", "tar")])
def test_each_rank_needs_and_reads_its_own_shards_only(project, copies, name, ending):
    for folder, gone in zip(copies, [(2, 3), (0, 1)], strict=True):
        for number in gone:
            (folder / name / f"shard-{number:05d}.{ending}").unlink()
    output = copies[0] / "out"
    more = ["DATASET.shards=by_rank", "epochs=2"]
    done, logs = launch_with_own_data(project, copies, *settings(f"$DATA/{name}", output, *more))
    assert done.returncode == 0, "\n".join(logs)
    counts = [shard.clips for shard in FeatureStore(project / name).manifest.shards]
    sizes = [sum(counts[:2]), sum(counts[2:])]
    assert f"each rank reads its own shards: {2 * min(sizes)} of {CLIPS} clips" in logs[0]
    store = FeatureStore(project / name)
    owned = [
        {store.about(index).id for index in range(*borders)}
        for borders in ((0, sizes[0]), (sizes[0], CLIPS))
    ]
    for rank in (0, 1):
        steps = read_by(output, rank)
        for epoch in (0, 1):
            clips = [clip for step in steps if step["epoch"] == epoch for clip in step["clips"]]
            assert len(clips) == len(set(clips)) == 2 * (min(sizes) // 2)
            assert set(clips) <= owned[rank]
    first, second = ([step["words"] for step in read_by(output, rank)] for rank in (0, 1))
    assert len(first) == len(second) and first != second


@pytest.mark.slow
def test_a_resumed_run_of_own_shards_equals_an_uninterrupted_one(project, tmp_path):
    store = project / "train.store"
    own = ["DATASET.shards=by_rank", "save_steps=3", "DATASET.drop_last=False"]
    outputs = [tmp_path / "whole", tmp_path / "parts"]
    runs = [(outputs[0], []), (outputs[1], ["max_iters=6"]), (outputs[1], [])]
    for number, (output, more) in enumerate(runs):
        flags = ["--resume", "auto"] if number == 2 else []
        changes = settings(store, output, *own, *more)
        if number == 2:  # max_iters of the first part had made it the end of the run
            changes.append("max_iters=100")
        done = launch(project, 2, *flags, *changes)
        assert done.returncode == 0, done.stdout + done.stderr
    whole, parts = (load_state(output / "Tiny_epoch_00002.pdparams") for output in outputs)
    for name, array in whole.items():
        np.testing.assert_array_equal(array, parts[name], name)
    for rank in (0, 1):
        assert read_by(outputs[0], rank) == read_by(outputs[1], rank)
    # 9 clips of the smaller share: 5 steps, the last of 1 clip of each rank.
    assert len(records(outputs[0])) == 10


@pytest.mark.slow
def test_one_rank_reads_the_same_with_its_own_shards_as_with_all(project, tmp_path):
    for name in ("all", "by_rank"):
        changes = settings(project / "train.store", tmp_path / name, f"DATASET.shards={name}")
        done = launch(project, 1, *changes)
        assert done.returncode == 0, done.stdout + done.stderr
    everything, own = (
        (tmp_path / name / "read0.jsonl").read_bytes() for name in ("all", "by_rank")
    )
    assert everything == own


def run_alone(project, capsys, *changes):
    from paddlevideo.cli import run

    recipe = yaml.safe_load((project / "tiny.yaml").read_text())
    assert recipe["DATASET"]["train"]["format"] == "ActBertDataset"
    code = run.main(["-c", str(project / "tiny.yaml"), "-o", *changes])
    return code, capsys.readouterr().err


@pytest.mark.parametrize(
    "changes, expected",
    [
        (["DATASET.train.file_path={folder}/train.npy"], "by_rank works with a feature store"),
        (["DATASET.shards=mine"], "DATASET.shards: expected"),
        (
            ["DATASET.train.file_path={folder}/train.store", "DATASET.train.only={folder}/only"],
            "by_rank cannot be combined with only and exclude",
        ),
    ],
)
def test_what_cannot_be_read_by_rank_is_told(project, tmp_path, capsys, changes, expected):
    (project / "only").write_text("clip001\n")
    given = [change.format(folder=project) for change in changes]
    more = ["DATASET.shards=by_rank", f"output_dir={tmp_path / 'out'}"]
    code, err = run_alone(project, capsys, *more, *given)
    assert code == 2 and expected in err
    assert not (tmp_path / "out").exists()


def test_one_process_names_an_absent_shard_before_training(project, tmp_path, capsys):
    shutil.copytree(project / "train.store", tmp_path / "s")
    (tmp_path / "s" / "shard-00003.lmdb").unlink()
    changes = [f"DATASET.train.file_path={tmp_path / 's'}", f"output_dir={tmp_path / 'out'}"]
    code, err = run_alone(project, capsys, *changes)
    assert code == 1
    assert err.splitlines()[-1].startswith(f"error: {tmp_path / 's'}: of the 4 shards")
    assert "shard-00003.lmdb: No such file or directory" in err


def test_shares_are_whole_shards_in_order(project):
    path = project / "train.store"
    for ranks in (1, 2, 3, 4):
        shares = [FeatureStore(path, (rank, ranks)) for rank in range(ranks)]
        files = [shard.file for share in shares for shard in share.shards]
        assert files == [f"shard-{number:05d}.lmdb" for number in range(4)]
        ids = [share.about(index).id for share in shares for index in range(len(share))]
        assert ids == list(FeatureStore(path).ids())
        assert [share.find(share.about(0).id) for share in shares] == [0] * ranks
    assert [len(FeatureStore(path, (rank, 3)).shards) for rank in range(3)] == [1, 1, 2]
    with pytest.raises(ValueError, match="by_rank gives each of 5 ranks its shards of .*has 4"):
        FeatureStore(path, (0, 5))
    with pytest.raises(ValueError, match="train.tars --to webdataset --shards 5 --output"):
        FeatureStore(project / "train.tars", (0, 5))
    np.testing.assert_array_equal(FeatureStore(path, (1, 2)).starts, [0, 5, 9])


def test_what_only_reads_writes_nothing_beside_the_data(project, tmp_path, capsys):
    from paddlevideo.cli import prepare_data

    data = tmp_path / "data"
    data.mkdir()
    for name in ("train.store", "train.tars", "test.lmdb"):
        shutil.copytree(project / name, data / name)

    def state():
        return {path: path.stat().st_mtime_ns for path in (data, *data.rglob("*"))}

    before = state()
    for name in ("train.store", "train.tars"):
        output = tmp_path / f"out_{name}"
        more = ["DATASET.num_workers=1", "epochs=1", f"output_dir={output}"]
        changes = [f"DATASET.train.file_path={data / name}", *more]
        assert run_alone(project, capsys, *changes)[0] == 0
        assert prepare_data.main(["validate", str(data / name)]) == 0
        assert prepare_data.main(["inspect", str(data / name)]) == 0
    assert state() == before
