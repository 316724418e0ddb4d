"""Fixtures that every test may use."""

import signal
from pathlib import Path

import pytest

# A shell starts background jobs with Ctrl-C ignored, and processes pass that on: tests that send
# the signal would wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of recorded numbers and real data beside the project; absent on a user's clone."""
    folder = Path(__file__).parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("needs the recorded numbers in ../shared, which this clone does not have")
    return folder
