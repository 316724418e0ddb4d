"""PaddleVideo users' own YAML files, unmodified, from the project's root, at full size."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("unmeasured")]


def run(*arguments):
    return subprocess.run(
        [sys.executable, "main.py", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def test_they_train_and_test(shared, tmp_path):
    """Two steps of the default model (206 million parameters), then a test of what they saved."""
    files = Path(os.path.relpath(shared, ROOT)) / "reference" / "yaml"
    trained, tested = tmp_path / "trained", tmp_path / "tested"
    pretrain = str(files / "pretrain.yaml")
    done = run("-c", pretrain, "--max_iters", "2", "-o", f"output_dir={trained}")
    assert done.returncode == 0, done.stderr
    assert "train step:0 " in done.stdout
    weights = trained / "ActBert_epoch_00001.pdparams"
    (trained / "ActBert_epoch_00001.pdopt").unlink()  # 1.6 GB that are not needed any more
    retrieval = str(files / "retrieval.yaml")
    done = run("--test", "-c", retrieval, "-w", str(weights), "-o", f"output_dir={tested}")
    weights.unlink()
    assert done.returncode == 0, done.stderr
    results = json.loads((tested / "results.json").read_text())
    assert results["protocol"]["videos"] == results["protocol"]["captions"] == 6
