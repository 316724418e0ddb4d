"""Half precision where the checks run: a GPU's own, or an emulation on a CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gpu_checks.result import Place

LEVELS, TYPES = ("O1", "O2"), ("float16", "bfloat16")


class Patches:
    """Sets attributes, with the interface of pytest's, and restores them."""

    def __init__(self) -> None:
        self._before: list[tuple[Any, str, Any]] = []

    def setattr(self, owner: Any, name: str, value: Any) -> None:
        """Sets ``owner.name``."""
        self._before.append((owner, name, getattr(owner, name)))
        setattr(owner, name, value)

    def undo(self) -> None:
        """Restores all attributes, the last one first."""
        while self._before:
            setattr(*self._before.pop())


@contextmanager
def half_precision(place: Place) -> Iterator[None]:
    """Returns a context in which half precision works: on a CPU it is emulated."""
    if place.is_gpu:
        yield
        return
    with emulated_half_precision():
        yield


@contextmanager
def emulated_half_precision() -> Iterator[Any]:
    """Yields the emulation's tracer in a context in which half precision works on a CPU."""
    from tests.half_precision import emulate_gpu

    patches = Patches()
    try:
        yield emulate_gpu(patches)
    finally:
        patches.undo()


def set_tf32(allowed: bool) -> bool:
    """Lets a GPU multiply float32 in TF32, Paddle's default, or not; returns whether it can tell.

    Cards before compute capability 8.0 have no TF32, which changes nothing there.
    """
    from paddle.base import core

    has_switch = hasattr(core, "set_cublas_switch") and core.is_compiled_with_cuda()
    if has_switch:
        core.set_cublas_switch(allowed)
    return has_switch


def lacks(dtype: str, place: Place) -> str:
    """Returns why ``dtype`` cannot be checked here, or ""."""
    import paddle

    has_bfloat16 = not place.is_gpu or paddle.amp.is_bfloat16_supported()
    return "" if dtype == "float16" or has_bfloat16 else "the GPU has no bfloat16"


def amp_overrides(level: str, dtype: str) -> tuple[str, ...]:
    """Returns the overrides of a recipe for mixed precision."""
    return ("amp.enable=True", f"amp.level={level}", f"amp.dtype={dtype}")
