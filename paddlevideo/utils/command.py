"""How every command ends: a user's mistake is one line and an exit code, never a traceback."""

from __future__ import annotations

import signal
import sys
import warnings
from collections.abc import Callable

from paddlevideo.utils.errors import UserError
from paddlevideo.utils.stopping import Stopped


def exit_code_of(action: Callable[[], object], name: str = "error") -> int:
    """Runs ``action`` and returns the exit code: 0, that of a UserError, or 130 after Ctrl-C.

    A run that was asked to end and has saved returns 75, or 130 after Ctrl-C. The message of a
    UserError is printed to standard error with ``name`` before it.
    """
    # Paddle looks for a compiler cache on import; nothing here is compiled.
    warnings.filterwarnings("ignore", message="No ccache found")
    try:
        action()
    except UserError as fault:
        print(f"{name}: {fault}", file=sys.stderr)
        return fault.exit_code
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        return stopped.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 128 + signal.SIGINT
    return 0
