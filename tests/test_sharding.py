"""The optimizer's arrays divided over processes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import paddle
import pytest

from paddlevideo.cli import run as main
from paddlevideo.runtime import World, sharding
from paddlevideo.runtime.precision import LossScaler
from paddlevideo.runtime.sharding import ShardedOptimizer, assign_ranks
from paddlevideo.safe_pickle import load_state
from paddlevideo.solver import load_state_by_structured_name, state_by_structured_name
from paddlevideo.solver.updater import Updater
from tests.tiny_data import make_project

ROOT = Path(__file__).parents[1]

# ------------------------------------------------------------------------- in one process


def test_sizes_are_shared_out_evenly_and_always_alike():
    sizes = [10, 1, 7, 7, 3, 10, 2]
    owners = assign_ranks(sizes, 2)
    sums = [sum(s for s, o in zip(sizes, owners, strict=True) if o == rank) for rank in (0, 1)]
    assert sums == [20, 20] and owners == assign_ranks(list(sizes), 2)
    assert sorted(assign_ranks([5], 3)) == [0]


def model_and_optimizer(name="Adam", clip=0.1):
    paddle.seed(3)
    model = paddle.nn.Sequential(paddle.nn.Linear(3, 5), paddle.nn.Linear(5, 2))
    optimizer = getattr(paddle.optimizer, name)(
        0.1, parameters=model.parameters(), grad_clip=paddle.nn.ClipGradByGlobalNorm(clip)
    )
    return model, optimizer


def step(model, optimizer):
    """The gradients are clipped by their norm over all ranks."""
    schedule = SimpleNamespace(step=lambda: None)
    updater = Updater(optimizer, schedule, LossScaler(False, 1.0))
    updater.backward(model(paddle.ones([4, 3])).sum())
    updater.step()


def test_ranks_together_do_what_one_optimizer_does(monkeypatch):
    """Each rank's part of a step, and its part of the state, one after the other."""
    monkeypatch.setattr(sharding, "exchange", lambda parameters, owners, rank: None)
    whole, optimizer = model_and_optimizer()
    step(whole, optimizer)
    expected = {name: x.numpy() for name, x in whole.state_dict().items()}
    saved = state_by_structured_name(optimizer, whole)
    parts = {}
    for rank in (0, 1):
        model, optimizer = model_and_optimizer()
        before = {name: x.numpy().copy() for name, x in model.state_dict().items()}
        sharded = ShardedOptimizer(optimizer, rank, 2)
        step(model, sharded)
        mine = state_by_structured_name(sharded, model)
        owned = {key.rsplit("/", 1)[0] for key in mine}
        for name, x in model.state_dict().items():
            wanted = expected if name in owned else before
            np.testing.assert_array_equal(x.numpy(), wanted[name], name)
        assert all(parameter.grad is None for parameter in model.parameters())
        assert 0 < len(owned) < 4 and not parts.keys() & mine.keys()
        parts |= mine
        other, optimizer = model_and_optimizer()
        loaded = ShardedOptimizer(optimizer, rank, 2)
        load_state_by_structured_name(loaded, other, saved)
        again = state_by_structured_name(loaded, other)
        assert again.keys() == mine.keys()
        assert all(np.array_equal(again[key], mine[key]) for key in mine)
    assert parts.keys() == saved.keys()


def test_a_rank_without_parameters_only_receives(monkeypatch):
    received = []
    monkeypatch.setattr(sharding.dist, "broadcast", lambda tensor, src: received.append(src))
    model, optimizer = model_and_optimizer()
    step(model, ShardedOptimizer(optimizer, 9, 10))
    assert sorted(received) == [0, 1, 2, 3]


def test_small_parameters_of_a_rank_are_sent_together(monkeypatch):
    """From ranks 0 and 1 to rank 2, which owns none: one large, two and two small ones."""
    monkeypatch.setattr(sharding, "SMALL", 5)
    shapes, owners = [[2, 3], [2], [1, 3], [4], []], [0, 0, 0, 1, 1]
    sent = {}

    def send(tensor, src):
        if rank == src:
            sent.setdefault(src, []).append(tensor.numpy())
        elif rank == 2:
            tensor.copy_(paddle.to_tensor(sent[src].pop(0)), True)

    monkeypatch.setattr(sharding.dist, "broadcast", send)
    for rank in (0, 1, 2):
        parameters = [paddle.full(shape, 9.0) for shape in shapes]
        for number, (parameter, owner) in enumerate(zip(parameters, owners, strict=True)):
            if owner == rank:
                parameter.fill_(float(number))
        sharding.exchange(parameters, owners, rank)
        if rank == 0:
            assert [array.shape for array in sent[0]] == [(2, 3), (5,)]
    for number, (parameter, shape) in enumerate(zip(parameters, shapes, strict=True)):
        np.testing.assert_array_equal(parameter.numpy(), np.full(shape, number, np.float32))
    assert sent == {0: [], 1: []}


