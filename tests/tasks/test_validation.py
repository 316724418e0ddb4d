"""Validations: tried before the first step, after the epoch is saved, told in two lines."""

from __future__ import annotations

import json
import pickle
import re
import shutil

import lmdb
import numpy as np
import pytest
import yaml

from paddlevideo.cli import run as main
from paddlevideo.metrics import MSRVTTMetric
from paddlevideo.safe_pickle import load_state
from paddlevideo.tasks import rehearsal
from paddlevideo.tasks.validation import short_lines
from tests.tiny_data import make_project

LONGEST = 120 - len("[11/28 00:36:30] INFO: ")


@pytest.fixture
def project(tmp_path):
    make_project(tmp_path)
    return tmp_path


def run(folder, *changes, validate=True):
    flags = ["--validate"] if validate else []
    overrides = ["-o", *changes] if changes else []
    return main.main(["-c", str(folder / "tiny.yaml"), *flags, *overrides])


def change(folder, edit):
    path = folder / "tiny.yaml"
    config = yaml.safe_load(path.read_text())
    edit(config)
    path.write_text(yaml.safe_dump(config, sort_keys=False))


def clips_without_gallery(config, pipeline=True, **metric):
    config["DATASET"]["valid"] = dict(config["DATASET"]["train"])
    if pipeline:
        config["PIPELINE"]["valid"] = config["PIPELINE"]["train"]
    config["METRIC"] = metric


@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        (["METRIC.best=R@1"], 2, 'METRIC.best is "R@1". Did you mean "text_to_video.R@1"'),
        (["METRIC.name=LossMetric"], 2, "scores of pairs instead of losses. Leave"),
        (["DATASET.valid.vision_feature_dim=10"], 1, "vision_feature_dim is 10. Set it"),
        (["DATASET.valid.max_seq_length=30"], 1, "DATASET.valid: texts have 30 ids, but the model"),
        (["PIPELINE.train.transform.2.Tokenize.max_seq_length=30",
          "PIPELINE.train.transform.3.RandomMask.max_seq_length=30"], 1,
         "texts have 30 ids, but the model has max_position_embeddings=24: lower max_seq_length"),
        (["METRIC.dual_softmax=True", "MODEL.top_k=2", "MODEL.retrieval_head.name=RetrievalHead"],
         2, "METRIC.dual_softmax needs the score of every pair: MODEL.top_k=0"),
    ],
)  # fmt: skip
def test_what_would_fail_at_the_end_fails_at_the_start(project, capsys, changes, code, message):
    assert run(project, *changes) == code
    output = capsys.readouterr()
    assert message in output.err and "train step" not in output.out
    assert not list(project.glob("output/*.pdparams"))


@pytest.mark.parametrize(
    ("pipeline", "metric", "code", "message"),
    [
        (False, {"name": "LossMetric"}, 1, "There is no PIPELINE.valid: this data set may need"),
        (True, {"name": "MSRVTTMetric"}, 2, "MSRVTTMetric ranks the clips of a gallery"),
        (True, {"name": "LossMetric", "best": "loos"}, 2, 'Did you mean "loss"?'),
        (True, {"name": "LossMetric", "best": "text_loss"}, 0, ""),
    ],
)
def test_losses_on_clips_without_a_gallery(project, capsys, pipeline, metric, code, message):
    change(project, lambda config: clips_without_gallery(config, pipeline, **metric))
    assert run(project) == code
    output = capsys.readouterr()
    assert message in output.err and ("train step" in output.out) == (code == 0)


def test_a_long_caption_that_comes_late_is_refused_at_once(project, capsys):
    """Padding is cut off before the first layer: only the length tells that it may come."""
    assert run(project, "MODEL.backbone.max_position_embeddings=15", validate=False) == 1
    assert "texts have 16 ids" in capsys.readouterr().err


def test_the_rehearsal_changes_no_weight(project, monkeypatch):
    assert run(project, "epochs=1") == 0
    with monkeypatch.context() as patch:
        patch.setattr(rehearsal, "predict_and_collect", lambda *arguments: None)
        patch.setattr(rehearsal, "check_best", lambda *arguments: None)
        assert run(project, "epochs=1", f"output_dir={project / 'without'}") == 0
    folders = (project / "output", project / "without")
    first, second = (load_state(folder / "Tiny_epoch_00001.pdparams") for folder in folders)
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], name)


def test_an_unusual_metric_may_need_all_samples():
    class Strict:
        best = "spread"

        def result(self, truth):
            raise ValueError("needs a hundred samples")

    rehearsal.check_best(Strict(), np.zeros(9), 9, 2)


def damage(folder, clip):
    """A copy of the validation's clips in which one is of another width."""
    shutil.copytree(folder / "test.lmdb", folder / "damaged.lmdb")
    path = str(folder / "damaged.lmdb")
    with lmdb.open(path, map_size=1 << 24) as env, env.begin(write=True) as transaction:
        record = pickle.loads(transaction.get(clip))
        narrow = {**record, "features": record["features"][:, :-1]}
        transaction.put(clip, pickle.dumps(narrow))
    return f"DATASET.valid.features_path={path}"


