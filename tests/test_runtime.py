"""Device, threads, seeds and the wiring of mixed precision (which needs a GPU to run)."""

import contextlib
import os
import sys
from types import SimpleNamespace

import numpy as np
import paddle
import paddle.distributed as dist
import pytest

from paddlevideo import runtime
from paddlevideo.runtime import Amp, World, device, precision
from paddlevideo.solver.updater import Updater
from paddlevideo.utils.amp_settings import AmpSettings
from paddlevideo.utils.errors import ConfigError


def test_a_cpu_is_found_without_being_told():
    assert runtime.select_device("auto") == "cpu"
    assert runtime.select_device("cpu") == "cpu"
    with pytest.raises(ConfigError, match="Paddle finds none.*device=cpu"):
        runtime.select_device("gpu:0")


def test_all_cores_are_used_and_shared_by_local_ranks(monkeypatch):
    monkeypatch.setattr(device.os, "sched_getaffinity", lambda _: set(range(8)))
    used = []
    monkeypatch.setattr(paddle.base.core, "set_num_threads", used.append)
    assert runtime.use_threads() == 8
    monkeypatch.setenv("PADDLE_LOCAL_SIZE", "3")
    assert runtime.use_threads() == 2
    assert runtime.use_threads(5) == 5
    monkeypatch.setenv("PADDLE_LOCAL_SIZE", "16")
    assert runtime.use_threads() == 1
    assert used == [8, 2, 5, 1]


def test_equal_seeds_give_equal_numbers_and_others_do_not():
    def draw(*parts):
        runtime.seed_everything(*parts)
        return paddle.rand([4]).numpy().tolist()

    assert draw(1, 2, 3) == draw(1, 2, 3)
    assert len({tuple(draw(*p)) for p in ((1, 2, 3), (1, 3, 2), (1, 2, 4), (1, 2))}) == 4


def test_a_world_of_one_costs_nothing():
    world = World()
    layer = paddle.nn.Linear(1, 1)
    assert world.is_main and world.size == 1
    assert world.wrap(layer) is layer
    assert world.gather("x") == ["x"]
    np.testing.assert_array_equal(world.sum([1, 2]), [1.0, 2.0])
    world.barrier()


class FakeScaler:
    """Records what a LossScaler is asked to do."""

    value = 1024.0

    def __init__(self, enable=True, scale=1024.0):
        self.enabled, self.calls = enable, []

    def is_enable(self):
        return self.enabled

    def scale(self, loss):
        self.calls.append("scale")
        return loss

    def step(self, optimizer):
        self.calls.append("step")
        optimizer.step()

    def update(self):
        self.calls.append("update")


@pytest.fixture
def recorded(monkeypatch):
    """Paddle's AMP replaced by recorders."""
    calls = {}

    @contextlib.contextmanager
    def auto_cast(**options):
        calls["auto_cast"] = options
        yield

    def decorate(**options):
        calls["decorate"] = options
        return options["models"], options["optimizers"]

    monkeypatch.setattr(precision, "LossScaler", FakeScaler)
    monkeypatch.setattr(paddle.amp, "auto_cast", auto_cast)
    monkeypatch.setattr(paddle.amp, "decorate", decorate)
    for name in ("is_float16_supported", "is_bfloat16_supported"):
        monkeypatch.setattr(paddle.amp, name, lambda: True)
    return calls


@pytest.mark.parametrize(
    ("dtype", "supported", "expected"),
    [
        (None, (True, True), "bfloat16"),
        (None, (True, False), "float16"),
        ("float16", (True, True), "float16"),
        ("bfloat16", (True, True), "bfloat16"),
    ],
)
def test_the_half_type_is_one_that_the_gpu_has(recorded, monkeypatch, dtype, supported, expected):
    for name, value in zip(("float16", "bfloat16"), supported, strict=True):
        monkeypatch.setattr(paddle.amp, f"is_{name}_supported", lambda value=value: value)
    assert runtime.half_type(dtype) == expected
    amp = Amp(AmpSettings(enable=True, dtype=dtype), "gpu")
    assert amp.dtype == expected and amp.scaler.enabled == (expected == "float16")


