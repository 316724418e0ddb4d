"""``tools/test_gpu.py``: that it runs on a CPU, and notices what it is there to notice."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest

from gpu_checks import command, speed, two_cards
from gpu_checks.attention import attention
from gpu_checks.precision import median_cosine
from gpu_checks.result import Place, above, at_most, skipped
from gpu_checks.resume import resume
from gpu_checks.retrieval import tied
from gpu_checks.training import difference
from gpu_checks.updates import updates
from paddlevideo.modeling import layers
from paddlevideo.solver.fused import HAS_OPERATORS, FusedUpdates
from paddlevideo.tasks import resuming

ROOT = Path(__file__).parents[2]
CPU = Place("cpu")
pytestmark = pytest.mark.usefixtures("unmeasured")


@pytest.mark.slow
def test_all_that_a_cpu_can_check_passes(tmp_path):
    words = [sys.executable, str(ROOT / "tools" / "test_gpu.py"), "--device", "cpu"]
    done = subprocess.run(
        [*words, "--json", str(tmp_path / "new" / "results.json")],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((tmp_path / "new" / "results.json").read_text())
    lines = done.stdout.splitlines()
    verdicts = {result["name"]: result["verdict"] for result in results}
    assert len(verdicts) == len(results) == len(lines) - 2
    for line, (name, verdict) in zip(lines, verdicts.items(), strict=False):
        assert line.startswith(name) and line.endswith(verdict)
    said = [name for name, verdict in verdicts.items() if verdict.startswith("skipped: ")]
    assert len(said) == 5 and all(name.startswith("two processes") for name in said)
    for name in ("gradients, O2 float16, at first", "two processes, device=cpu"):
        assert verdicts[name] == "passed"
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


@pytest.mark.slow
def test_two_processes_agree_with_one_in_every_variant(tmp_path):
    """Without those that are the same on a CPU as what the test above runs."""
    names = [name for name in two_cards.VARIANTS if name not in ("NCCL", "device=cpu")]
    results = list(two_cards.compare(CPU, tmp_path, names))
    assert [result.name for result in results] == [f"two processes, {name}" for name in names]
    assert {result.verdict for result in results} == {"passed"}, results


# ------------------------------------------------------------------------------- mistakes


def without_mask(query, key, value, bias, dropout):
    return fused(query, key, value, None, dropout)


def without_gradient_of_keys(query, key, value, bias, dropout):
    return fused(query, key.detach(), value, bias, dropout) + 0 * key.sum()


def with_infinite_numbers(query, key, value, bias, dropout):
    return fused(query, key, value, bias, dropout) / 0.0


fused = layers.attend_fused


@pytest.mark.skipif(layers.PADDLE_RELEASE < 3, reason="attention is not fused before Paddle 3")
@pytest.mark.parametrize(
    ("kernel", "wrong"),
    [
        (fused, set()),
        (without_mask, {"forward", "backward"}),
        (without_gradient_of_keys, {"backward"}),
        (with_infinite_numbers, {"forward", "backward"}),
    ],
)
def test_a_wrong_kernel_is_noticed(monkeypatch, kernel, wrong):
    monkeypatch.setattr(layers, "attend_fused", kernel)
    verdicts = {result.name: result.verdict for result in attention(CPU)}
    assert len(verdicts) == 4
    for name, verdict in verdicts.items():
        assert verdict == ("failed" if name.split()[-1] in wrong else "passed"), name


@pytest.mark.slow
def test_masters_that_are_not_restored_are_noticed(monkeypatch):
    load = resuming.load_state_by_structured_name

    def rounded(optimizer, model, state):
        """The masters as the half parameters would give them."""
        kept = {
            key: np.float16(x).astype(x.dtype) if key.endswith("/master_weight") else x
            for key, x in state.items()
        }
        load(optimizer, model, kept)

    monkeypatch.setattr(resuming, "load_state_by_structured_name", rounded)
    failed = [result.name for result in resume(CPU) if result.verdict == "failed"]
    assert failed == ["arrays that differ when loaded, O2 bfloat16"]


def test_what_is_not_a_number_fails():
    assert at_most("x", math.nan, 1.0).verdict == above("x", math.nan, 0.5).verdict == "failed"
    assert math.isnan(difference({"a": 1.0, "b": math.nan}, {"a": 1.0, "b": 1.0}))
    assert difference({"a": 1.0}, {"a": 1.0, "b": 1.0}) == math.inf
    assert difference({"a": 1.0, "b": 2.2}, {"a": 1.0, "b": 2.0}) == pytest.approx(0.1)
    some, none = {"w": np.ones(3)}, {}
    assert math.isnan(median_cosine([some, some, none], [some] * 3))
    assert median_cosine([some, some, {"w": -np.ones(3)}], [some] * 3) == pytest.approx(1.0)


def test_ties_are_counted_within_a_row():
    assert tied(np.array([[1.0, 1.0, 1.0], [1.0, 2.0, 3.0], [2.0, 1.0, 2.0]])) == 3


def test_too_little_memory_is_a_measurement(monkeypatch):
    class Trainer:
        class loader:  # noqa: N801 - an attribute of a trainer
            class reader:  # noqa: N801
                batch = staticmethod(lambda epoch, indices: {})

        def train_step(self, window):
            raise MemoryError("ResourceExhaustedError: Out of memory error on GPU 0.")

    assert speed.timed_steps(Trainer(), 8, CPU) == "out of memory"


# ------------------------------------------------------------------------------- the script

SCRIPT = """
import json, os, sys, time

