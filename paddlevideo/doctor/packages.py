"""Python, its packages, and whether Paddle sees the GPUs."""

from __future__ import annotations

import importlib
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from paddlevideo.doctor.finding import NOTE, OK, PROBLEM, Finding
from paddlevideo.utils.script import ending_at_once

ROOT = Path(__file__).resolve().parents[2]
#: Other distributions that serve in the place of one.
SUBSTITUTES = {
    "paddlepaddle": ("paddlepaddle-gpu",),
    "opencv-python-headless": (
        *("opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless"),
    ),
}
#: Distributions without which training works.
OPTIONAL = ("opencv-python-headless",)
MODULES = {
    **{"paddlepaddle": "paddle", "PyYAML": "yaml", "Pillow": "PIL", "Jinja2": "jinja2"},
    "opencv-python-headless": "cv2",
}
GPU_PACKAGE = "pip uninstall -y paddlepaddle && pip install paddlepaddle-gpu"


def numbers(text: str) -> tuple[int, ...]:
    """``2.6.2.post120`` as (2, 6, 2, 120): enough to compare releases."""
    return tuple(int(part) for part in re.findall(r"\d+", text)[:4])


def lower_bounds() -> dict[str, str]:
    """Distributions and their oldest releases, as ``requirements.txt`` has them."""
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    return dict(re.findall(r"^([\w-]+)>=([\w.]+)$", text, re.MULTILINE))


def python() -> Iterator[Finding]:
    """The Python that runs this."""
    (low, high) = re.findall(
        r'python_requires=">=([\d.]+),<([\d.]+)"', (ROOT / "setup.py").read_text("utf-8")
    )[0]
    found = platform.python_version()
    if numbers(low) <= numbers(found) < numbers(high):
        yield Finding(OK, "Python", found)
    else:
        wanted = f"{low} or newer, older than {high}"
        yield Finding(PROBLEM, "Python", f"{found}; needed is {wanted}", "make a new environment")


def packages() -> Iterator[Finding]:
    """Every package of ``requirements.txt``: there, new enough, and can be imported."""
    good = []
    for name, oldest in lower_bounds().items():
        finding = package(name, oldest)
        if finding is None:
            good.append(f"{name} {installed(name)}")
        else:
            yield finding
    if good:
        yield Finding(OK, "packages", ", ".join(good))


def package(name: str, oldest: str) -> Finding | None:
    """What is wrong with a package, if anything is."""
    found = installed(name)
    install = f'pip install "{name}>={oldest}"'
    if found is None:
        status = NOTE if name in OPTIONAL else PROBLEM
        use = "; only tools that read or render video need it" if name in OPTIONAL else ""
        return Finding(status, name, f"is not installed{use}", install)
    if numbers(found) < numbers(oldest):
        return Finding(PROBLEM, name, f"{found}; the oldest that works is {oldest}", install)
    try:
        with ending_at_once():
            importlib.import_module(MODULES.get(name, name))
    except Exception as fault:
        says = f"{found} cannot be imported ({type(fault).__name__}: {fault!s:.150})"
        return Finding(PROBLEM, name, says, f'pip install --force-reinstall "{name}>={oldest}"')
    return None


def installed(name: str) -> str | None:
    """The release of a distribution, or of one that serves in its place."""
    for candidate in (name, *SUBSTITUTES.get(name, ())):
        try:
            return version(candidate)
        except PackageNotFoundError:
            continue
    return None


def device() -> Iterator[Finding]:
    """Where ``device: auto`` would train."""
    import paddle

    cards = graphics_cards()
    if not paddle.is_compiled_with_cuda():
        if cards:
            says = f"{len(cards)} GPU(s), {cards[0]} first, but this Paddle is built for CPUs"
            yield Finding(PROBLEM, "device", says, GPU_PACKAGE)
        else:
            yield Finding(OK, "device", "cpu (no GPU here, and a Paddle built for CPUs)")
        return
    yield from gpu_devices(cards)  # gpu-only


def gpu_devices(cards: list[str]) -> Iterator[Finding]:
    """What a Paddle that is built for GPUs finds."""
    import paddle

    count = paddle.device.cuda.device_count()
    if not count:
        says = f"this Paddle is built for GPUs and sees none; the driver lists {len(cards)}"
        advice = "see nvidia-smi and CUDA_VISIBLE_DEVICES; until then training runs on the CPU"
        yield Finding(PROBLEM if cards else NOTE, "device", says, advice)
        return
    names = [paddle.device.cuda.get_device_name(number) for number in range(count)]
    yield Finding(OK, "device", f"{count} GPU(s): {', '.join(names)}")
    # Paddle has float16 on all GPUs that it runs on; bfloat16 came with compute capability 8.
    major, minor = paddle.device.cuda.get_device_capability(0)
    halves = "float16 and bfloat16" if major >= 8 else "float16, not bfloat16"
    yield Finding(OK, "half precision", f"{halves} (compute capability {major}.{minor})")


def graphics_cards() -> list[str]:
    """The GPUs that the driver lists; none without a driver."""
    if shutil.which("nvidia-smi") is None:
        return []
    done = subprocess.run(
        ["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=False
    )
    names = re.findall(r"^GPU \d+: (.+?)(?: \(|$)", done.stdout, re.MULTILINE)
    return names if done.returncode == 0 else []