def test_a_type_that_the_gpu_lacks_is_refused(recorded, monkeypatch):
    monkeypatch.setattr(paddle.amp, "is_bfloat16_supported", lambda: False)
    monkeypatch.setattr(paddle.device.cuda, "get_device_capability", lambda: (7, 5))
    monkeypatch.setattr(paddle.device.cuda, "get_device_name", lambda: "Tesla T4")
    with pytest.raises(ConfigError, match=r"bfloat16 is not.*Tesla T4.*7\.5.*amp\.dtype=float16"):
        Amp(AmpSettings(enable=True, dtype="bfloat16"), "gpu")
    Amp(AmpSettings(enable=True, dtype="bfloat16"), "cpu")  # it is not used there
    monkeypatch.setattr(paddle.amp, "is_float16_supported", lambda: False)
    with pytest.raises(ConfigError, match=r"float16 is not supported.*Use float32: without --amp"):
        Amp(AmpSettings(enable=True), "gpu")


@pytest.mark.parametrize("level", ["O1", "O2"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_on_a_gpu_settings_reach_paddle(recorded, level, dtype):
    settings = AmpSettings(
        enable=True, level=level, dtype=dtype, white_list=["matmul"], black_list=["softmax"]
    )
    amp = Amp(settings, "gpu")
    with amp.autocast():
        pass
    assert recorded["auto_cast"] == {
        "enable": True,
        "level": level,
        "dtype": dtype,
        "custom_white_list": ["matmul"],
        "custom_black_list": ["softmax"],
    }
    assert amp.scaler.enabled == (dtype == "float16")
    assert amp.multi_precision == (level == "O2")
    assert amp.decorate("model", "optimizer") == ("model", "optimizer")
    assert ("decorate" in recorded) == (level == "O2")


def test_on_a_cpu_it_warns_once_and_stays_off(recorded, monkeypatch):
    warnings = []
    monkeypatch.setattr(precision.log, "warning", lambda *message: warnings.append(message))
    amp = Amp(AmpSettings(enable=True, level="O2"), "cpu")
    for _ in range(3):
        with amp.autocast():
            pass
    assert len(warnings) == 1 and "float32 on %s" in warnings[0][0]
    assert not amp.multi_precision and not amp.scaler.enabled
    assert "auto_cast" not in recorded
    assert amp.decorate("model", "optimizer") == ("model", "optimizer")


def test_an_updater_scales_every_backward_and_steps_once():
    layer = paddle.nn.Linear(1, 1)
    optimizer = paddle.optimizer.SGD(0.5, parameters=layer.parameters())
    steps = []

    class Schedule:
        def step(self):
            steps.append(1)

    scaler = FakeScaler()
    updater = Updater(optimizer, Schedule(), scaler)
    before = layer.weight.numpy().copy()
    for _ in range(2):
        updater.backward(layer(paddle.ones([1, 1])).sum())
    updater.step()
    assert scaler.calls == ["scale", "scale", "step", "update"]
    assert steps == [1]
    np.testing.assert_allclose(layer.weight.numpy(), before - 0.5 * 2, rtol=1e-6)
    assert layer.weight.grad is None or not layer.weight.grad.numpy().any()
    assert updater.learning_rate == 0.5


def test_an_updater_clips_as_paddle_does_with_the_norm_that_it_returns():
    ends = []
    for takes_over in (False, True):
        paddle.seed(0)
        layer = paddle.nn.Linear(3, 2)
        clip = paddle.nn.ClipGradByGlobalNorm(0.5)
        optimizer = paddle.optimizer.SGD(1.0, parameters=layer.parameters(), grad_clip=clip)
        layer(paddle.ones([4, 3])).sum().backward()
        if takes_over:
            schedule = SimpleNamespace(step=lambda: None)
            updater = Updater(optimizer, schedule, precision.LossScaler(False, 1.0))
            assert updater.gradient_norm(layer.parameters()) > 0.5
            updater.step()
        else:
            optimizer.step()
        ends.append(layer.weight.numpy())
    np.testing.assert_allclose(ends[1], ends[0], rtol=1e-6)


@pytest.mark.parametrize(
    ("enabled", "factors", "expected"),
    [
        (False, (1.0, 1.0), {"lr": 0.5}),
        (False, (0.25, 1.0), {"lr": 0.5, "lr_lowest": 0.125, "lr_highest": 0.5}),
        (True, (1.0, 1.0), {"lr": 0.5, "loss_scale": 1024.0}),
    ],
)
def test_what_a_step_is_taken_with(enabled, factors, expected):
    optimizer = paddle.optimizer.SGD(0.5, parameters=paddle.nn.Linear(1, 1).parameters())
    updater = Updater(optimizer, None, FakeScaler(enabled), factors)
    assert updater.scalars() == expected


@pytest.mark.parametrize(
    "variables, message",
    [
        ({"NUM": "2"}, "PADDLE_TRAINERS_NUM=2 is set.*PADDLE_TRAINER_ID, .* not.*unset it"),
        ({"NUM": "2", "ID": "0"}, "but PADDLE_CURRENT_ENDPOINT, PADDLE_TRAINER_ENDPOINTS not"),
        ({"NUM": "2", "ID": "2", "ENDS": "a:1,b:2"}, "but PADDLE_TRAINER_ID is 2"),
        ({"NUM": "two"}, "PADDLE_TRAINERS_NUM=two is not a number of processes"),
        ({"NUM": "0"}, "PADDLE_TRAINERS_NUM=0 is not a number of processes"),
    ],
)
def test_variables_left_over_from_a_launcher_are_named(monkeypatch, variables, message):
    names = {
        "NUM": ["PADDLE_TRAINERS_NUM"],
        "ID": ["PADDLE_TRAINER_ID"],
        "ENDS": ["PADDLE_CURRENT_ENDPOINT", "PADDLE_TRAINER_ENDPOINTS"],
    }
    for kind, value in variables.items():
        for name in names[kind]:
            monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=message):
        World()


def test_the_share_of_the_cores_of_a_leftover_is_named_too(monkeypatch):
    monkeypatch.setenv("PADDLE_LOCAL_SIZE", "-1")
    with pytest.raises(ConfigError, match="PADDLE_LOCAL_SIZE=-1"):
        runtime.use_threads()


class PlaceSet(Exception):
    """Paddle has set the device that it will use."""


def test_several_processes_on_a_cpu_leave_gpus_alone(monkeypatch):
    """Paddle's own code, told that it was built with CUDA."""
    launched = {
        "PADDLE_TRAINERS_NUM": "2",
        "PADDLE_TRAINER_ID": "0",
        "PADDLE_CURRENT_ENDPOINT": "127.0.0.1:6170",
        "PADDLE_TRAINER_ENDPOINTS": "127.0.0.1:6170,127.0.0.1:6171",
        "FLAGS_selected_gpus": "0",
        "PADDLE_DISTRI_BACKEND": "auto",
    }
    for name, value in launched.items():
        monkeypatch.setenv(name, value)
    module = sys.modules["paddle.distributed.parallel"]
    names = {name: getattr(module.core, name) for name in dir(module.core) if name[:2] != "__"}
    cuda = {"is_compiled_with_cuda": lambda: True, "CUDAPlace": lambda number: f"gpu:{number}"}
    monkeypatch.setattr(module, "core", SimpleNamespace(**names | cuda))

    def set_place(place):
        raise PlaceSet(place)

    monkeypatch.setattr(module, "_set_expected_place", set_place)
    runtime.select_device("cpu")
    with pytest.raises(PlaceSet, match=r"Place\(cpu\)"):
        World()


def test_the_device_is_set_again_after_joining(monkeypatch):
    monkeypatch.setattr(dist, "init_parallel_env", lambda: None)
    monkeypatch.setattr(paddle.device, "get_device", lambda: "gpu:1")
    devices = []
    monkeypatch.setattr(paddle, "set_device", devices.append)
    monkeypatch.delenv("PADDLE_DISTRI_BACKEND", raising=False)
    World._join(SimpleNamespace(rank=0, size=2, fleet=False))
    assert devices == ["gpu:1"] and "PADDLE_DISTRI_BACKEND" not in os.environ


def test_fleet_has_nothing_to_do_for_one_process():
    world, layer = World(fleet=True), paddle.nn.Linear(1, 1)
    assert not world.fleet and world.wrap(layer) is layer
    assert world.wrap_optimizer("optimizer") == "optimizer"
