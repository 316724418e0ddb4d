"""Start and end of every command: a user's mistake is one line and an exit code, no traceback.

A command imports this before anything else, so that Ctrl-C and a missing package are one line
during slow imports too. Hence only ``os`` and ``sys`` are imported at the top.
"""

from __future__ import annotations

import os
import sys

#: As in typing, whose import would take longer than this module.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from paddlevideo.utils.errors import UserError

#: Modules that may be missing, and what ``pip install`` calls them.
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
    **dict.fromkeys(("fastapi", "uvicorn"), "fastapi uvicorn"),
    "prometheus_client": "prometheus-client",
    "pymilvus": "pymilvus milvus-lite",
    "ray": "ray",
}
#: What follows "interrupted; ": for a command that starts over, and for one that resumes.
STARTS_OVER = "run the same command again"
RESUMES = "run the same command again to continue; finished work is kept"


# ------------------------------------------------------------------------------ beginning


def begin_command() -> None:
    """Prepares this process for a command, before the imports that take time.

    Until ``exit_code_of`` runs its action, Ctrl-C ends the process at once with one line, and a
    missing package is reported without a traceback.
    """
    _open_closed_streams()
    sys.excepthook = _print_uncaught
    _answer_interrupts(with_exit=True)


def _open_closed_streams() -> None:
    """Opens the null device for standard streams that are closed (``>&-``).

    Otherwise the next file that is opened gets the descriptor, and with it what native code prints.
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


class _InterruptMode:
    """Context in which Ctrl-C ends the process or raises KeyboardInterrupt.

    Changes nothing in a notebook, which an exit would end, nor if another handler is set.
    """

    with_exit: bool

    def __enter__(self) -> None:
        self.switched = is_command() and _answer_interrupts(self.with_exit)

    def __exit__(self, *exception: object) -> None:
        if self.switched:
            _answer_interrupts(not self.with_exit)


class exit_on_interrupt(_InterruptMode):
    """Makes Ctrl-C end the process, for slow imports, when nothing is half-written yet.

    A KeyboardInterrupt inside an import may be swallowed, or printed with a traceback.
    """

    with_exit = True


class interruptible(_InterruptMode):
    """Makes Ctrl-C raise KeyboardInterrupt, for work that cleans up after itself."""

    with_exit = False


def _answer_interrupts(with_exit: bool) -> bool:
    """Makes Ctrl-C end the process, or raise. Returns False if something else handles it."""
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
    # Printing is not safe in a signal handler; writing is.
    os.write(2, f"interrupted; {STARTS_OVER}\n".encode())
    os._exit(130)


def _print_uncaught(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    """Prints an uncaught exception (``sys.excepthook``)."""
    if isinstance(error, KeyboardInterrupt):
        _end_at_once()
    if message := missing_package(error):
        print(f"error: {message}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


def is_command() -> bool:
    """Returns whether Python was started as a command, and not as a notebook or a test."""
    return sys.excepthook is _print_uncaught


def missing_package(error: BaseException) -> str:
    """Returns how to install a package or library that is missing; "" for other errors."""
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


# --------------------------------------------------------------------------------- ending


def exit_code_of(action: Callable[[], object], *, again: str = STARTS_OVER) -> int:
    """Runs ``action`` and returns its exit code (None: 0), that of a UserError, or 130 for Ctrl-C.

    A run that saved and stopped on request returns 75, or 130 after Ctrl-C. The message of a
    UserError, a system error about a file or a full disk (1) and the name of a missing package (1)
    are printed to standard error after ``error: ``; after Ctrl-C ``again`` says how to continue.
    If the reader of the output is gone, returns 141 and prints nothing. Any other exception is a
    bug in the program, and propagates.
    """
    import io
    import warnings

    from paddlevideo.files.whole import naming
    from paddlevideo.utils.errors import Stopped, UserError

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names need not be valid
    # Paddle looks for a compiler cache on import; nothing here is compiled.
    warnings.filterwarnings("ignore", message="No ccache found")
    try:
        with interruptible():
            result = action()
            with naming("standard output"):
                sys.stdout.flush()
    except (UserError, ImportError) as error:
        return _code_of_user_error(error)
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        return stopped.exit_code
    except KeyboardInterrupt as interrupt:
        return _code_of_interrupt(interrupt, again)
    except OSError as error:
        return _code_of_system(error)
    except UnicodeEncodeError as error:
        return _code_of_locale(error)
    return int(result) if isinstance(result, int) else 0


def _code_of_user_error(error: UserError | ImportError) -> int:
    """Prints a UserError or how to install a package; re-raises any other ImportError."""
    from paddlevideo.utils.errors import ToldElsewhere
    from paddlevideo.utils.log import complain

    if isinstance(error, ToldElsewhere):
        return error.exit_code
    message = missing_package(error) if isinstance(error, ImportError) else str(error)
    if not message:
        raise error
    complain(message)
    return 1 if isinstance(error, ImportError) else error.exit_code


def _code_of_interrupt(interrupt: KeyboardInterrupt, again: str) -> int:
    import signal

    from paddlevideo.utils.children import Terminated

    print(f"interrupted; {again}", file=sys.stderr)
    return 128 + (signal.SIGTERM if isinstance(interrupt, Terminated) else signal.SIGINT)


def _code_of_locale(error: UnicodeEncodeError) -> int:
    """Prints which file name the locale cannot express; re-raises the error under UTF-8."""
    import codecs

    encoding = sys.getfilesystemencoding()
    if codecs.lookup(encoding).name == "utf-8":
        raise error
    print(
        f"error: {ascii(error.object[error.start : error.end])} cannot be in a file name in this "
        f"locale ({encoding}): set LC_ALL=C.UTF-8, or PYTHONUTF8=1",
        file=sys.stderr,
    )
    return 1


def _code_of_system(error: OSError) -> int:
    """Prints an error of the operating system; re-raises one that is not about a file."""
    import errno
    import signal

    is_cut_off = isinstance(error, BrokenPipeError) and _is_broken_pipe(sys.stdout)
    # For a connection between processes the traceback matters.
    if not is_cut_off and (error.errno is None or isinstance(error, ConnectionError)):
        raise error
    _drop_output(sys.stdout)
    if is_cut_off:
        return 128 + signal.SIGPIPE
    where = ""
    # Files are named where they are written (files/whole.py); what print() writes cannot be.
    if error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT) and _is_file(sys.stdout):
        where = "standard output: "
    if isinstance(error.filename, str | bytes):
        where = f"{os.fsdecode(error.filename)}: "
    print(f"error: {where}{error.strerror}", file=sys.stderr)
    return 1


def _is_broken_pipe(stream: Any) -> bool:
    import select

    try:
        poll = select.poll()
        poll.register(stream.fileno(), select.POLLERR)
        return bool(poll.poll(0))
    except OSError:  # a stream without a descriptor
        return False


def _is_file(stream: Any) -> bool:
    import stat

    try:
        mode = os.fstat(stream.fileno()).st_mode
    except OSError:  # a stream without a descriptor
        return False
    return stat.S_ISREG(mode) or (stat.S_ISCHR(mode) and not stream.isatty())


def _drop_output(stream: Any) -> None:
    """Discards what cannot be printed; Python would try again at exit, and complain."""
    from contextlib import suppress

    try:
        stream.flush()
    except OSError:
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