name, path = sys.argv[2], sys.argv[6]
if name == "crashes":
    print("illegal memory access", flush=True)
    os.abort()
if name == "hangs":
    time.sleep(600)
result = {"name": name, "measured": "1", "bound": "", "verdict": "passed"}
json.dump([result], open(path, "w"))
"""


@pytest.mark.skipif(not HAS_OPERATORS, reason="updates are not fused before Paddle 3")
def test_wrong_updates_are_noticed(monkeypatch):
    assert [result.verdict for result in updates(CPU)] == ["passed", "passed"]
    monkeypatch.setattr(FusedUpdates, "_decay", lambda *arguments: 0.0)
    assert [result.verdict for result in updates(CPU)] == ["passed", "failed"]


def test_a_crash_and_a_hang_do_not_stop_the_others(tmp_path, monkeypatch, capsys):
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "test_gpu.py").write_text(SCRIPT)
    monkeypatch.setattr(command, "ROOT", tmp_path)
    monkeypatch.setattr(command, "CHECKS", dict.fromkeys(("crashes", "works", "hangs", "late")))
    options = ["--minutes", "0.05", "--json", str(tmp_path / "results.json")]
    assert command.main(options) == 1
    results = json.loads((tmp_path / "results.json").read_text())
    crashed, worked, hung, late = (result["verdict"] for result in results)
    assert crashed.startswith("failed: exit code -6: illegal memory access")
    assert worked == "passed" and hung.startswith("failed: not done in ")
    assert late == skipped("", "the 0.05 minutes are over").verdict
    assert "2 of 4 failed" in capsys.readouterr().out


def test_a_gpu_that_paddle_does_not_use_is_an_error(monkeypatch, capsys):
    monkeypatch.setattr(command, "graphics_cards", lambda: ["NVIDIA A10"])
    monkeypatch.setattr(command, "CHECKS", {"check": lambda place: iter(())})
    monkeypatch.setattr(paddle.device, "is_compiled_with_cuda", lambda: False)
    assert command.main(["--only", "check"]) == 2
    assert "1 GPU(s), NVIDIA A10 first" in capsys.readouterr().err
    assert command.main(["--only", "check", "--device", "cpu"]) == 0


def test_an_error_fails_its_check_and_keeps_what_came_before(monkeypatch, capsys):
    def check(place):
        yield at_most("first", 1.0, 2.0)
        raise RuntimeError("no kernel\nfor this")

    monkeypatch.setattr(command, "CHECKS", {"check": check})
    assert command.main(["--only", "check"]) == 1
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("first") and first.endswith("passed")
    assert second.endswith("failed: RuntimeError: for this")
