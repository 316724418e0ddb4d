"""Losses and gradients in half precision, and whether the emulation agrees with Paddle."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from paddle.base import core
from paddle.base.framework import _dygraph_tracer

from paddlevideo.modeling.losses.actbert import class_loss
from paddlevideo.runtime import Amp, recompute_layers, seed_everything
from paddlevideo.utils.amp_settings import AmpSettings
from tests.half_precision import IS_PADDLE_2, emulate_gpu
from tests.modeling.test_answer_heads import make as answer_model
from tests.modeling.test_answer_heads import questions
from tests.modeling.test_contrast import hard_model
from tests.modeling.tiny import make_batch

ROOT = Path(__file__).parents[1]
LEVELS, TYPES = ("O1", "O2"), ("float16", "bfloat16")
ROWS = np.zeros(4, "int64")
#: Paddle's name of an operator in its log, that of its function, and a call with (4, 8), (8, 8)
#: and (8,).
EXAMPLES = {
    "matmul_v2": ("matmul", lambda x, w, b: paddle.matmul(x, w)),
    "addmm": ("addmm", lambda x, w, b: paddle.addmm(b, x, w)),
    "softmax": ("softmax", lambda x, w, b: F.softmax(x)),
    "log_softmax": ("log_softmax", lambda x, w, b: F.log_softmax(x)),
    "layer_norm": ("layer_norm", lambda x, w, b: F.layer_norm(x, [8], w[0], b)),
    "lookup_table_v2": ("embedding", lambda x, w, b: F.embedding(paddle.to_tensor(ROWS), w)),
    "softmax_with_cross_entropy": (
        "cross_entropy_with_softmax",
        lambda x, w, b: F.cross_entropy(x, paddle.to_tensor(ROWS), reduction="sum"),
    ),
    "reduce_sum": ("sum", lambda x, w, b: x.sum()),
    "reduce_mean": ("mean", lambda x, w, b: x.mean()),
    "elementwise_add": ("add", lambda x, w, b: x + x[0].astype("float32")),
    "elementwise_mul": ("multiply", lambda x, w, b: x * x),
    "gelu": ("gelu", lambda x, w, b: F.gelu(x)),
    "log": ("log", lambda x, w, b: paddle.log(x)),
    "exp": ("exp", lambda x, w, b: paddle.exp(x)),
    "sum": ("add_n", lambda x, w, b: paddle.add_n([x, x])),
    "p_norm": ("p_norm", lambda x, w, b: F.normalize(x)),
    "gather": ("gather", lambda x, w, b: paddle.gather(x, paddle.to_tensor(ROWS))),
    "dropout": ("dropout", lambda x, w, b: F.dropout(x, 0.5)),
    "transpose2": ("transpose", lambda x, w, b: x.transpose([1, 0])),
}


def examples():
    """Yields a line that names the case, Paddle's name, the function's and the call."""
    shapes = ([4, 8], [8, 8], [8])
    for given in ("float32", "half"):
        for logged, (function, call) in EXAMPLES.items():
            yield f"{logged} {given}", logged, function, given, call, shapes


def log_types(level, dtype):
    """Runs the examples with Paddle's own autocast, whose choice it logs; some then fail."""
    tracer = _dygraph_tracer()
    lists = sys.modules["paddle.amp.auto_cast"]._update_list(None, None, level, dtype)
    for name, _, _, given, call, shapes in examples():
        inputs = [paddle.ones(s).astype(dtype if given == "half" else given) for s in shapes]
        print(f"@@{name}@@", file=sys.stderr, flush=True)
        tracer._amp_level = getattr(core.AmpLevel, level)
        tracer._set_amp_op_list(*lists)
        tracer._amp_dtype, tracer._use_promote = dtype, True
        try:
            call(*inputs)
        except (RuntimeError, ValueError):  # no kernel for half precision on a CPU
            pass
        finally:
            tracer._amp_level = core.AmpLevel.O0


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype", TYPES)
def test_the_emulation_chooses_the_types_that_paddle_logs(monkeypatch, level, dtype):
    program = f"from tests.test_half_precision import log_types; log_types({level!r}, {dtype!r})"
    # Commands that other tests run in this process have hidden Paddle's log.
    verbose = {"GLOG_v": "6", "GLOG_minloglevel": "0"}
    environment = {**os.environ, **verbose, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, cwd=ROOT, check=True
    )
    parts = re.split(r"@@(.*)@@\n", done.stderr.decode(errors="replace"))
    logs = dict(zip(parts[1::2], parts[2::2], strict=True))
    tracer = emulate_gpu(monkeypatch)
    for name, logged, function, given, call, shapes in examples():
        # A CPU lacks a kernel that a GPU has: what Paddle chose before it changed its mind.
        changed = f"Change {logged}'s AMP type from {dtype} to FP32" in logs[name]
        chosen = re.search(rf"AmpDestDtype: op\({logged}\) amp_dtype\((\w+)\)", logs[name])
        assert chosen, name
        tracer.chosen.clear()
        inputs = [paddle.ones(s).astype(dtype if given == "half" else given) for s in shapes]
        with paddle.amp.auto_cast(level=level, dtype=dtype):
            call(*inputs)
        expected = dtype if changed else chosen[1]
        assert tracer.chosen[function] == {getattr(paddle, expected)}, name


