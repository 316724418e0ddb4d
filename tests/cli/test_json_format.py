"""``--log_format json`` of training and tests: every line is an object, log.txt stays text."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiny_data import make_project

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


def logged(folder, *words):
    """The exit code and the lines of main.py."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "main.py"), *words, "--log_format", "json"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def test_a_training_run_and_a_test(tmp_path):
    make_project(tmp_path)
    code, lines = logged(tmp_path, "-c", "tiny.yaml", "-o", "epochs=1", "--validate")
    assert code == 0
    [validation] = [line for line in lines if line["event"] == "validation"]
    assert validation["epoch"] == 1 and 0 <= validation["valid.text_to_video.R@1"] <= 100
    assert validation["message"].startswith("valid epoch:1 text_to_video R@1")
    steps = [line for line in lines if line["event"] == "step"]
    written = [
        json.loads(line)
        for line in (tmp_path / "output/train.jsonl").read_text().split("\n")
        if line
    ]
    validated = written.pop()
    assert {name: validation[name] for name in validated} == validated
    assert steps and [line["step"] for line in steps] == [line["step"] for line in written]
    assert all(line["loss"] > 0 and line["message"].startswith("epoch:[") for line in steps)
    assert "train step:" in (tmp_path / "output" / "log.txt").read_text()
    assert "{" not in (tmp_path / "output" / "log.txt").read_text().splitlines()[-1]
    [weights] = (tmp_path / "output").glob("*_00001.pdparams")
    code, lines = logged(tmp_path, "--test", "-c", "tiny.yaml", "-w", str(weights))
    assert code == 0 and any("results.json" in line["message"] for line in lines)
    [results] = [line for line in lines if line["event"] == "results"]
    assert results["results"] == json.loads((tmp_path / "output" / "results.json").read_text())
    assert results["results"]["text_to_video"]["R@1"] >= 0
    assert not [line for line in lines if line["event"] == "output"], "no table"
    mistakes = ("MODEL.backbone.hiden_size=3", "epochs=none")
    code, lines = logged(tmp_path, "-c", "tiny.yaml", "-o", *mistakes)
    assert code == 2 and [line["event"] for line in lines] == ["error"], "all mistakes in one"
    assert "hidden_size" in lines[0]["message"] and "epochs" in lines[0]["message"]