def test_an_epoch_is_on_the_disk_whatever_its_validation_raises(tmp_path, capsys):
    make_project(tmp_path, videos=40)
    assert run(tmp_path, f"output_dir={tmp_path / 'whole'}") == 0
    damaged = damage(tmp_path, b"video39")
    capsys.readouterr()
    assert run(tmp_path, damaged) == 1
    message = capsys.readouterr().err
    assert 'clip "video39"' in message
    assert "The epoch is trained and saved (epoch_00001)" in message and "--resume auto" in message
    saved = json.loads((tmp_path / "output" / "Tiny_epoch_00001.json").read_text())
    assert saved["progress"]["pending"]
    assert run(tmp_path, "resume=auto") == 0
    for tag in ("epoch_00002", "best"):
        first, second = (
            load_state(tmp_path / folder / f"Tiny_{tag}.pdparams") for folder in ("output", "whole")
        )
        for name in first:
            np.testing.assert_array_equal(first[name], second[name], f"{tag} {name}")
    ends = [
        json.loads((tmp_path / folder / "Tiny_epoch_00002.json").read_text())["progress"]
        for folder in ("output", "whole")
    ]
    assert ends[0] == ends[1]


def test_without_validate_a_pending_epoch_is_gone_on_from(project, capsys, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(MSRVTTMetric, "result", fail_after(1))
        with pytest.raises(MemoryError):
            run(project)
    assert "the validation failed. The epoch is trained and saved" in capsys.readouterr().out
    assert run(project, "resume=auto", validate=False) == 0
    assert "resumed epoch_00001: 1 epochs done, step 4" in capsys.readouterr().out
    assert (project / "output" / "Tiny_epoch_00002.pdparams").exists()


def fail_after(calls):
    really, count = MSRVTTMetric.result, [0]

    def result(self, truth):
        count[0] += 1
        if count[0] > calls:
            raise MemoryError
        return really(self, truth)

    return result


@pytest.mark.parametrize("limit", [3, 4])
def test_a_run_killed_in_its_last_validation_still_validates(project, monkeypatch, limit):
    with monkeypatch.context() as patch:
        patch.setattr(MSRVTTMetric, "result", fail_after(1))
        with pytest.raises(MemoryError):
            run(project, f"max_iters={limit}")
    assert not (project / "output" / "Tiny_best.pdparams").exists()
    assert run(project, f"max_iters={limit}", "resume=auto") == 0
    assert (project / "output" / "Tiny_best.pdparams").exists()


def test_an_epoch_whose_own_checkpoint_is_not_due_is_saved_before_its_validation(
    project, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(MSRVTTMetric, "result", fail_after(1))
        with pytest.raises(MemoryError):
            run(project, "save_interval=2")
    saved = [path.name for path in project.glob("output/Tiny_*.pdopt")]
    assert saved == ["Tiny_step_00000004.pdopt"]
    assert run(project, "save_interval=2", "resume=auto") == 0
    assert not list(project.glob("output/Tiny_step_*"))


def test_the_weight_that_a_validation_chooses_is_in_its_epoch(project):
    head = "MODEL.retrieval_head={name: RetrievalHead, similarity_weight: auto}"
    assert run(project, head, "epochs=1") == 0
    weights = load_state(project / "output" / "Tiny_epoch_00001.pdparams")
    (chosen,) = (array for name, array in weights.items() if name.endswith("chosen_weight"))
    assert np.isfinite(chosen).all()


def test_the_line_of_a_validation_fits_and_all_numbers_are_kept(project, capsys):
    assert run(project) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "valid epoch:" in line]
    assert len(lines) == 4 and all(len(line) <= 120 for line in lines)
    number = r"[\d.e-]+"
    for line, direction in zip(lines, 2 * ["text_to_video", "video_to_text"], strict=True):
        shown = rf"{direction} R@1 {number} R@5 {number} R@10 {number} MedianR {number}"
        assert re.search(rf"valid epoch:\d {shown}; chance( {number}){{4}}$", line), line
    records = [json.loads(line) for line in (project / "output" / "train.jsonl").open()]
    validations = [record for record in records if "lr" not in record]
    assert len(validations) == 2
    assert set(validations[0]) == {"step_total"} | {
        f"valid.{direction}.{name}"
        for direction in ("text_to_video", "video_to_text")
        for name in ("R@1", "R@5", "R@10", "MedianR", "MeanR")
    }


def test_lines_of_large_galleries_and_of_other_metrics():
    numbers = {"R@1": 12.345, "R@5": 34.567, "R@10": 45.678, "MedianR": 1234.0, "MeanR": 2345.67}
    chance = {"R@1": 0.0333, "R@5": 0.1667, "R@10": 0.3333, "MedianR": 1500.0, "MeanR": 1500.5}
    group = {"text_to_video": numbers, "video_to_text": numbers}
    results = {"similarity_weight": 0.5, **group, "first_stage": group, "stages": {}}
    lines = short_lines("valid epoch:12", results, dict.fromkeys(group, chance))
    assert lines[0] == (
        "valid epoch:12 text_to_video R@1 12.3 R@5 34.6 R@10 45.7 MedianR 1234; "
        "chance 0.03 0.2 0.3 1500"
    )
    assert len(lines) == 2 and "video_to_text" in lines[1]
    losses = {f"loss_{number}": 0.123456 for number in range(20)}
    (line,) = short_lines("valid epoch:1", {**losses, "far": float("inf")}, {})
    assert line.startswith("valid epoch:1 loss_0 0.123 loss_1 0.123") and len(line) <= LONGEST
    assert short_lines("valid", {"a": float("nan")}, {}) == ["valid a nan"]
