"""A GPU's mixed precision on a CPU: tensors really are float16 or bfloat16, kernels use float32.

Paddle's kernels for CPUs lack both types, and its autocast does nothing on a CPU. Here
``paddle.amp`` is told that it runs on a GPU, so that its own code converts weights, chooses lists
of operators and scales losses; only the casts before each operator, which Paddle's C++ makes, are
made in Python. ``tests/test_half_precision.py`` compares their types with Paddle's log.

What a kernel rounds inside is not emulated: a product's sum is as exact as in float32.
"""

from __future__ import annotations

import functools
import sys
from collections import Counter
from types import SimpleNamespace

import paddle
import paddle.nn.functional as F
from paddle import Tensor, _C_ops, _legacy_C_ops, nn
from paddle.base import core

from paddlevideo.modeling import layers
from paddlevideo.tasks import setup

HALF = (paddle.float16, paddle.bfloat16)
FLOATS = (*HALF, paddle.float32)
IS_PADDLE_2 = paddle.__version__.startswith("2.")
#: Names of operators in Paddle's lists, where they differ from those of its functions. A Linear is
#: one operator on GPUs since Paddle 3, and a product and a sum before.
LISTED = {
    "matmul": "matmul_v2",
    "linear": "linear_v2",
    "cross_entropy_with_softmax": "softmax_with_cross_entropy",
    "sum": "reduce_sum",
    "mean": "reduce_mean",
    "embedding": "lookup_table_v2",
}
#: Functions that Paddle does not cast for, and that CPUs have for half precision.
UNCAST = {"cast", "full_like", "assign", "copy_to"}
#: Functions that write into half tensors.
UPDATES = {
    *("adam_", "adamw_", "sgd_", "momentum_", "lamb_"),
    *("add_", "multiply_", "scale_", "check_finite_and_unscale_"),
}
OPERATORS = {
    "__add__": "add",
    "__sub__": "subtract",
    "__mul__": "multiply",
    "__truediv__": "divide",
    "__matmul__": "matmul",
}
cast = _C_ops.cast


class Tracer:
    """What ``paddle.amp`` sees as Paddle's tracer: it is on a GPU, and keeps what autocast sets."""

    def __init__(self):
        self._expected_place = SimpleNamespace(
            is_gpu_place=lambda: True, is_xpu_place=lambda: False, is_custom_place=lambda: False
        )
        self._amp_level, self._amp_dtype, self._use_promote = core.AmpLevel.O0, "float32", True
        self._lists = set(), set()
        #: Each function's types so far.
        self.chosen = {}
        #: The number of casts so far, of tensors without and with a gradient.
        self.casts = Counter()

    @property
    def _has_grad(self):
        return paddle.is_grad_enabled()

    def _get_amp_op_list(self):
        return self._lists

    def _set_amp_op_list(self, white, black):
        self._lists = set(white), set(black)

    def choose(self, name, floats):
        """The type in which Paddle would run an operator on these tensors."""
        if name == "layer_norm":  # its weights do not count
            floats = floats[:1]
        types = {x.dtype for x in floats}
        if self._amp_level == core.AmpLevel.O0:
            if len(types) > 1:
                raise TypeError(f"{name}: a GPU has no kernel for {types}")
            return floats[0].dtype
        (white, black), listed = self._lists, LISTED.get(name, name)
        if listed in white:
            return getattr(paddle, self._amp_dtype)
        if listed in black or paddle.float32 in types:
            return paddle.float32
        return floats[0].dtype


