"""An output folder belongs to one run: nothing of it is mixed, pruned or changed by another."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from paddlevideo.cli import run as main
from paddlevideo.files.lock import FolderLock
from paddlevideo.safe_pickle import load_state
from paddlevideo.utils.errors import ConfigError
from tests.tiny_data import make_project

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A project with a run of two epochs in ``output``, not to be changed."""
    folder = tmp_path_factory.mktemp("finished")
    assert main.main(["-c", str(make_project(folder))]) == 0
    return folder


@pytest.fixture
def project(finished, tmp_path):
    """A copy of it, with a configuration of its own."""
    make_project(tmp_path)
    shutil.copytree(finished / "output", tmp_path / "output")
    return tmp_path


def run(folder, *arguments):
    return main.main(["-c", str(folder / "tiny.yaml"), *arguments])


def content(folder):
    """Every file with its bytes."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def assert_same_weights(first, second):
    a, b = load_state(first), load_state(second)
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], name)


def same_data(finished, project):
    """Overrides that make the copy's run the one that it was copied from."""
    config = yaml.safe_load((finished / "tiny.yaml").read_text())
    config["output_dir"] = str(project / "output")
    (project / "tiny.yaml").write_text(yaml.safe_dump(config, sort_keys=False))


# ------------------------------------------------------------------- one after the other


def test_a_second_run_is_refused_and_changes_nothing(project, capsys):
    before = content(project / "output")
    assert run(project) == 2
    message = capsys.readouterr().err
    for way_out in ("--resume auto", "output_dir", "--overwrite"):
        assert way_out in message
    assert content(project / "output") == before


def test_another_folder_is_free(project):
    assert run(project, "-o", f"output_dir={project / 'other'}", "epochs=1") == 0


@pytest.mark.parametrize("files", ["*.pdparams", "*_00002.json", "Tiny_*_00001.*"])
def test_whatever_is_left_of_a_run_is_not_written_over(project, files):
    kept = list((project / "output").glob(files))
    for path in (project / "output").iterdir():
        if path not in kept and path.is_file():
            path.unlink()
    assert run(project, "--max_iters", "1") == 2


def test_overwrite_replaces_the_run_and_nothing_else(project):
    output = project / "output"
    mine = {"notes.txt": "mine", "results.json": "{}", "Other_best.pdparams": "not of this run"}
    for name, text in mine.items():
        (output / name).write_text(text)
    before = json.loads((output / "run.json").read_text())["run"]
    assert run(project, "--overwrite", "--max_iters", "1", "-o", "seed=3") == 0
    assert sorted(path.name for path in output.glob("Tiny_*")) == [
        *("Tiny_epoch_00001.json", "Tiny_epoch_00001.pdopt", "Tiny_epoch_00001.pdparams"),
        "Tiny_latest.json",
    ]
    assert {name: (output / name).read_text() for name in mine} == mine
    records = (output / "train.jsonl").read_text().splitlines()
    assert len(records) == 1
    assert len(list((output / "tensorboard").iterdir())) == 1
    identity = json.loads((output / "run.json").read_text())["run"]
    manifest = json.loads((output / "Tiny_epoch_00001.json").read_text())
    assert manifest["run"] == identity != before
    assert "overwrite" not in yaml.safe_load((output / "config.yaml").read_text())


def test_an_overwrite_that_fails_leaves_the_older_run(project):
    before = content(project / "output")
    weights = str(project / "output" / "Tiny_epoch_00002.pdparams")
    assert run(project, "--overwrite", "-w", weights) == 2  # would remove what it starts from
    assert run(project, "--overwrite", "--resume", "auto") == 2
    assert run(project, "--overwrite", "-w", "absent.pdparams") == 1
    assert run(project, "--overwrite", "-o", "MODEL.backbone.v_feature_size=") == 2
    assert content(project / "output") == before


def test_a_run_that_saved_nothing_is_started_again_without_ceremony(project, monkeypatch):
    from paddlevideo.tasks.train import Trainer

    output = project / "fresh"

    def fail(self, window):
        raise ConfigError("at the first step")

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_step", fail)
        assert run(project, "-o", f"output_dir={output}") == 2
    (output / "train.jsonl").write_text('{"step_total": 900, "loss": 1.0}\n')
    assert run(project, "--max_iters", "2", "-o", f"output_dir={output}") == 0
    steps = [json.loads(line)["step_total"] for line in (output / "train.jsonl").open()]
    assert steps == [1, 2]


