"""Batches: with and without workers, and what happens when something fails."""

from __future__ import annotations

import faulthandler
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

from paddlevideo.loader import (
    BatchLoader,
    Collator,
    Dataset,
    GridSampler,
    SampleReader,
    TrainSampler,
    build_dataset,
    build_pipeline,
    workers,
)
from paddlevideo.loader.order import Shuffled
from paddlevideo.registry import DATASETS, PIPELINES
from paddlevideo.utils.errors import ConfigError, DataError
from tests.loader.data import make_row, save_rows


class Numbers(Dataset):
    """A user's own data set: extra keys, text, and faults on request."""

    def __init__(self, size=20, fault=None):
        self.size, self.fault = size, fault

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        if self.fault is not None and index == 13:
            self.fault()
        return {
            "value": np.full((2, 3), index, np.float64),
            "flag": index % 2 == 0,
            "name": f"n{index}",
        }

    def name_of(self, index):
        return f"clip_{index}"


def add_noise(sample, rng):
    return {**sample, "noise": rng.random(4)}


def loader(workers=0, dataset=None, steps=(add_noise,), batch=3):
    dataset = dataset or Numbers()
    return BatchLoader(SampleReader(dataset, steps, 5), GridSampler(len(dataset), batch), workers)


def assert_same(left, right):
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        assert one.keys() == other.keys()
        for key in one:
            np.testing.assert_array_equal(one[key], other[key])


def test_batches_of_a_user_s_own_data_set():
    batches = list(loader().epoch())
    assert len(batches) == len(loader()) == 7
    first = batches[0]
    assert first["value"].dtype == first["noise"].dtype == np.float32
    assert first["value"].shape == (3, 2, 3) and first["noise"].shape == (3, 4)
    assert first["flag"].dtype == first["index"].dtype == np.int64
    assert first["flag"].tolist() == [1, 0, 1] and first["name"] == ["n0", "n1", "n2"]
    assert batches[-1]["index"].tolist() == [18, 19]


@pytest.mark.parametrize("workers", [1, 3])
def test_workers_change_nothing(workers):
    assert_same(list(loader(workers).epoch(2)), list(loader().epoch(2)))
    assert_same(list(loader(workers).epoch(2, start=3)), list(loader().epoch(2))[3:])
    assert list(loader(workers).epoch(2, start=7)) == []


def test_batches_own_their_memory():
    batches = list(loader(2).epoch())
    assert [batch["index"][0] for batch in batches] == [0, 3, 6, 9, 12, 15, 18]
    batches[1]["value"][:] = 0


def test_batches_that_outgrow_the_first():
    class Growing(Numbers):
        def __getitem__(self, index):
            return {"value": np.full((1 + index // 3 * 1000,), index, np.float32), "n": index}

    assert_same(list(loader(2, Growing(), ()).epoch()), list(loader(0, Growing(), ()).epoch()))


def test_chance_depends_on_seed_epoch_and_index_alone():
    reader = SampleReader(Numbers(), [add_noise], seed=5)
    one = reader.read(2, 7)["noise"]
    reader.read(2, 8)
    np.testing.assert_array_equal(reader.read(2, 7)["noise"], one)
    for other in (
        reader.read(3, 7),
        reader.read(2, 6),
        SampleReader(Numbers(), [add_noise], 6).read(2, 7),
    ):
        assert (other["noise"] != one).all()


def fail():
    raise RuntimeError("no such frame")


def fail_kindly():
    raise DataError("frames.bin: row 13 is damaged")


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (fail, r'clip "clip_13" \(sample 13\): RuntimeError: no such frame \(.*test_build.py'),
        (fail_kindly, r'clip "clip_13": frames.bin: row 13 is damaged'),
    ],
)
def test_a_fault_names_the_clip_at_once(workers, fault, message):
    start = time.monotonic()
    with pytest.raises(DataError, match=message):
        list(loader(workers, Numbers(fault=fault)).epoch())
    assert time.monotonic() - start < 10


def test_faults_that_name_themselves_stay_as_they_are():
    def fault():
        raise DataError('rows.npy: row 13 (clip "clip_13"): odd')

    with pytest.raises(DataError) as caught:
        list(loader(0, Numbers(fault=fault)).epoch())
    assert str(caught.value) == 'rows.npy: row 13 (clip "clip_13"): odd'

    def setting():
        raise ConfigError("RandomMask: max_seq_length is 3")

    with pytest.raises(ConfigError):
        list(loader(2, Numbers(fault=setting)).epoch())


def test_a_fault_in_naming_does_not_hide_the_fault():
    class Nameless(Numbers):
        def name_of(self, index):
            raise KeyError(index)

    with pytest.raises(DataError, match='clip "13".*no such frame'):
        list(loader(0, Nameless(fault=fail)).epoch())


def test_a_worker_that_cannot_read_a_mapped_file_names_the_cause():
    def fail():
        faulthandler.disable()  # pytest's prints all threads
        os.kill(os.getpid(), signal.SIGBUS)

    with pytest.raises(DataError, match="worker was killed by SIGBUS: .*Check the mount"):
        list(loader(2, Numbers(fault=fail)).epoch())


def test_workers_without_room_for_their_locks_name_the_folder(monkeypatch):
    def full(*arguments, **options):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(workers, "ProcessPoolExecutor", full)
    with pytest.raises(DataError, match=r"/dev/shm \(No space left on device\).*num_workers to 0"):
        list(loader(2, Numbers()).epoch())


def test_a_killed_worker_is_reported():
    def kill():
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(DataError, match="worker was killed.*num_workers"):
        list(loader(2, Numbers(fault=kill)).epoch())


class Pids(Numbers):
    def __getitem__(self, index):
        return {"pid": os.getpid()}


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(pids, seconds=15):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not any(alive(pid) for pid in pids):
            return True
        time.sleep(0.1)
    return False


def test_closing_early_ends_the_workers():
    iterator = loader(2, Pids(60), (), 1).epoch()
    pids = {int(next(iterator)["pid"][0]) for _ in range(8)} - {os.getpid()}
    assert pids
    iterator.close()
    assert gone(pids)


PARENT = """
    import os, signal, sys, time
    import numpy as np
    from paddlevideo.loader import BatchLoader, Dataset, GridSampler, SampleReader

    class Pids(Dataset):
        def __len__(self):
            return 400
        def __getitem__(self, index):
            time.sleep(0.01)
            return {"pid": os.getpid()}

    pids = set()
    for batch in BatchLoader(SampleReader(Pids()), GridSampler(400, 1), 2).epoch():
        pids |= set(batch["pid"].tolist()) - {os.getpid()}
        if len(pids) == 2:
            break_after = sys.argv[1]
            print(*pids, flush=True)
            if break_after == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            os.killpg(0, signal.SIGINT)
            time.sleep(5)
"""


@pytest.mark.parametrize("end", ["kill", "interrupt"])
def test_workers_end_with_their_parent(end):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PARENT), end],
        capture_output=True, text=True, timeout=60, start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )  # fmt: skip
    pids = [int(word) for word in done.stdout.split()]
    assert len(pids) == 2 and gone(pids)
    if end == "interrupt":  # one traceback, the parent's
        assert done.stderr.count("KeyboardInterrupt") == 1 and done.stderr.count("Traceback") == 1


