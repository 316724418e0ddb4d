"""Fixtures that every test may use."""

import logging
import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from paddlevideo.report import figures

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


@pytest.fixture(scope="module")
def unmeasured() -> Iterator[None]:
    """Processes that a module's tests start do not count for the coverage.

    It makes them half as slow again, and they are killed while they write it or run only what
    other tests run too.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
        yield


save_png = figures.save_png


@pytest.fixture(scope="session", autouse=True)
def empty_pictures() -> Iterator[None]:
    """Figures are made and saved, and empty: rendering took more than half of a tiny training."""

    def save_empty(path: Path, figure: object) -> None:
        figure.clear()
        figure.set_layout_engine("none")
        save_png(path, figure)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "save_png", save_empty)
        yield


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of pictures: they are rendered after all."""
    monkeypatch.setattr(figures, "save_png", save_png)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of recorded numbers and real data beside the project; absent on a user's clone."""
    folder = Path(__file__).parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("needs the recorded numbers in ../shared, which this clone does not have")
    return folder
