"""What the scripts of this folder share: they start the commands of this clone's package.

The folder of the clone goes before what is installed: another clone may be, and a script must not
run its code.
"""

from __future__ import annotations

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def run_command(name: str, package: str = "paddlevideo.cli") -> None:
    """Runs ``main`` of the module ``name``, or ``module.function``, and exits with its code."""
    from paddlevideo import cli

    sys.exit(cli.run_command(name, package=package))