def test_tokenizer_in_workers_prints_nothing(tmp_path, caption_path):
    path = save_rows(tmp_path / "r.npy", [make_row(f"c{number}") for number in range(12)])
    code = """
    import sys
    from paddlevideo.loader import *
    dataset = ActBertDataset(sys.argv[1])
    captions = {"caption_path": sys.argv[2]}
    steps = build_pipeline(["FeaturePadding", {"RandomCap": captions}, "Tokenize", "RandomMask"])
    reader = SampleReader(dataset, steps)
    reader.read(0, 0)
    assert len(list(BatchLoader(reader, GridSampler(12, 2), 2).epoch())) == 6
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), path, caption_path],
        capture_output=True, text=True, timeout=60, env={**os.environ, "PYTHONPATH": os.getcwd()},
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("workers", [0, 2])
def test_the_main_job_on_recorded_rows(shared, workers):
    folder = shared / "reference"
    dataset = build_dataset(
        {"format": "ActBertDataset", "file_path": str(folder / "actbert_train_data.npy")}
    )
    caption_path = str(folder / "caption_train.json")
    steps = build_pipeline(
        [{"FeaturePadding": None}, {"RandomCap": {"caption_path": caption_path}}, "Tokenize",
         {"RandomMask": {}}]
    )  # fmt: skip
    reader = SampleReader(dataset, steps, seed=3)
    batches = list(BatchLoader(reader, TrainSampler(4, 2, order=Shuffled(4, 3)), workers).epoch(1))
    assert [batch["image_feat"].shape for batch in batches] == [(2, 37, 2048)] * 2
    assert all(batch["image_target"].dtype == np.float32 for batch in batches)
    single = SampleReader(dataset, steps, seed=3).read(1, int(batches[1]["index"][0]))
    for key, value in single.items():
        np.testing.assert_array_equal(batches[1][key][0], value)


def collate(samples):
    collator = Collator(len(samples))
    for number, sample in enumerate(samples):
        collator.add(sample, lambda number=number: f"c{number}")
    return collator.batch


def test_collator_names_key_and_clips():
    with pytest.raises(
        DataError, match=r'x of clip "c1" has shape \(3,\), that of clip "c0" \(2,\)'
    ):
        collate([{"x": np.zeros(2)}, {"x": np.zeros(3)}])
    with pytest.raises(DataError, match=r'clip "c1" and clip "c0" differ in the keys \[.y.\]'):
        collate([{"x": 1}, {"x": 1, "y": 2}])


def test_build_pipeline():
    assert build_pipeline(None) == [] and build_pipeline([]) == []

    @PIPELINES.register("test_build_AddOne")
    class AddOne:
        def __init__(self, amount=1):
            self.amount = amount

    assert [
        step.amount
        for step in build_pipeline(["test_build_AddOne", {"test_build_AddOne": {"amount": 2}}])
    ] == [1, 2]
    for bad in ([{"a": 1, "b": 2}], [3], [{}]):
        with pytest.raises(ConfigError, match="one name with its options"):
            build_pipeline(bad)
    with pytest.raises(ConfigError, match='Did you mean "RandomMask"'):
        build_pipeline([{"RandomMusk": None}])


def test_registered_names():
    assert {"ActBertDataset", "MSRVTTDataset"} <= set(DATASETS)
    assert {"FeaturePadding", "RandomCap", "Tokenize", "RandomMask"} <= set(PIPELINES)


def test_negative_workers():
    with pytest.raises(ConfigError, match="num_workers"):
        loader(-1)


def test_base_answers():
    dataset = Numbers()
    assert dataset.context() is None and dataset.truth() is None
    assert dataset.describe() == {"format": "Numbers", "samples": 20}
    assert Dataset.name_of(dataset, 3) == "3"


def test_loader_imports_neither_paddle_nor_cv2():
    code = (
        "import sys, paddlevideo.loader; sys.exit('paddle' in sys.modules or 'cv2' in sys.modules)"
    )
    env = {**os.environ, "PYTHONPATH": os.getcwd()}
    assert subprocess.run([sys.executable, "-c", code], env=env, timeout=60).returncode == 0
