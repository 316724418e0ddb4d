"""What the scripts of this folder share: they run the package of this clone, installed or not.

The folder of the clone goes before what is installed: of two clones one may be installed, and a
script must not run the other one's code.
"""

from __future__ import annotations

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def run_command(name: str) -> None:
    """Runs the module ``name`` of ``paddlevideo.cli`` and exits with its code."""
    from paddlevideo.cli import run_module

    sys.exit(run_module(name))
