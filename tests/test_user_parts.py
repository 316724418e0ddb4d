"""A model, a data set, a step and a metric from outside the package train and test."""

import json
import shutil
from pathlib import Path

import yaml

from paddlevideo.cli import run as main

CONFIG = {
    "MODEL": {"framework": "Regression", "backbone": {"name": "OneNeuron"}},
    "DATASET": {
        "batch_size": 8,
        "train": {"format": "Line", "points": 64},
        "valid": {"format": "Line", "points": 11},
        "test": {"format": "Line", "points": 21},
    },
    "PIPELINE": {"train": {"transform": [{"AddTarget": {"noise": 0.01}}]}},
    "OPTIMIZER": {"name": "Adam", "learning_rate": 0.1},
    "METRIC": {"name": "LargestError"},
    "model_name": "Line",
    "epochs": 15,
    "num_threads": 1,
}


def test_the_loop_names_no_model(tmp_path, monkeypatch):
    shutil.copy(Path(__file__).with_name("user_parts.py"), tmp_path / "my_own_parts.py")
    (tmp_path / "line.yaml").write_text(yaml.safe_dump(CONFIG))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    parts = ["--import", "my_own_parts", "-c", "line.yaml"]
    accumulate = ["-o", "GRADIENT_ACCUMULATION.global_batch_size=16", "DATASET.num_workers=1"]
    assert main.main([*parts, "--validate", *accumulate]) == 0
    output = tmp_path / "output" / "Line"
    assert main.main([*parts, "--test", "-w", str(output / "Line_best.pdparams")]) == 0
    assert json.loads((output / "results.json").read_text())["largest_error"] < 0.1
