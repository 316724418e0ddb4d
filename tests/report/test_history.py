"""train.jsonl as curves: resumed, killed, started again."""

import json

import numpy as np
import pytest

from paddlevideo.report.history import read_history
from paddlevideo.utils.errors import DataError


def step(number, loss, **more):
    return {"epoch": 1, "step": number, "step_total": number, "loss": loss, **more}


def validation(number, recall):
    return {"step_total": number, "valid.text_to_video.R@1": recall}


def write(folder, *records, cut_off=""):
    path = folder / "train.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records) + cut_off)
    return path


def points(history, name="loss"):
    series = history.series[name]
    return list(zip(series.steps.tolist(), series.values.tolist(), strict=True))


def test_the_last_of_repeated_steps_holds(tmp_path):
    first = [step(10, 5.0), step(20, 4.0), validation(20, 1.0), step(30, 3.0), validation(30, 2.0)]
    # Resumed after step 15, with another interval: neither 20 nor 30 come again by number.
    history = read_history(write(tmp_path, *first, step(18, 4.5), step(25, 3.5)))
    assert points(history) == [(10, 5.0), (18, 4.5), (25, 3.5)]
    assert "valid.text_to_video.R@1" not in history.series, "they were of steps done again"
    assert history.steps == 25


def test_a_validation_leaves_the_step_it_follows(tmp_path):
    records = [step(10, 5.0), validation(10, 1.0), validation(10, 2.0), step(20, 4.0)]
    history = read_history(write(tmp_path, *records))
    assert points(history) == [(10, 5.0), (20, 4.0)]
    assert points(history, "valid.text_to_video.R@1") == [(10, 2.0)]


def test_broken_lines_are_left_out(tmp_path):
    path = write(tmp_path, step(1, 2.0), cut_off='{"epoch": 1, "st\n[1]\n{"loss": 3}\n')
    with path.open("ab") as file:
        file.write(json.dumps(step(2, 1.0)).encode() + b"\n\xff\xfe{\n" + b'{"epoch": 1, "step_to')
    assert points(read_history(path)) == [(1, 2.0), (2, 1.0)]


def test_only_finite_numbers_are_points(tmp_path):
    records = [step(1, float("nan"), note="x"), step(2, float("inf")), step(3, 1.0, extra=None)]
    history = read_history(write(tmp_path, *records))
    assert points(history) == [(3, 1.0)]
    assert set(history.series) == {"loss"}
    np.testing.assert_array_equal(history.series["loss"].steps, [3])


def test_a_run_is_called_after_its_folder_which_may_stand_for_the_file(tmp_path):
    folder = tmp_path / "ActBert"
    folder.mkdir()
    write(folder, step(1, 1.0))
    assert read_history(folder).name == "ActBert"
    assert read_history(folder / "train.jsonl", "first").name == "first"


@pytest.mark.parametrize("text", [None, "", "{}\n", "no json"])
def test_a_file_without_records_is_one_clear_message(tmp_path, text):
    path = tmp_path / "train.jsonl"
    if text is not None:
        path.write_text(text)
    with pytest.raises(
        DataError, match=r"train\.jsonl: .*expected the train\.jsonl that training writes"
    ):
        read_history(path)
