"""Versions, the card, whether Paddle has code for it, bfloat16, and the kernel of attention."""

from __future__ import annotations

import json
import platform
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from gpu_checks.half_types import half_precision
from gpu_checks.result import Place, Result, holds, noted


def versions(place: Place) -> Iterator[Result]:
    """Names what is installed, and fails where Paddle cannot use the card."""
    import paddle

    from paddlevideo.doctor.finding import PROBLEM
    from paddlevideo.doctor.packages import architecture

    yield noted("Python, Paddle", f"{platform.python_version()}, {paddle.__version__}")
    yield noted("Paddle's CUDA, cuDNN", f"{paddle.version.cuda()}, {paddle.version.cudnn()}")
    if not place.is_gpu:
        yield noted("half precision", "emulated on the CPU")
    for index in range(place.cards):
        name = paddle.device.cuda.get_device_name(index)
        major, minor = capability = paddle.device.cuda.get_device_capability(index)
        gigabytes = paddle.device.cuda.get_device_properties(index).total_memory / 2**30
        problems = [f.says for f in architecture(name, capability) if f.status == PROBLEM]
        shown = problems[0] if problems else f"{name}, sm_{major}{minor}, {gigabytes:.1f} GiB"
        yield holds(f"card {index}", shown, "Paddle has code for it", not problems)
    if place.is_gpu:
        yield noted("bfloat16", "yes" if paddle.amp.is_bfloat16_supported() else "no")
    with half_precision(place):
        yield noted("attention in float16", attention_kernel())


def attention_kernel() -> str:
    """Returns the operators of fused attention with a mask, as Paddle's profiler records them."""
    import paddle
    from paddle import profiler

    from paddlevideo.modeling.layers import PADDLE_RELEASE, attend_fused, mask_to_bias

    if PADDLE_RELEASE < 3:
        return "not fused before Paddle 3"
    x = paddle.ones([2, 7, 2, 32]).astype("float16")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "trace.json")
        recorder = profiler.Profiler(
            targets=[profiler.ProfilerTarget.CPU],
            on_trace_ready=lambda done: done.export(str(path), "json"),
        )
        with recorder:
            attend_fused(x, x, x, mask_to_bias(paddle.ones([2, 7])), None)
        events = json.loads(path.read_text())["traceEvents"]
    names = [event["name"].split()[0] for event in events if event.get("cat") == "Operator"]
    fused = sorted({name for name in names if re.search("attn|attention", name)})
    return ", ".join(fused) or "not fused: products and a softmax"
