"""Heads, losses, optimizers and schedules from outside the package; one part of each kind."""

import json
import re
import shutil
from pathlib import Path

import yaml

from paddlevideo import registry
from paddlevideo.cli import run as main

SOURCE = Path(__file__).with_name("user_parts.py")
RECIPE = {
    "MODEL": {
        "framework": "Assembled",
        "backbone": {"name": "OneNeuron"},
        "retrieval_head": {"name": "Offset", "start": 0.5},
        "loss": {"name": "AbsoluteError", "weight": 2.0},
    },
    "DATASET": {
        "batch_size": 8,
        "train": {"format": "Line", "points": 64},
        "test": {"format": "Line", "points": 21},
    },
    "PIPELINE": {"train": {"transform": [{"AddTarget": {"noise": 0.01}}]}},
    "OPTIMIZER": {
        "name": "AdaDelta",
        "rho": 0.9,
        "learning_rate": {"name": "SquareRoot", "base_lr": 50.0},
    },
    "METRIC": {"name": "LargestError"},
    "model_name": "Line",
    "epochs": 15,
    "num_threads": 1,
}


def test_every_kind_of_part_may_be_a_users(tmp_path, monkeypatch):
    shutil.copy(SOURCE, tmp_path / "my_own_parts.py")
    (tmp_path / "line.yaml").write_text(yaml.safe_dump(RECIPE))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    parts = ["--import", "my_own_parts", "-c", "line.yaml"]
    assert main.main(parts) == 0
    output = tmp_path / "output" / "Line"
    weights = str(output / "Line_epoch_00015.pdparams")
    assert main.main([*parts, "--test", "-w", weights]) == 0
    assert json.loads((output / "results.json").read_text())["largest_error"] < 1.0
    records = [json.loads(line) for line in (output / "train.jsonl").read_text().splitlines()]
    assert records[0]["lr"] == 50.0 and records[-1]["lr"] < 15.0


def test_there_is_one_of_each_kind():
    kinds = {name for name, kind in vars(registry).items() if isinstance(kind, registry.Registry)}
    assert set(re.findall(r"^@(?:registry\.)?(\w+)\.register", SOURCE.read_text(), re.M)) == kinds
