"""The first moments of a script: Ctrl-C and missing packages while its imports run."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

#: Modules that may be missing, and what ``pip install`` wants for them.
INSTALL = {
    "PIL": "Pillow",
    "cv2": "opencv-python-headless",
    "faiss": "faiss-cpu",
    "paddle": "paddlepaddle, or paddlepaddle-gpu",
    "yaml": "PyYAML",
    **{name: name for name in ("lmdb", "numpy", "rich", "safetensors", "tensorboardX")},
    **{name: name for name in ("onnxruntime", "paddlenlp", "tokenizers", "visualdl")},
}
AGAIN = "run the same command again"


def as_script(name: str) -> None:
    """Called at the top of a script with its ``__name__``, before the imports that take time.

    Where it is what Python was started with, Ctrl-C ends the process at once with one line until
    ``exit_code_of`` runs its action, and a missing package is told without a traceback.
    """
    if name == "__main__":
        sys.excepthook = _print_missing_package
        _answer_interrupts(signal.default_int_handler, _end_at_once)


@contextmanager
def ending_at_once() -> Iterator[None]:
    """Around slow imports, where nothing is half-written yet: Ctrl-C ends the process.

    A KeyboardInterrupt inside an import may be swallowed, or printed with a traceback by what
    Python calls in passing.
    """
    with _answering(signal.default_int_handler, _end_at_once):
        yield


@contextmanager
def interruptible() -> Iterator[None]:
    """Around work that cleans up: Ctrl-C raises KeyboardInterrupt, as in any Python program."""
    with _answering(_end_at_once, signal.default_int_handler):
        yield


def missing_package(module: str) -> str:
    """The line for a package that is not installed."""
    return f"error: the package {module} is not installed: pip install {INSTALL[module]}"


def _print_missing_package(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    """What Python calls with an exception that nothing has caught."""
    if isinstance(error, ModuleNotFoundError) and error.name in INSTALL:
        print(missing_package(error.name), file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


@contextmanager
def _answering(before: Any, after: Any) -> Iterator[None]:
    switched = _answer_interrupts(before, after)
    try:
        yield
    finally:
        if switched:
            _answer_interrupts(after, before)


def _answer_interrupts(before: Any, after: Any) -> bool:
    """Lets ``after`` answer Ctrl-C if ``before`` does now; other handlers stay. True if it did."""
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGINT) is not before:
        return False
    signal.signal(signal.SIGINT, after)
    return True


def _end_at_once(number: int, frame: FrameType | None) -> None:
    # Printing is not safe in a handler; writing is.
    os.write(2, f"interrupted; {AGAIN}\n".encode())
    os._exit(128 + number)
