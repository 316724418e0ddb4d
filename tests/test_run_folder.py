"""An output folder belongs to one run: nothing of it is mixed, pruned or changed by another."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import yaml

import main
from paddlevideo.checkpoint import Checkpoints, Progress
from paddlevideo.safe_pickle import load_state
from paddlevideo.utils.errors import ConfigError
from paddlevideo.utils.folder_lock import FolderLock
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
    assert "no manifest" in capsys.readouterr().err
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


# ------------------------------------------------------------------------- checkpoints


def save(checkpoints, epoch, step=None):
    tag = Checkpoints.epoch_tag(epoch) if step is None else Checkpoints.step_tag(step)
    progress = Progress(epoch=epoch, step=10 * epoch if step is None else step)
    return checkpoints.save(tag, {}, {}, progress, {})


def latest(checkpoints):
    return json.loads(checkpoints.path("latest", ".json").read_text())["latest"]


@pytest.mark.filterwarnings("ignore:The input state dict is empty")
class TestPruning:
    def test_what_was_saved_last_stays_after_going_back(self, tmp_path):
        checkpoints = Checkpoints(tmp_path, "M", keep=1, run="a")
        for epoch in range(1, 6):
            save(checkpoints, epoch)
        for epoch, step in ((2, 15), (2, None), (3, None)):
            path = save(checkpoints, epoch, step)
            assert path.is_file() and checkpoints.newest().tag == latest(checkpoints)
            assert checkpoints.path(latest(checkpoints), ".pdparams") == path
        assert checkpoints.tags() == ["epoch_00003"]

    def test_another_runs_are_neither_counted_nor_removed(self, tmp_path):
        other = Checkpoints(tmp_path, "M", keep=3, run="other")
        for epoch in (7, 8, 9):
            save(other, epoch)
        own = Checkpoints(tmp_path, "M", keep=1, run="own")
        for epoch in (1, 2):
            assert save(own, epoch).is_file()
        assert own.tags() == ["epoch_00002"] and own.newest().tag == "epoch_00002"
        assert other.tags() == ["epoch_00007", "epoch_00008", "epoch_00009"]

    def test_a_manifest_that_cannot_be_read_takes_no_room(self, tmp_path):
        checkpoints = Checkpoints(tmp_path, "M", keep=1, run="a")
        for text in ("{", "[]", "{}", '{"progress": 3, "files": {}}'):
            (tmp_path / "M_epoch_00099.json").write_text(text)
            assert save(checkpoints, 1).is_file()
            assert checkpoints.newest().tag == "epoch_00001"

    def test_latest_never_names_a_checkpoint_that_is_being_replaced(self, tmp_path, monkeypatch):
        checkpoints = Checkpoints(tmp_path, "M", run="a")
        save(checkpoints, 1)
        save(checkpoints, 2)

        def fail(state, path):
            raise OSError("disk full")

        with monkeypatch.context() as patch:
            patch.setattr("paddlevideo.checkpoint.paddle.save", fail)
            with pytest.raises(OSError):
                save(checkpoints, 2)
        assert latest(checkpoints) == "epoch_00001" == checkpoints.newest().tag
        with monkeypatch.context() as patch:
            patch.setattr("paddlevideo.checkpoint.paddle.save", fail)
            with pytest.raises(OSError):
                save(checkpoints, 1)
        assert not checkpoints.path("latest", ".json").exists()


# ----------------------------------------------------------------------------- at once


def test_a_lock_is_held_by_one_and_leaves_nothing_behind(tmp_path):
    folder = tmp_path / "new" / "folder"
    with FolderLock(folder, "train").acquire():
        with pytest.raises(ConfigError, match=f"process {os.getpid()} on .* since"):
            FolderLock(folder, "train").acquire()
        with FolderLock(folder, "test").acquire():
            pass  # for another purpose
    assert not (tmp_path / "new").exists()
    FolderLock(folder, "train").release()  # never acquired


def test_the_lock_of_a_killed_process_is_free_though_its_child_lives(tmp_path):
    code = textwrap.dedent(
        """
        import os, sys, time
        from paddlevideo.utils.folder_lock import FolderLock
        lock = FolderLock(sys.argv[1], "train").acquire()
        if os.fork():
            print("held", flush=True)
        time.sleep(60)
        """
    )
    words = [sys.executable, "-c", code, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    holder = subprocess.Popen(
        words, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(ConfigError, match=f"process {holder.pid}"):
            FolderLock(tmp_path, "train").acquire()
        holder.kill()
        holder.wait()
        with FolderLock(tmp_path, "train").acquire():
            pass
        assert not list(tmp_path.iterdir())
    finally:
        os.killpg(holder.pid, signal.SIGKILL)


@pytest.mark.parametrize("code", [38, 37, 95])  # ENOSYS, ENOLCK, EOPNOTSUPP
def test_a_file_system_without_locks_gets_a_warning(tmp_path, monkeypatch, caplog, code):
    import logging

    from paddlevideo.utils import folder_lock

    def refuse(descriptor, operation):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(folder_lock.fcntl, "flock", refuse)
    monkeypatch.setattr(logging.getLogger("paddlevideo"), "propagate", True)
    with FolderLock(tmp_path, "train").acquire():
        assert "has no locks" in caplog.text


def test_a_second_run_at_the_same_time_is_refused(project, capsys):
    output = project / "fresh"
    with FolderLock(output, "train").acquire():
        before = content(output)
        for more in ([], ["--resume", "auto"], ["--overwrite"]):
            assert run(project, *more, "-o", f"output_dir={output}") == 2
            assert "another process writes there" in capsys.readouterr().err
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
        assert "holds the checkpoints of another run" in log and "Traceback" not in log
    assert content(project / "output") == before


# -------------------------------------------------------------------------- config.yaml

PARTS = """
from paddlevideo.registry import PIPELINES

