"""Whole runs in mixed precision, on an emulated GPU."""

from __future__ import annotations

import json
import shutil

import numpy as np
import paddle
import pytest
import yaml

from paddlevideo.cli import run
from paddlevideo.runtime.precision import LossScaler
from paddlevideo.safe_pickle import load_state
from paddlevideo.solver.average import WeightAverage
from tests.half_precision import emulate_gpu
from tests.test_sharding import assert_equal_checkpoints, flat, launch_all
from tests.tiny_data import make_project

O2 = ["--amp_level", "O2", "-o", "save_interval=1", "ema_decay=0.9"]
RECIPE = ["OPTIMIZER.name=Adam", "OPTIMIZER.no_weight_decay_name=bias", "DATASET.batch_size=2"]
WINDOW = "GRADIENT_ACCUMULATION={global_batch_size: 4}"


@pytest.fixture
def train(tmp_path, monkeypatch):
    """A function that trains on an emulated GPU and returns the output folder."""
    tracer = emulate_gpu(monkeypatch)
    config = make_project(tmp_path)

    def start(name, *options):
        folder = tmp_path / name
        arguments = ["-c", str(config), "-o", *RECIPE, *options, f"output_dir={folder}"]
        assert run.main(arguments) == 0
        return folder

    start.tracer = tracer
    return start


def arrays(folder, tag, suffix):
    return flat(load_state(folder / f"Tiny_{tag}.{suffix}"))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_resumed_run_at_o2_equals_an_uninterrupted_one(train, tmp_path, dtype):
    options = [*O2, f"amp.dtype={dtype}"]
    whole = train("whole", *options)
    shutil.copytree(whole, tmp_path / "resumed")
    resumed = train("resumed", *options, "resume_epoch=1")
    for suffix in ("pdparams", "pdopt"):
        expected, actual = (arrays(f, "epoch_00002", suffix) for f in (whole, resumed))
        assert expected.keys() == actual.keys()
        for name, array in expected.items():
            np.testing.assert_array_equal(actual[name], array, name)


def test_masters_are_what_is_saved_and_averaged(train, monkeypatch):
    averages = []
    put = WeightAverage._put
    monkeypatch.setattr(WeightAverage, "_put", lambda *x: averages.append(x[0].state()) or put(*x))
    folder = train("run", *O2, "amp.dtype=bfloat16")
    state = arrays(folder, "epoch_00002", "pdopt")
    weights = arrays(folder, "epoch_00002", "pdparams")
    masters = {name: x for name, x in state.items() if name.endswith("/master_weight")}
    name = "backbone.encoder.tangled.0.text_context_key.weight"
    master = masters[f"/optimizer/{name}/master_weight"]
    assert any(np.array_equal(master, x) for x in weights.values())
    assert {x.dtype for x in weights.values()} == {np.dtype(np.float32)}
    # More digits than bfloat16 has, and the same before and after it is saved.
    average = state[f"/average/weights/{name}"]
    assert (average.view(np.uint32) & 0xFFFF).any() and (master.view(np.uint32) & 0xFFFF).any()
    for before, after in zip(averages[::2], averages[1::2], strict=True):
        np.testing.assert_array_equal(before["weights"][name], after["weights"][name])
    saved = arrays(folder, "average", "pdparams")
    assert any(np.array_equal(averages[-1]["weights"][name], x) for x in saved.values())


def logged(folder):
    return [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]


def test_a_scale_that_is_too_large_is_lowered_and_kept_on_resuming(train, tmp_path):
    options = ["--amp", "-o", "amp.dtype=float16", "amp.init_loss_scaling=1e7", "save_interval=1"]
    whole = train("whole", *options)
    scales = [step["loss_scale"] for step in logged(whole)]  # of the steps that were taken
    assert 1 < len(scales) < 16 and scales[-1] == 1e7 / 2 ** (16 - len(scales))
    shutil.copytree(whole, tmp_path / "resumed")
    resumed = train("resumed", *options, "resume_epoch=1")
    expected, actual = (arrays(f, "epoch_00002", "pdopt") for f in (whole, resumed))
    for key in ("/scaler/scale", "/scaler/incr_count"):
        assert actual[key] == expected[key] > 0


@pytest.mark.parametrize(("name", "decay"), [("Adam", "L1"), ("AdamW", ""), ("Momentum", "L2")])
def test_an_optimizer_that_takes_them_is_given_float32_gradients(train, monkeypatch, name, decay):
    types = set()
    step = LossScaler.step

    def record(scaler, optimizer):
        types.update(p.grad.dtype for p in optimizer._parameter_list if p.grad is not None)
        return step(scaler, optimizer)

    monkeypatch.setattr(LossScaler, "step", record)
    changes = [f"OPTIMIZER.weight_decay={{name: {decay}, value: 0.01}}"] if decay else []
    train("run", *O2, "amp.dtype=float16", WINDOW, f"OPTIMIZER.name={name}", *changes)
    assert (types == {paddle.float32}) == (name != "Momentum")


def test_the_type_that_was_chosen_is_kept_in_the_configuration(train, monkeypatch, tmp_path):
    folder = train("run", "--amp", "-o", "max_iters=1")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["amp"] == {"enable": True, "dtype": "bfloat16"}
    assert "loss_scale" not in logged(folder)[0]
    # Another machine's GPU has no bfloat16.
    monkeypatch.setattr(paddle.amp, "is_bfloat16_supported", lambda: False)
    arguments = ["-c", str(tmp_path / "tiny.yaml"), "--amp", "-o", *RECIPE, f"output_dir={folder}"]
    assert run.main([*arguments, "resume=auto"]) == 2


def test_a_run_without_a_recorded_type_used_float16(train):
    folder = train("run", "--amp", "-o", "max_iters=1", "amp.dtype=float16")
    (manifest,) = folder.glob("Tiny_*_0*.json")
    record = json.loads(manifest.read_text())
    del record["extra"]["config"]["amp"]["dtype"]
    manifest.write_text(json.dumps(record))
    train("run", "--amp", "-o", "max_iters=2", "amp.dtype=float16", "resume=auto")


@pytest.mark.parametrize("asked", [True, False])
def test_a_deterministic_run_sets_paddles_flags(train, monkeypatch, asked):
    flags = {}
    monkeypatch.setattr(paddle, "set_flags", flags.update)
    train("run", "--max_iters", "1", "-o", f"deterministic={asked}")
    assert flags == (
        {"FLAGS_cudnn_deterministic": True, "FLAGS_embedding_deterministic": 1} if asked else {}
    )


#: Imported by every rank.
EMULATION = """
import pytest
from tests.half_precision import emulate_gpu

emulate_gpu(pytest.MonkeyPatch())
"""


@pytest.mark.slow
def test_divided_masters_change_neither_checkpoints_nor_averages(tmp_path):
    """Two processes, resumed once; gloo averages gradients that are half."""
    make_project(tmp_path)
    (tmp_path / "witness.py").write_text(EMULATION)
    whole, divided = tmp_path / "whole", tmp_path / "divided"
    recipe = ["OPTIMIZER.name=Adam", "DATASET.batch_size=2", "ema_decay=0.9"]
    recipe += ["amp={enable: true, level: O2, dtype: bfloat16}"]
    first = {whole: ["-o", *recipe], divided: ["-o", *recipe, "sharding=1", "max_iters=3"]}
    launch_all(tmp_path, 2, first)
    launch_all(tmp_path, 2, {divided: ["-o", *recipe, "sharding=1", "resume=auto"]})
    assert_equal_checkpoints(whole, divided)
