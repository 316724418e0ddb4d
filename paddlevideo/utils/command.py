"""How every command ends: a user's mistake is one line and an exit code, never a traceback."""

from __future__ import annotations

import codecs
import errno
import io
import os
import select
import signal
import stat
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from paddlevideo.files.whole import naming
from paddlevideo.utils.children import Terminated
from paddlevideo.utils.errors import UserError
from paddlevideo.utils.script import AGAIN, interruptible, missing_package
from paddlevideo.utils.stopping import Stopped

#: What follows "interrupted; " for a command that goes on where it was.
DONE_IS_KEPT = "what is done is kept, and the same command does the rest"
_FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)


def exit_code_of(action: Callable[[], object], *, again: str = AGAIN) -> int:
    """Runs ``action`` and returns the exit code: its own (None: 0), a UserError's, 130 for Ctrl-C.

    A run that was asked to end and has saved returns 75, or 130 after Ctrl-C. The message of a
    UserError, what the system says of a file or a full disk (1) and which package is missing (1)
    are printed to standard error after ``error: ``; after Ctrl-C ``again`` says how to go on.
    If the reader of the output is gone it returns 141 and prints nothing. Any other exception is
    a bug in the program, and is passed on.
    """
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
    except KeyboardInterrupt as stopped:
        print(f"interrupted; {again}", file=sys.stderr)
        number = signal.SIGTERM if isinstance(stopped, Terminated) else signal.SIGINT
        return 128 + number
    except OSError as error:
        return _code_of_system(error)
    except UnicodeEncodeError as error:
        return _code_of_locale(error)
    return int(result) if isinstance(result, int) else 0


def _code_of_user_error(error: UserError | ImportError) -> int:
    """Prints what the user gave or has not installed; raises what is neither again."""
    message = str(error) if isinstance(error, UserError) else missing_package(error)
    if not message:
        raise error
    print(f"error: {message}", file=sys.stderr)
    return error.exit_code if isinstance(error, UserError) else 1


def _code_of_locale(error: UnicodeEncodeError) -> int:
    """A file name that the locale cannot express; raises the error again where it can."""
    if codecs.lookup(sys.getfilesystemencoding()).name == "utf-8":
        raise error
    print(
        f"error: {ascii(error.object[error.start : error.end])} cannot be in a file name here, "
        f"where names are {sys.getfilesystemencoding()}: set LC_ALL=C.UTF-8, or PYTHONUTF8=1",
        file=sys.stderr,
    )
    return 1


def _code_of_system(error: OSError) -> int:
    """Prints an error of the operating system; raises it again if it is not about a file."""
    is_cut_off = isinstance(error, BrokenPipeError) and _lost_its_reader(sys.stdout)
    # For a connection between processes the traceback matters.
    if not is_cut_off and (error.errno is None or isinstance(error, ConnectionError)):
        raise error
    _drop_output(sys.stdout)
    if is_cut_off:
        return 128 + signal.SIGPIPE
    # Files are named where they are written (utils/files.py); what prints cannot be.
    where = "standard output: " if error.errno in _FULL and _is_file(sys.stdout) else ""
    if isinstance(error.filename, str | bytes):
        where = f"{os.fsdecode(error.filename)}: "
    print(f"error: {where}{error.strerror}", file=sys.stderr)
    return 1


def _lost_its_reader(stream: Any) -> bool:
    with suppress(OSError):  # a stream without a descriptor
        poll = select.poll()
        poll.register(stream.fileno(), select.POLLERR)
        return bool(poll.poll(0))
    return False


def _is_file(stream: Any) -> bool:
    with suppress(OSError):  # a stream without a descriptor
        mode = os.fstat(stream.fileno()).st_mode
        return stat.S_ISREG(mode) or (stat.S_ISCHR(mode) and not stream.isatty())
    return False


def _drop_output(stream: Any) -> None:
    """Discards what cannot be printed; Python would try again at exit, and complain."""
    try:
        stream.flush()
    except OSError:
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