def test_files_of_ours_in_a_folder_that_no_run_has_had_are_not_removed(project):
    output = project / "fresh"
    output.mkdir()
    (output / "train.jsonl").write_text('{"a": "user\'s own"}\n')
    assert run(project, "--max_iters", "1", "-o", f"output_dir={output}") == 0
    assert "user's own" in (output / "train.jsonl").read_text()


def test_a_run_with_another_model_name_keeps_out(project, capsys):
    for more in ([], ["--resume", "auto"], ["--overwrite"]):
        assert run(project, *more, "-o", "model_name=Other") == 2
        assert "another model_name, Tiny" in capsys.readouterr().err


def test_weights_without_a_manifest_are_not_resumed_over(project, capsys):
    """As PaddleVideo, or a download, leaves them."""
    output = project / "fresh"
    output.mkdir()
    shutil.copy(project / "output" / "Tiny_epoch_00002.pdparams", output)
    before = content(output)
    for more in ([], ["--resume", "auto"]):
        assert run(project, *more, "-o", f"output_dir={output}") == 2
    assert "without its manifest" in capsys.readouterr().err
    assert content(output) == before


# ---------------------------------------------------------------------------- resuming


def test_a_resumed_run_keeps_its_identity(finished, tmp_path):
    make_project(tmp_path)
    assert run(tmp_path, "--max_iters", "3") == 0
    record = json.loads((tmp_path / "output" / "run.json").read_text())
    assert run(tmp_path, "--resume", "auto") == 0
    output = tmp_path / "output"
    assert json.loads((output / "run.json").read_text()) == record
    manifests = [json.loads(path.read_text()) for path in output.glob("Tiny_epoch_*.json")]
    assert {manifest["run"] for manifest in manifests} == {record["run"]}
    assert json.loads((output / "Tiny_latest.json").read_text())["run"] == record["run"]
    assert len([json.loads(line) for line in (output / "train.jsonl").open()]) == 8


def test_a_run_of_an_older_release_is_resumed(finished, project):
    same_data(finished, project)
    output = project / "output"
    (output / "run.json").unlink()
    for path in output.glob("Tiny_epoch_*.json"):
        record = json.loads(path.read_text())
        del record["run"], record["order"]
        path.write_text(json.dumps(record))
    (output / "Tiny_epoch_00002.json").unlink()
    assert run(project, "--resume", "auto") == 0
    assert_same_weights(
        finished / "output" / "Tiny_epoch_00002.pdparams", output / "Tiny_epoch_00002.pdparams"
    )
    first, second = (json.loads((output / f"Tiny_epoch_0000{n}.json").read_text()) for n in (1, 2))
    assert "run" not in first and second["run"]
    assert run(project, "--resume", "auto") == 0  # both are of one run


def test_checkpoints_of_two_runs_are_told_apart(project, capsys):
    other = project / "other"
    assert run(project, "-o", f"output_dir={other}", "epochs=1") == 0
    for path in other.glob("Tiny_epoch_00001.*"):
        shutil.copy(path, project / "output")
    before = content(project / "output")
    assert run(project, "--resume", "auto") == 2
    assert "checkpoints of 2 runs" in capsys.readouterr().err
    assert content(project / "output") == before


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["-o", "epochs=9"], 2),
        (["-o", "OPTIMIZER.weight_decay=0.5"], 2),
        (["-o", "DATASET.train.file_path=absent.npy"], 2),
        (["-o", "MODEL.backbone.hidden_size=32", "force=True"], 1),
        (["-o", "DATASET.batch_size=99", "force=True"], 2),
        (["-o", "visualdl=True"], 2),
        (["-w", "absent.pdparams"], 1),
        (["--import", "no.such.module"], 2),
    ],
)
def test_a_refused_resume_changes_nothing(finished, project, arguments, code, monkeypatch):
    monkeypatch.setitem(sys.modules, "visualdl", None)
    same_data(finished, project)
    (project / "output" / "skipped_clips.jsonl").write_text("")
    before = content(project / "output")
    assert run(project, "--resume", "auto", *arguments) == code
    assert content(project / "output") == before