@PIPELINES.register()
class KeepAll:
    def __call__(self, sample, rng):
        return sample
"""


def test_config_yaml_repeats_the_run(finished, tmp_path, monkeypatch):
    """From its -w, with its --validate and --import, and after a resume without -w."""
    make_project(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "keep_all_parts.py").write_text(PARTS)
    start = str(finished / "output" / "Tiny_epoch_00001.pdparams")
    step = "PIPELINE.valid={transform: [{KeepAll: }]}"
    given = ["--validate", "--import", "keep_all_parts", "-o", step]
    assert run(tmp_path, "-w", start, "--max_iters", "3", *given) == 0
    assert run(tmp_path, "--resume", "auto", *given) == 0
    saved = yaml.safe_load((tmp_path / "output" / "config.yaml").read_text())
    assert saved["weights"] == start and saved["validate"] is True
    assert saved["imports"] == ["keep_all_parts"]
    assert not {"resume", "resume_epoch", "force", "overwrite", "max_iters"} & saved.keys()
    again = ["-c", str(tmp_path / "output" / "config.yaml")]
    assert main.main(again) == 2, "in the same folder it would be another run"
    assert main.main([*again, "-o", "output_dir=again"]) == 0
    first, second = (tmp_path / name / "Tiny_epoch_00002.pdparams" for name in ("output", "again"))
    assert_same_weights(first, second)
    assert (tmp_path / "again" / "Tiny_best.pdparams").is_file()
    repeated = yaml.safe_load((tmp_path / "again" / "config.yaml").read_text())
    assert {**repeated, "output_dir": saved["output_dir"]} == saved


def test_flags_win_over_keys(finished, tmp_path):
    make_project(tmp_path)
    config = yaml.safe_load((tmp_path / "tiny.yaml").read_text())
    config |= {"weights": "absent.pdparams", "max_iters": 1, "fleet": False, "validate": False}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(config))
    assert run(tmp_path) == 1
    weights = str(finished / "output" / "Tiny_epoch_00001.pdparams")
    assert run(tmp_path, "-w", weights, "--validate") == 0
    assert (tmp_path / "output" / "Tiny_best.pdparams").is_file()


def test_a_test_takes_no_weights_from_the_configuration(finished, tmp_path, capsys):
    """They are what training started from."""
    make_project(tmp_path)
    weights = finished / "output" / "Tiny_epoch_00001.pdparams"
    assert run(tmp_path, "--test", "-o", f"weights={weights}") == 2
    assert "-w WEIGHTS" in capsys.readouterr().err


# ------------------------------------------------------ a test by the weights' config.yaml


def test_a_test_without_c_takes_the_configuration_beside_the_weights(project, capsys):
    weights = project / "output" / "Tiny_epoch_00002.pdparams"
    changes = ["-o", f"output_dir={project / 'tested'}"]
    assert main.main(["--test", "-w", str(weights), *changes]) == 0
    beside = project / "output" / "config.yaml"
    assert f"configuration: {beside}, from the folder of the weights" in capsys.readouterr().out
    assert (
        json.loads((project / "tested" / "results.json").read_text())["protocol"]["captions"] == 7
    )


@pytest.mark.parametrize("text", ["MODEL: {}", "services: {web: 1}", "a: [", "DATASET: 3"])
def test_a_configuration_beside_that_cannot_test_is_not_taken(project, capsys, text):
    (project / "output" / "config.yaml").write_text(text)
    weights = project / "output" / "Tiny_epoch_00002.pdparams"
    assert main.main(["--test", "-w", str(weights)]) == 2
    printed = capsys.readouterr()
    assert "configuration: actbert_msrvtt.yaml, the default" in printed.out
    assert "Traceback" not in printed.err


def test_modules_of_a_configuration_that_was_not_named_are_not_run(project, capsys, monkeypatch):
    path = project / "output" / "config.yaml"
    path.write_text(path.read_text() + "imports: [run_by_surprise]\n")
    (project / "run_by_surprise.py").write_text("raise SystemExit('it ran')")
    monkeypatch.chdir(project)
    weights = str(project / "output" / "Tiny_epoch_00002.pdparams")
    assert main.main(["--test", "-w", weights]) == 2
    assert "--import run_by_surprise" in capsys.readouterr().err
