"""Python, its packages, and whether Paddle sees the GPUs."""

from __future__ import annotations

import importlib
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, metadata, version
from pathlib import Path

from paddlevideo.doctor.finding import NOTE, OK, PROBLEM, Finding
from paddlevideo.utils.command import exit_on_interrupt

ROOT = Path(__file__).resolve().parents[2]
#: Distributions that can replace another.
SUBSTITUTES = {
    "paddlepaddle": ("paddlepaddle-gpu",),
    "opencv-python-headless": (
        *("opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless"),
    ),
}
#: Distributions that training does not need.
OPTIONAL = ("opencv-python-headless",)
MODULES = {
    **{"paddlepaddle": "paddle", "PyYAML": "yaml", "Pillow": "PIL", "Jinja2": "jinja2"},
    "opencv-python-headless": "cv2",
}
#: Extras for packages that requirements.txt lists but setup.py cannot require.
EXTRAS = "['\"](?:cpu|video)['\"]"
GPU_PACKAGE = "pip uninstall -y paddlepaddle, then install paddlepaddle-gpu (docs/install.md)"
#: Paddle's own package index, with a folder for each release of CUDA, and the lowest compute
#: capability for which a folder is the right one (docs/install.md).
INDEX = "https://www.paddlepaddle.org.cn/packages/stable"
FOLDERS = {(10, 0): "cu129", (7, 5): "cu126", (0, 0): "cu118"}
#: Architectures in PyPI's wheel of 2.6.2: none above 8.6, and no PTX to translate. Paddle 3 says
#: which it has.
ARCHITECTURES_OF_26 = (60, 61, 70, 75, 80, 86)


def release_numbers(text: str) -> tuple[int, ...]:
    """Returns ``2.6.2.post120`` as (2, 6, 2, 120): enough to compare releases."""
    return tuple(int(part) for part in re.findall(r"\d+", text)[:4])


def is_clone() -> bool:
    """Whether the package runs from a clone rather than from an installation by pip."""
    return (ROOT / "tools" / "door.py").is_file()


def lower_bounds() -> dict[str, str]:
    """Returns the oldest releases of the distributions that training needs.

    They come from ``requirements.txt`` of a clone, else from the installed metadata.
    """
    if is_clone():
        lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    else:
        lines = metadata("paddlevideo").get_all("Requires-Dist") or []
    needed = (re.match(rf"([\w-]+)>=([\w.]+)(; extra == {EXTRAS})?$", line) for line in lines)
    return {match[1]: match[2] for match in needed if match}


def python() -> Iterator[Finding]:
    """Checks the release of Python."""
    if is_clone():
        text = re.findall('python_requires="(.+)"', (ROOT / "setup.py").read_text("utf-8"))[0]
    else:
        text = metadata("paddlevideo")["Requires-Python"]
    low, high = (re.findall(rf"{bound}([\d.]+)", text)[0] for bound in (">=", "<"))
    release = platform.python_version()
    if release_numbers(low) <= release_numbers(release) < release_numbers(high):
        yield Finding(OK, "Python", release)
    else:
        wanted = f"{low} or newer, older than {high}"
        yield Finding(
            PROBLEM, "Python", f"{release}; required is {wanted}", "make a new environment"
        )


def packages() -> Iterator[Finding]:
    """Checks that each package is installed, new enough, and can be imported."""
    usable = []
    for name, oldest in lower_bounds().items():
        finding = package(name, oldest)
        if finding is None:
            usable.append(f"{name} {installed(name)}")
        else:
            yield finding
    if usable:
        yield Finding(OK, "packages", ", ".join(usable))


