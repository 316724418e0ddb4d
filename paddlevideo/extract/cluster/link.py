"""The process that talks to Ray: ``utils.isolated`` calls these functions in it.

Ray ends the process that is connected to it when the cluster is gone, prints what it likes, and
may wait for ever: here that costs the command nothing but one line.
"""

from __future__ import annotations

import atexit
import logging
import os
import secrets
import shutil
import sys
from typing import TYPE_CHECKING, Any

from paddlevideo.extract.cluster.messages import Event, Task
from paddlevideo.utils.errors import ConfigError, DataError

if TYPE_CHECKING:
    from paddlevideo.extract.cluster.schedule import Schedule

LOCAL = "local"
#: Bytes of memory for answers on their way in a local Ray; more go to its folder.
OBJECT_STORE = 200 << 20

_schedules: list[Schedule] = []


def connect(address: str, cores: int, folder: str) -> None:
    """Connects to a cluster, or starts a local one in ``folder`` that ends with this process.

    Raises ConfigError where that fails.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    more: dict[str, Any] = {}
    if address == LOCAL:
        atexit.register(shutil.rmtree, folder, ignore_errors=True)  # after the end of Ray
        os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_memory_monitor_refresh_ms": "0"}
        os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)  # a clone need not be installed
        # Otherwise Ray writes a token into the home folder.
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        more = {"num_cpus": cores, "_temp_dir": folder, "include_dashboard": False}
        more["object_store_memory"] = OBJECT_STORE
    import ray

    try:
        ray.init(
            address,
            log_to_driver=False,
            configure_logging=False,
            logging_level=logging.CRITICAL,
            **more,
        )
    except Exception as error:  # of many kinds
        if address == "auto" and isinstance(error, ConnectionError):
            reason = "no Ray runs on this machine: ray start --head starts one, as does --ray local"
        else:
            reason = " ".join(str(error).split())[:300]
        raise ConfigError(f"--ray {address}: {reason}") from None


def begin(task: Task) -> None:
    """Starts processes on all machines."""
    from paddlevideo.extract.cluster.schedule import Schedule

    _schedules[:] = [Schedule(task)]


def advance() -> Event | None:
    """Returns what happened, as ``Schedule.advance`` does. Raises DataError without a cluster."""
    from ray.exceptions import RayError

    try:
        return _schedules[0].advance()
    except (ConnectionError, RayError):
        raise gone(_schedules[0].task.options.ray) from None


def gone(address: str) -> DataError:
    """Returns the error for a cluster that does not answer any more."""
    return DataError(
        f"--ray {address}: the cluster is gone. Start it again, then run the same command again: "
        "it continues"
    )
