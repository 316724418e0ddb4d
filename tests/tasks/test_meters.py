"""What is logged of an interval, and where it is written."""

from __future__ import annotations

import json
import sys
from types import ModuleType

import numpy as np
import paddle
import pytest

from paddlevideo.modeling import Hits
from paddlevideo.runtime import World
from paddlevideo.tasks import meters, writers
from paddlevideo.tasks.meters import Meters
from paddlevideo.tasks.writers import Writers
from paddlevideo.utils.errors import ConfigError


class TwoRanks(World):
    """Rank 0 of two; what the other one adds to each sum is given."""

    def __init__(self, others: list[float]) -> None:
        super().__init__()
        self.size, self.others = 2, others

    def sum(self, values):
        return np.asarray(values, np.float64) + self.others


def add(collected, loss=1.0, samples=4, **hits):
    losses = [{"loss": paddle.to_tensor(loss)}]
    counted = {
        f"{name}_accuracy": Hits(paddle.to_tensor(right), asked)
        for name, (right, asked) in hits.items()
    }
    collected.add(losses, [counted], samples)


def end_step(collected, number=0):
    collected.end_step(1, number, 0, {"lr": 0.1, "step_total": number + 1})


def written(folder):
    return [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]


def test_a_share_is_of_all_questions_and_no_mean_of_means(tmp_path):
    collected = Meters(World(), tmp_path, 1, 2)
    add(collected, word=(1, 1), action=(0, 0))
    end_step(collected, 1)
    add(collected, word=(0, 7), action=(0, 0))
    end_step(collected, 2)
    (record,) = written(tmp_path)
    assert record["word_accuracy"] == pytest.approx(1 / 8)
    assert "action_accuracy" not in record, "nobody asked"
    add(collected, word=(0, 0), action=(2, 4))
    end_step(collected, 4)
    assert "word_accuracy" not in written(tmp_path)[1]
    assert written(tmp_path)[1]["action_accuracy"] == 0.5


def test_ranks_put_their_questions_together(tmp_path):
    # Of the other rank: loss, right words, right actions, asked words, asked actions.
    collected = Meters(TwoRanks([3.0, 5, 0, 6, 0]), tmp_path, 1, 1)
    add(collected, word=(1, 2), action=(1, 3))
    end_step(collected)
    (record,) = written(tmp_path)
    assert record["word_accuracy"] == pytest.approx(6 / 8)
    assert record["action_accuracy"] == pytest.approx(1 / 3)
    assert record["loss"] == 2.0


def test_steps_that_were_left_out_are_counted_and_change_no_mean(tmp_path):
    collected = Meters(World(), tmp_path, 1, 4)
    for number in (1, 2, 3, 4):
        if number != 2:
            add(collected, loss=6.0)
        end_step(collected, number)
    (record,) = written(tmp_path)
    assert record["loss"] == 6.0
    assert record["skipped_steps"] == 1


def test_the_time_between_epochs_does_not_count_and_that_of_steps_does(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(meters, "synchronize_clock", lambda: now[0])
    monkeypatch.setattr(meters.time, "perf_counter", lambda: now[0])
    collected = Meters(World(), tmp_path, 2, 10)

    def batches():
        for _ in range(5):
            now[0] += 0.5
            yield None

    number = 0
    for _ in range(2):
        for _ in collected.timed(batches()):
            now[0] += 1.5
            number += 1
            add(collected)
            end_step(collected, number)
        now[0] += 100.0  # a validation
    (record,) = written(tmp_path)
    assert record["batch_cost"] == pytest.approx(2.0)
    assert record["reader_cost"] == pytest.approx(0.5)
    assert record["ips"] == pytest.approx(2.0)


def test_the_line_of_a_killed_run_is_not_continued(tmp_path):
    (tmp_path / "train.jsonl").write_text('{"step_total": 1}\n{"step_to')
    writers = Writers(tmp_path)
    writers.write({"step_total": 2, "loss": 0.5})
    writers.close()
    lines = (tmp_path / "train.jsonl").read_text().splitlines()
    assert lines == ['{"step_total": 1}', '{"step_to', '{"step_total": 2, "loss": 0.5}']


@pytest.fixture
def scalars(monkeypatch):
    """What a stand-in for VisualDL was given."""
    found = []

    class LogWriter:
        def __init__(self, logdir):
            found.append(logdir)

        def add_scalar(self, tag, value, step):
            found.append((tag, value, step))

        def close(self):
            found.append("closed")

    fake = ModuleType("visualdl")
    fake.LogWriter = LogWriter
    monkeypatch.setitem(sys.modules, "visualdl", fake)
    return found


def test_visualdl_gets_every_number_where_it_is_asked_for(tmp_path, scalars):
    writers = Writers(tmp_path, visualdl=True)
    record = {"epoch": 1, "step": 0, "step_total": 3, "loss": 0.5, "skipped_steps": 1}
    writers.write({**record, "valid.text_to_video.R@1": 10.0})
    writers.close()
    assert scalars == [
        str(tmp_path / "visualdl"),
        ("loss", 0.5, 3),
        ("skipped_steps", 1.0, 3),
        ("valid.text_to_video.R_at_1", 10.0, 3),
        "closed",
    ]
    Writers(tmp_path).close()
    assert len(scalars) == 5, "by choice only"


def test_without_visualdl_the_error_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "visualdl", None)
    with pytest.raises(ConfigError, match="pip install visualdl"):
        writers.visualdl_writer(tmp_path)


def test_tensorboard_gets_the_same_numbers(tmp_path, monkeypatch):
    import tensorboardX

    found = []
    monkeypatch.setattr(
        tensorboardX.SummaryWriter, "add_scalar", lambda self, *scalar: found.append(scalar)
    )
    writers = Writers(tmp_path)
    writers.write({"epoch": 1, "step": 0, "step_total": 3, "word_accuracy": 0.25})
    writers.close()
    assert found == [("word_accuracy", 0.25, 3)]