def package(name: str, oldest: str) -> Finding | None:
    """Returns the problem with a package, or None."""
    release = installed(name)
    install = f'pip install "{name}>={oldest}"'
    if release is None:
        status = NOTE if name in OPTIONAL else PROBLEM
        use = "; only tools that read or render video need it" if name in OPTIONAL else ""
        return Finding(status, name, f"is not installed{use}", install)
    if release_numbers(release) < release_numbers(oldest):
        return Finding(PROBLEM, name, f"{release}; the oldest that works is {oldest}", install)
    try:
        with exit_on_interrupt():
            importlib.import_module(MODULES.get(name, name))
    except Exception as error:
        message = f"{release} cannot be imported ({type(error).__name__}: {error!s:.150})"
        return Finding(PROBLEM, name, message, f'pip install --force-reinstall "{name}>={oldest}"')
    return None


def installed(name: str) -> str | None:
    """Returns the release of a distribution, or of one that replaces it."""
    for candidate in (name, *SUBSTITUTES.get(name, ())):
        try:
            return version(candidate)
        except PackageNotFoundError:
            continue
    return None


def device() -> Iterator[Finding]:
    """Checks where ``device: auto`` would train."""
    import paddle

    cards = graphics_cards()
    if not paddle.is_compiled_with_cuda():
        if cards:
            message = f"{len(cards)} GPU(s), {cards[0]} first, but this Paddle is built for CPUs"
            yield Finding(PROBLEM, "device", message, GPU_PACKAGE)
        else:
            yield Finding(OK, "device", "cpu (no GPU here, and a Paddle built for CPUs)")
        return
    yield from gpu_devices(cards)  # gpu-only


def gpu_devices(cards: list[str]) -> Iterator[Finding]:
    """Lists the GPUs that Paddle sees."""
    import paddle

    count = paddle.device.cuda.device_count()
    if not count:
        message = f"this Paddle is built for GPUs and sees none; the driver lists {len(cards)}"
        advice = "see nvidia-smi and CUDA_VISIBLE_DEVICES; until then training runs on the CPU"
        yield Finding(PROBLEM if cards else NOTE, "device", message, advice)
        return
    names = [paddle.device.cuda.get_device_name(index) for index in range(count)]
    yield Finding(OK, "device", f"{count} GPU(s): {', '.join(names)}")
    for index, name in enumerate(names):
        yield from architecture(name, paddle.device.cuda.get_device_capability(index))
    # Paddle has float16 on all GPUs that it runs on; bfloat16 came with compute capability 8.
    major, minor = paddle.device.cuda.get_device_capability(0)
    halves = "float16 and bfloat16" if major >= 8 else "float16, not bfloat16"
    yield Finding(OK, "half precision", f"{halves} (compute capability {major}.{minor})")


def architecture(name: str, capability: tuple[int, int]) -> Iterator[Finding]:
    """Finds a GPU for which the installed Paddle has no code, which fails at the first operator.

    Code for a compute capability runs on those with the same major and a higher minor number.
    """
    import paddle

    listed = getattr(paddle.version, "cuda_archs", lambda: ARCHITECTURES_OF_26)()
    codes = [divmod(int(code), 10) for code in listed]
    major, minor = capability
    if codes and not any(code[0] == major and code[1] <= minor for code in codes):
        has = ", ".join(map(str, listed))
        yield Finding(
            PROBLEM,
            "architecture",
            f"{name} has compute capability {major}.{minor} (sm_{major}{minor}): this Paddle has "
            f"code for {has}",
            f"pip install --force-reinstall paddlepaddle-gpu -i {wheels_for(capability)}",
        )


def wheels_for(capability: tuple[int, int]) -> str:
    """Returns the index of Paddle's wheels for GPUs of a compute capability."""
    folder = next(folder for lowest, folder in FOLDERS.items() if capability >= lowest)
    return f"{INDEX}/{folder}/"


def graphics_cards() -> list[str]:
    """Returns the names of the GPUs that the driver lists; none without a driver."""
    if shutil.which("nvidia-smi") is None:
        return []
    done = subprocess.run(
        ["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=False
    )
    names = re.findall(r"^GPU \d+: (.+?)(?: \(|$)", done.stdout, re.MULTILINE)
    return names if done.returncode == 0 else []
