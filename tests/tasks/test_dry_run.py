"""--dry_run: what it counts and measures, and that nothing of it stays."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import paddle
import pytest

from paddlevideo import checkpoint
from paddlevideo.cli import run as main
from paddlevideo.config import RunSettings
from paddlevideo.modeling import BaseFramework
from paddlevideo.tasks.accumulation import Sizes
from paddlevideo.tasks.dry_run import count_checkpoints, count_parameters
from tests.modeling.tiny import build
from tests.tiny_data import make_project

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path):
    return make_project(tmp_path)


def dry_run(project, *arguments):
    return main.main(["-c", str(project), "--dry_run", *arguments])


def test_it_tells_sizes_and_leaves_nothing(project, capsys):
    before = sorted(project.parent.rglob("*"))
    changes = ["GRADIENT_ACCUMULATION.global_batch_size=8", "max_iters=3", "ema_decay=0.9"]
    assert dry_run(project, "-o", *changes) == 0
    assert sorted(project.parent.rglob("*")) == before
    text = " ".join(capsys.readouterr().out.split())
    assert "model_name: Tiny" in text, "the resolved configuration"
    for part in (
        "clips 16 a step 8 clips: batch_size 4 x 1 process(es) x 2 micro-batch(es)",
        "all 2 epoch(s) of 2 steps: 3 steps",
        "image_feat 4 x 9 x 12 float32",
        "text_ids 4 x 16 int64",
        "weight average",
        f"A run writes to {project.parent / 'output'}",
    ):
        assert part in text
    parts = re.findall(r"(?:stream|layers|poolers|heads) ([\d,]+) ([\d,]+)", text)
    sums = [sum(int(p[i].replace(",", "")) for p in parts) for i in (0, 1)]
    (total,) = re.findall(r"total ([\d,]+) ([\d,]+)", text)
    assert len(parts) == 6 and sums == [int(number.replace(",", "")) for number in total]


def test_an_older_checkpoint_and_a_list_of_bad_clips_stay_as_they_are(project, capsys):
    output = project.parent / "output"
    assert main.main(["-c", str(project), "-o", "epochs=1"]) == 0
    (output / "skipped_clips.jsonl").write_text("{}\n")
    before = {path: path.read_bytes() for path in output.iterdir() if path.is_file()}
    capsys.readouterr()
    assert dry_run(project, "--resume", "auto", "--validate", "-o", "DATASET.skip_bad=0.1") == 0
    after = {path: path.read_bytes() for path in output.iterdir() if path.is_file()}
    assert after == before and "resumed" not in capsys.readouterr().out


def told_megabytes(text):
    return int(re.findall(r"all checkpoints\s+([\d,]+) MB at most", text)[0].replace(",", ""))


def test_a_run_takes_no_more_disk_than_was_told(project, capsys, monkeypatch):
    changes = ["--validate", "-o", "epochs=5", "save_steps=1", "ema_decay=0.9"]
    most, really_write = [0], checkpoint.write_whole

    def write(path, *arguments):
        really_write(path, *arguments)
        files = project.parent.glob("output/Tiny_*.pd*")
        most[0] = max(most[0], sum(file.stat().st_size for file in files))

    for keep in (1, 3, 0):
        assert dry_run(project, *changes, f"keep={keep}") == 0
        told = told_megabytes(capsys.readouterr().out)
        most[0] = 0
        with monkeypatch.context() as patch:
            patch.setattr(checkpoint, "write_whole", write)
            output = f"output_dir={project.parent / 'output'}"
            assert main.main(["-c", str(project), *changes, f"keep={keep}", output]) == 0
        assert 0.7 * told < most[0] / 2**20 < told + 1, keep
        shutil.rmtree(project.parent / "output")


def test_checkpoints_within_an_epoch_are_counted_by_steps_and_by_minutes(project):
    def count(**changes):
        settings = RunSettings(epochs=10, **changes)
        sizes = Sizes(4, 1000, 1)
        plan = SimpleNamespace(settings=settings, plan=SimpleNamespace(sizes=sizes))
        plan.validation = None
        return count_checkpoints(plan, step_seconds=9.0)

    assert count(keep=0, save_minutes=30) == {
        "of epochs": 10,
        "within an epoch": 6,
        "the best": 0,
        "the average": 0,
        "one being written": 1,
    }
    assert sum(count(keep=3).values()) == 7
    assert count(keep=0, save_minutes=0, save_steps=100, save_interval=5)["within an epoch"] == 51
    assert count(keep=0, save_minutes=0)["within an epoch"] == 1, "of a run that is stopped"


def test_what_a_validation_needs_is_tried(project, capsys):
    assert dry_run(project, "--validate", "-o", "METRIC.best=R@1") == 2
    assert 'Did you mean "text_to_video.R@1"' in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_to_is_told(project, capsys, monkeypatch):
    (project.parent / "file").write_text("")
    for folder in ("file", "file/below"):
        assert dry_run(project, "-o", f"output_dir={project.parent / folder}") == 1
        assert "file: Not a directory" in capsys.readouterr().err

    def refuse(dir):  # root may write everywhere
        raise PermissionError(errno.EACCES, "Permission denied", str(dir / "name"))

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    assert dry_run(project) == 1
    assert f"{project.parent}: Permission denied" in capsys.readouterr().err


def test_faults_are_those_of_training(project, capsys):
    assert dry_run(project, "-o", "epochs=no") == 2
    (project.parent / "train.npy").unlink()
    assert dry_run(project) != 0
    assert "train.npy" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        dry_run(project, "--test")
    assert not (project.parent / "output").exists()


def test_every_parameter_counts_once():
    model = build()
    counts = count_parameters(model)
    assert "others" not in counts and len(counts) == 6
    everything = sum(int(p.size) for p in model.parameters())
    assert sum(count for count, _ in counts.values()) == everything
    for parameter in model.backbone.text_embeddings.parameters():
        parameter.stop_gradient = True
    frozen = sum(int(p.size) for p in model.backbone.text_embeddings.parameters())
    count, trained = count_parameters(model)["text stream"]
    assert count - trained == frozen and count == counts["text stream"][0]


def test_any_model_is_counted_by_its_children():
    class Other(BaseFramework):
        def __init__(self):
            super().__init__()
            self.first, self.second = paddle.nn.Linear(2, 3), paddle.nn.Linear(3, 1)
            self.scale = self.create_parameter([5])

    assert count_parameters(Other()) == {"first": (9, 9), "second": (4, 4), "others": (5, 5)}


@pytest.mark.slow
def test_one_of_two_processes_reports(project):
    words = [sys.executable, "-m", "paddle.distributed.launch", "--nproc_per_node", "2"]
    words += ["--log_dir", str(project.parent / "log"), str(ROOT / "main.py"), "--dry_run"]
    done = subprocess.run(
        [*words, "-c", str(project), "-o", "sharding=1", "DATASET.batch_size=2"],
        cwd=project.parent,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    logs = {path.name: path.read_text() for path in (project.parent / "log").glob("workerlog.*")}
    assert done.returncode == 0, logs
    assert "batch_size 2 x 2 process(es)" in logs["workerlog.0"]
    assert "process(es)" not in logs["workerlog.1"]
    assert not (project.parent / "output").exists()