def test_an_epoch_whose_manifest_is_damaged_is_refused_and_left(finished, project):
    same_data(finished, project)
    (project / "output" / "Tiny_epoch_00001.json").write_text("{")
    before = content(project / "output")
    assert run(project, "-o", "resume_epoch=1") == 1
    assert run(project, "-o", "resume_epoch=7") == 1
    assert content(project / "output") == before


# ----------------------------------------------------------------------------- at once


def test_a_second_run_at_the_same_time_is_refused(project, capsys):
    output = project / "fresh"
    with FolderLock(output, "train").acquire():
        before = content(output)
        for more in ([], ["--resume", "auto"], ["--overwrite"]):
            assert run(project, *more, "-o", f"output_dir={output}") == 2
            assert "another process is writing there" in capsys.readouterr().err
        assert content(output) == before
        weights = str(project / "output" / "Tiny_epoch_00002.pdparams")
        test = ["--test", "-w", weights, "-o", f"output_dir={output}"]
        assert run(project, *test) == 0  # beside the training
        with FolderLock(output, "test").acquire():
            assert run(project, *test) == 2


def test_a_test_leaves_the_runs_own_files(finished, project):
    same_data(finished, project)
    output = project / "output"
    before = content(output)
    weights = str(output / "Tiny_epoch_00002.pdparams")
    assert run(project, "--test", "-w", weights, "-o", f"output_dir={output}") == 0
    after = content(output)
    assert (output / "results.json").is_file()
    changed = {name for name, text in before.items() if after[name] != text}
    assert changed == {"log.txt"}
    assert run(project, "--resume", "auto") == 0, "its results do not hinder the run"


def test_a_dry_run_says_that_training_would_be_refused(project, capsys):
    before = content(project / "output")
    assert run(project, "--dry_run") == 0
    assert "training would be refused" in capsys.readouterr().out
    assert content(project / "output") == before


@pytest.mark.slow
def test_two_processes_are_refused_together(project):
    before = content(project / "output")
    launch = ["-m", "paddle.distributed.launch", "--nproc_per_node", "2"]
    words = [sys.executable, *launch, "--log_dir", str(project / "log"), str(ROOT / "main.py")]
    done = subprocess.run(
        [*words, "-c", str(project / "tiny.yaml")],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2
    for rank in (0, 1):
        log = (project / "log" / f"workerlog.{rank}").read_text()
        assert "contains the checkpoints of another run" in log and "Traceback" not in log
    assert content(project / "output") == before


@pytest.mark.parametrize("how", [("--resume", "auto"), ("--overwrite",)])
def test_what_the_rehearsal_refuses_changes_nothing(finished, project, how):
    same_data(finished, project)
    before = content(project / "output")
    assert run(project, *how, "--validate", "-o", "METRIC.best=text_to_video.R@7") == 2
    assert content(project / "output") == before


def test_where_no_checkpoint_is_whole_nothing_is_overwritten(project, capsys):
    for path in (project / "output").glob("*.pdopt"):
        path.unlink()  # as to save room
    before = content(project / "output")
    assert run(project, "--resume", "auto") == 1
    assert "no checkpoint is complete" in capsys.readouterr().err
    assert content(project / "output") == before


def test_a_resumed_run_needs_the_weights_no_more_that_it_started_from(finished, tmp_path, capsys):
    make_project(tmp_path)
    start, other = tmp_path / "start.pdparams", tmp_path / "other.pdparams"
    shutil.copy(finished / "output" / "Tiny_epoch_00002.pdparams", start)
    assert run(tmp_path, "-w", str(start), "--max_iters", "1") == 0
    start.rename(other)
    assert run(tmp_path, "-w", str(start), "--max_iters", "2", "--resume", "auto") == 0
    assert run(tmp_path, "-w", str(other), "--max_iters", "3", "--resume", "auto") == 0
    assert f"{other} has no effect: the run continues from" in capsys.readouterr().out