def emulate_gpu(monkeypatch):
    """Makes the package and ``paddle.amp`` behave as on a GPU; returns the tracer."""
    tracer = Tracer()
    for name in ("paddle.amp.auto_cast", "paddle.amp.grad_scaler"):
        monkeypatch.setattr(sys.modules[name], "_dygraph_tracer", lambda: tracer)
    for name in ("_is_gpu_float16_supported", "_is_gpu_bfloat16_supported"):
        monkeypatch.setattr(sys.modules["paddle.amp.auto_cast"], name, lambda: True)
    for name in ("is_float16_supported", "is_bfloat16_supported"):
        monkeypatch.setattr(paddle.amp, name, lambda: True)
    framework = SimpleNamespace(_dygraph_tracer=lambda: tracer)
    recomputing = sys.modules["paddle.distributed.fleet.recompute.recompute"]
    monkeypatch.setattr(recomputing, "framework", framework)

    for name in dir(_C_ops):
        kernel = getattr(_C_ops, name)
        if name in UPDATES:
            monkeypatch.setattr(_C_ops, name, in_place(kernel))
        elif callable(kernel) and name not in UNCAST and not name.endswith(("_", "_grad")):
            monkeypatch.setattr(_C_ops, name, with_casts(tracer, name, kernel))
    check = _legacy_C_ops.check_finite_and_unscale
    monkeypatch.setattr(_legacy_C_ops, "check_finite_and_unscale", in_place(check))
    if IS_PADDLE_2:
        monkeypatch.setattr(_C_ops, "linear", lambda x, w, b: _C_ops.matmul(x, w, False, False) + b)
    for method, name in OPERATORS.items():
        monkeypatch.setattr(Tensor, method, operator(getattr(Tensor, method), name))

    monkeypatch.setattr(layers.Linear, "forward", nn.Linear.forward)
    attention = with_casts(tracer, "flash_attn", F.scaled_dot_product_attention)
    monkeypatch.setattr(F, "scaled_dot_product_attention", attention)
    monkeypatch.setattr(paddle.device, "get_device", lambda: "gpu:0")
    monkeypatch.setattr(paddle.device, "synchronize", lambda: None)
    monkeypatch.setattr(paddle, "set_device", lambda name: None)
    monkeypatch.setattr(setup, "select_device", lambda name: "gpu")
    return tracer


def with_casts(tracer, name, kernel):
    """``kernel`` with inputs and outputs in the type that the tracer chooses."""

    @functools.wraps(kernel)
    def run(*arguments, **options):
        inputs = [*arguments, *options.values()]
        floats = [x for x in tensors_in(inputs) if x.dtype in FLOATS]
        if not floats:
            return kernel(*arguments, **options)
        chosen = tracer.choose(name, floats)
        tracer.chosen.setdefault(name, set()).add(chosen)
        cast_ones = floats[:1] if name == "layer_norm" else floats
        tracer.casts.update(not x.stop_gradient for x in cast_ones if x.dtype != chosen)

        def to_kernel(x):
            if x.dtype not in FLOATS:
                return x
            rounded = x if name == "layer_norm" else as_type(x, chosen)
            return as_type(rounded, paddle.float32)

        options = {key: changed(to_kernel, value) for key, value in options.items()}
        result = kernel(*changed(to_kernel, arguments), **options)
        return changed(lambda x: as_type(x, chosen) if x.dtype == paddle.float32 else x, result)

    return run


def in_place(kernel):
    """``kernel``, which writes into its arguments, run on float32 copies of half tensors."""

    @functools.wraps(kernel)
    def run(*arguments):
        halves = [x for x in tensors_in(arguments) if x.dtype in HALF]
        copies = {id(x): as_type(x.detach(), paddle.float32) for x in halves}
        for master in (x for x in tensors_in(arguments) if "fp32_master" in x.name):
            copies[id(arguments[0])] = master
        result = kernel(*changed(lambda x: copies.get(id(x), x), arguments))
        for x in halves:
            paddle.assign(as_type(copies[id(x)], x.dtype), output=x)
        return arguments[0] if halves and isinstance(result, Tensor) else result

    return run


def operator(original, name):
    """The method of an operator such as +, which Paddle's C++ casts for as for the function."""

    def run(self, other):
        floats = isinstance(other, Tensor) and {self.dtype, other.dtype} <= {*FLOATS}
        return getattr(paddle, name)(self, other) if floats else original(self, other)

    return run


def as_type(x, dtype):
    return x if x.dtype == dtype else cast(x, dtype)


def tensors_in(items):
    """Yields the tensors in nested lists and tuples."""
    for item in items:
        if isinstance(item, Tensor):
            yield item
        elif isinstance(item, (list, tuple)):
            yield from tensors_in(item)


def changed(change, item):
    """``item``, a tensor or nested lists and tuples, with ``change`` applied to each tensor."""
    if isinstance(item, (list, tuple)):
        return type(item)(changed(change, each) for each in item)
    return change(item) if isinstance(item, Tensor) else item