def test_without_autocast_a_gpu_has_no_kernel_for_two_types(monkeypatch):
    emulate_gpu(monkeypatch)
    with pytest.raises(TypeError, match="matmul: a GPU has no kernel"):
        paddle.matmul(paddle.ones([2, 2]), paddle.ones([2, 2]).astype("float16"))


# ------------------------------------------------------------------------------ the model


def padded_batch():
    """A batch in which a clip has fewer actions than the others."""
    batch = make_batch(clips=4)
    batch["action_feat"][0, 1:] = 0
    batch["action_mask"][0, 1:] = 0
    batch["action_label"][0, 1:] = -1
    return batch


def losses_and_gradients(model, amp):
    """The losses of a batch, and the gradient of all parameters, (N,)."""
    with amp.autocast():
        losses = model(padded_batch())
    losses["loss"].backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    return losses, np.concatenate([g.astype("float32").numpy().ravel() for g in gradients])


def decorated(amp):
    """The tiny model with all its losses, prepared for training."""
    paddle.seed(0)
    model = hard_model(3, 2)
    optimizer = paddle.optimizer.Adam(parameters=model.parameters())
    return amp.decorate(model, optimizer, model.float32_layers())[0]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype", TYPES)
def test_losses_and_gradients_are_those_of_float32(monkeypatch, level, dtype):
    off = Amp(AmpSettings(), "cpu")
    expected, gradient = losses_and_gradients(decorated(off), off)
    emulate_gpu(monkeypatch)
    amp = Amp(AmpSettings(enable=True, level=level, dtype=dtype), "gpu")
    losses, half_gradient = losses_and_gradients(decorated(amp), amp)
    # Attention that is not fused, as in Paddle 2, rounds its scores.
    rough = IS_PADDLE_2 and dtype == "bfloat16"
    for name, loss in losses.items():
        tolerance = {"float16": 0.01, "bfloat16": 0.05}[dtype] * (2 if IS_PADDLE_2 else 1)
        np.testing.assert_allclose(float(loss), float(expected[name]), rtol=tolerance)
        assert loss.dtype == paddle.float32, name
    cosine = gradient @ half_gradient / np.linalg.norm(gradient) / np.linalg.norm(half_gradient)
    assert cosine > (0.99 if rough else 0.999)


def test_the_sum_over_many_words_is_beyond_float16(monkeypatch):
    emulate_gpu(monkeypatch)
    logits, labels = paddle.zeros([9000, 3000]).astype("float16"), paddle.zeros([9000], "int64")
    with paddle.amp.auto_cast(level="O2", dtype="float16"):
        loss = class_loss(logits, labels, 9000.0)
    assert float(loss) == pytest.approx(np.log(3000), rel=1e-4)


# ----------------------------------------------------------------------------- retrieval


def tied(scores):
    """The number of pairs of equal scores in a row, over all rows."""
    return sum(len(row) - len(np.unique(row)) for row in scores)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype", TYPES)
def test_half_precision_ties_no_videos(monkeypatch, level, dtype):
    model, batch = decorated(Amp(AmpSettings(), "cpu")), make_batch(clips=60)

    def scores(amp):
        with amp.autocast(), paddle.no_grad():
            captions, videos = model.encode_captions(batch), model.encode_videos(batch)
            return model.margins(captions, videos).numpy(), captions.vector, videos.vector

    assert not tied(scores(Amp(AmpSettings(), "cpu"))[0])
    emulate_gpu(monkeypatch)
    margins, *vectors = scores(Amp(AmpSettings(enable=True, level=level, dtype=dtype), "gpu"))
    assert margins.dtype == np.float32 and not tied(margins)
    assert {vector.dtype for vector in vectors} == {paddle.float32}


@pytest.mark.parametrize("level", LEVELS)
def test_recomputed_layers_run_in_the_same_types(monkeypatch, level):
    emulate_gpu(monkeypatch)
    amp = Amp(AmpSettings(enable=True, level=level, dtype="bfloat16"), "gpu")
    model = decorated(amp)
    model.train()
    results = []
    for recomputes in (False, True):
        if recomputes:
            recompute_layers(model.recomputable())
        model.clear_gradients()
        seed_everything(1)
        results.append(losses_and_gradients(model, amp)[1])
    np.testing.assert_array_equal(*results)


# --------------------------------------------------------------------------- answers


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("head", ["AnswerHead", "BlankHead"])
def test_answers_are_decided_in_float32(monkeypatch, level, head):
    options = {"window": 2, "window_size": 8, "components": 3} if head == "BlankHead" else {}
    model, batch = answer_model(head, **options), questions()
    expected, rows = float(model(batch)["loss"]), model.predict(batch, None)
    emulate_gpu(monkeypatch)
    amp = Amp(AmpSettings(enable=True, level=level, dtype="bfloat16"), "gpu")
    optimizer = paddle.optimizer.Adam(parameters=model.parameters())
    model = amp.decorate(model, optimizer, model.float32_layers())[0]
    with amp.autocast():
        loss, half_rows = model(batch)["loss"], model.predict(batch, None)
    assert loss.dtype == paddle.float32 and float(loss) == pytest.approx(expected, rel=0.05)
    assert half_rows["scores"].dtype == np.float32
    np.testing.assert_allclose(half_rows["scores"], rows["scores"], atol=0.1)