@pytest.mark.parametrize("stage", [2, 3])
def test_only_the_optimizers_arrays_are_divided(tmp_path, capsys, stage):
    assert main.main(["-c", str(make_project(tmp_path)), "-o", f"sharding={stage}"]) == 2
    message = capsys.readouterr().err
    assert f"sharding: {stage}" in message and "Use 1, which divides the optimizer" in message


def test_alone_there_is_nothing_to_divide():
    world = World(sharding=True)
    assert not world.sharding and world.wrap_optimizer("optimizer") == "optimizer"


# ------------------------------------------------------------------------- two processes

#: Imported by every rank: writes down how many numbers its optimizer keeps.
WITNESS = """
from paddlevideo.solver.state import state_by_structured_name
from paddlevideo.tasks.train import Trainer

save = Trainer.save

def count(self, tag):
    state = state_by_structured_name(self.updater.optimizer, self.model)
    size = sum(array.size for array in state.values() if hasattr(array, "size"))
    (self.run.folder / f"rank{self.world.rank}").write_text(str(size))
    save(self, tag)

Trainer.save = count
"""

SMALL = "DATASET.batch_size=2"
RECIPES = {
    "AdamW": [SMALL, "OPTIMIZER.name=AdamW", "OPTIMIZER.grad_clip={name: global, value: 0.3}"],
    # L2 with exempt parameters, as the shipped recipe has it, and unequal rates
    "Adam": [
        "OPTIMIZER.name=Adam",
        "OPTIMIZER.no_weight_decay_name=bias",
        "OPTIMIZER.layer_decay=0.9",
    ],
}


#: Trains with each list of arguments in turn, in the same processes: starting them takes longest.
TRAIN_ALL = """
import json, sys
from paddlevideo.cli.run import main

for arguments in json.loads(sys.argv[1]):
    code = main(arguments)
    if code:
        sys.exit(code)
"""


def launch_all(folder, processes, runs):
    """Trains on ``processes`` for each output folder of ``runs``, with its arguments."""
    start = [sys.executable, "-m", "paddle.distributed.launch", "--nproc_per_node", str(processes)]
    paths = [str(ROOT), str(folder), os.environ.get("PYTHONPATH", "")]
    common = ["-c", str(folder / "tiny.yaml"), "--import", "witness"]
    (folder / "train_all.py").write_text(TRAIN_ALL)
    lists = [[*common, *words, f"output_dir={output}"] for output, words in runs.items()]
    done = subprocess.run(
        [*start, "--log_dir", str(folder / "log"), str(folder / "train_all.py"), json.dumps(lists)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    make_project(folder)
    (folder / "witness.py").write_text(WITNESS)
    return folder


def flat(item, path=""):
    if not isinstance(item, dict):
        return {path: item}
    return {k: v for key, value in item.items() for k, v in flat(value, f"{path}/{key}").items()}


def assert_equal_checkpoints(first, second):
    for end in ("pdparams", "pdopt"):
        a, b = (flat(load_state(f / f"Tiny_epoch_00002.{end}")) for f in (first, second))
        assert a.keys() == b.keys() and len(a) > 100
        for name in a:
            np.testing.assert_array_equal(a[name], b[name], name)


def losses(folder):
    lines = (folder / "train.jsonl").read_text().splitlines()
    return [(json.loads(line)["loss"], json.loads(line)["grad_norm"]) for line in lines]


@pytest.mark.slow
def test_divided_arrays_change_neither_weights_nor_checkpoints(project):
    """From a checkpoint of divided arrays to divided ones, and to a run that has them whole."""

    def train(processes, *runs):
        """Starts processes that train in each of the ways of ``runs`` with both recipes.

        Fleet, with the first recipe only, must be what starts processes.
        """
        launch_all(
            project,
            processes,
            {
                project / f"{name}_{run}": [*before[name], "-o", *recipe, *after]
                for run, before, after in runs
                for name, recipe in RECIPES.items()
            },
        )

    divided, plain = "sharding=1", dict.fromkeys(RECIPES, ())
    train(
        2,
        ("divided", {"AdamW": ["--fleet"], "Adam": []}, [divided]),
        ("whole", plain, ["recompute=True"]),
        ("resumed", plain, [divided, "max_iters=3"]),
    )
    for name in RECIPES:
        shutil.copytree(project / f"{name}_resumed", project / f"{name}_alone")
    train(2, ("resumed", plain, [divided, "max_iters=6", "resume=auto"]))
    train(2, ("resumed", plain, [divided, "resume=auto"]))
    train(1, ("alone", plain, [divided, "resume=auto"]))
    for name in RECIPES:
        folders = [project / f"{name}_{run}" for run in ("whole", "divided", "resumed", "alone")]
        whole, divided, resumed, alone = folders
        assert_equal_checkpoints(whole, divided)
        assert_equal_checkpoints(whole, resumed)
        assert losses(whole) == losses(divided)
        sizes = [[int((f / f"rank{rank}").read_text()) for rank in (0, 1)] for f in folders[:2]]
        # Not halves: most of this small model is one array, the word embedding.
        assert sum(sizes[1]) == sizes[0][0] == sizes[0][1] and min(sizes[1]) > 0
        assert (alone / "Tiny_epoch_00002.pdparams").is_file()
