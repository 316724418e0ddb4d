"""Fixtures that every test may use."""

import logging
import os
import signal
from collections import Counter
from pathlib import Path

import pytest

# A shell starts background jobs with Ctrl-C ignored, and processes pass that on: tests that send
# the signal would wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)
# As retrieval/milvus_server.py does: some tests import pymilvus before.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the modules with the most slow tests first."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


@pytest.fixture(autouse=True)
def propagating_log() -> None:
    """What pytest captures must not depend on the commands that earlier tests have run."""
    log = logging.getLogger("paddlevideo")
    log.propagate = True
    log.setLevel(min(log.level, logging.WARNING))  # a command for errors only hides warnings


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of recorded numbers and real data beside the project; absent on a user's clone."""
    folder = Path(__file__).parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("needs the recorded numbers in ../shared, which this clone does not have")
    return folder
