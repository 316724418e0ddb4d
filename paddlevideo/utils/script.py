"""The first moments of a script: Ctrl-C and missing packages while its imports run.

Scripts import this before everything else, so it imports next to nothing itself.
"""

from __future__ import annotations

import os
import sys

#: As in typing, whose import takes longer than all that is done here.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Modules that may be missing, and what ``pip install`` wants for them.
INSTALL = {
    "PIL": "Pillow",
    "cv2": "opencv-python-headless",
    "faiss": "faiss-cpu",
    "jinja2": "Jinja2",
    "paddle": "paddlepaddle, or paddlepaddle-gpu",
    "yaml": "PyYAML",
    **{name: name for name in ("lmdb", "matplotlib", "numpy", "rich", "safetensors")},
    **{name: name for name in ("onnxruntime", "paddlenlp", "tensorboardX", "tokenizers")},
    "visualdl": "visualdl",
}
AGAIN = "run the same command again"


def as_script(name: str) -> None:
    """Called at the top of a script with its ``__name__``, before the imports that take time.

    Where it is what Python was started with, Ctrl-C ends the process at once with one line until
    ``exit_code_of`` runs its action, and a missing package is told without a traceback.
    """
    if name == "__main__":
        _open_closed_streams()
        sys.excepthook = _print_uncaught
        _answer_interrupts(with_exit=True)


def _open_closed_streams() -> None:
    """Standard streams that are closed (``>&-``) lead to nowhere.

    Otherwise the next file that is opened gets the number, and with it what native code prints.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, os.O_RDWR)
            if descriptor != number:
                os.dup2(descriptor, number)
                os.close(descriptor)
            os.set_inheritable(number, True)
            mode = "w" if number else "r"
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115


class _Answering:
    """Around a block of a script: what answers Ctrl-C in it.

    Nothing changes in a notebook, which an exit would end, nor where another handler was set.
    """

    with_exit: bool

    def __enter__(self) -> None:
        is_script = sys.excepthook is _print_uncaught
        self.switched = is_script and _answer_interrupts(self.with_exit)

    def __exit__(self, *exception: object) -> None:
        if self.switched:
            _answer_interrupts(not self.with_exit)


class ending_at_once(_Answering):
    """Around slow imports, where nothing is half-written yet: Ctrl-C ends the process.

    A KeyboardInterrupt inside an import may be swallowed, or printed with a traceback by what
    Python calls in passing.
    """

    with_exit = True


class interruptible(_Answering):
    """Around work that cleans up: Ctrl-C raises KeyboardInterrupt, as in any Python program."""

    with_exit = False


def missing_package(error: BaseException) -> str:
    """What to say of a package that is not installed or lacks a library of the system, or ""."""
    if not isinstance(error, ImportError):
        return ""
    name = error.name or ""
    package = name.partition(".")[0]
    if isinstance(error, ModuleNotFoundError) and name in INSTALL:
        return f"the package {name} is not installed: pip install {INSTALL[name]}"
    if package in INSTALL and ".so" in (error.path or ""):
        install = f"pip install --force-reinstall {INSTALL[package]}"
        return f"the package {package} cannot be loaded ({error}): {install}"
    return ""


def _print_uncaught(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    """What Python calls with an exception that nothing has caught."""
    if isinstance(error, KeyboardInterrupt):
        _end_at_once()
    if message := missing_package(error):
        print(f"error: {message}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


def _answer_interrupts(with_exit: bool) -> bool:
    """Lets Ctrl-C end the process at once, or raise; False where something else answers it."""
    import signal
    import threading

    handlers: list[Any] = [signal.default_int_handler, _end_at_once]
    before, after = handlers if with_exit else reversed(handlers)
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGINT) is not before:
        return False
    signal.signal(signal.SIGINT, after)
    return True


def _end_at_once(*_: object) -> None:
    # Printing is not safe in a handler; writing is.
    os.write(2, f"interrupted; {AGAIN}\n".encode())
    os._exit(130)
