"""Where a run's numbers go, on a disk that is full."""

import logging
import threading

import pytest

from paddlevideo.tasks.writers import Writers


@pytest.fixture
def writers(tmp_path):
    return Writers(tmp_path)


def test_an_event_file_on_a_full_disk_ends_and_the_run_goes_on(writers, monkeypatch, caplog):
    monkeypatch.setattr(logging.getLogger("paddlevideo"), "propagate", True)
    monkeypatch.setattr(threading, "excepthook", lambda arguments: None)
    events = writers._board._writer.file_writer.event_writer

    def full(event):
        raise OSError(28, "No space left on device")

    events._ev_writer.write_event = full
    writers.write({"step_total": 1, "loss": 1.0})
    events._worker.join(10)
    for step in range(2, 20):
        writers.write({"step_total": step, "loss": 1.0})
    writers.close()
    assert "tensorboard cannot be written to; is the disk full?" in caplog.text
    assert len(writers._path.read_text().splitlines()) == 19


def test_a_full_disk_names_train_jsonl(writers, monkeypatch):
    class Full:
        def write(self, text):
            raise OSError(28, "No space left on device")

        def close(self):
            pass

    writers._jsonl.close()
    writers._jsonl = Full()
    with pytest.raises(OSError, match=r"train\.jsonl"):
        writers.write({"step_total": 1, "loss": 1.0})
    writers.close()
