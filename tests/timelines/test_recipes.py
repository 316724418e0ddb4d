"""The recipes of segmentation and steps: each trains and is tested on files of its form, small."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import paddle
import pytest
import yaml

from paddlevideo.cli import run as main
from paddlevideo.modeling import build_model
from paddlevideo.timelines.matching import StepPredictor
from tests.timeline_data import (
    WIDTH,
    crosstask_keys,
    matching_model,
    mstcn_keys,
    small_model,
    write_coin,
    write_crosstask,
    write_mstcn,
)

RECIPES = Path(__file__).parents[2] / "configs" / "multimodal" / "actbert"
WIDTHS = {"a_feature_size": WIDTH, "v_feature_size": 3}


def run(*arguments: str) -> None:
    assert main.main([*arguments]) == 0


def small(folder: Path, name: str, model: dict[str, Any], data: dict[str, Any]) -> str:
    """A recipe on ``name`` with a small model and small data."""
    text = {
        "_base_": str(RECIPES / f"{name}.yaml"),
        **{"epochs": 1, "save_interval": 1, "output_dir": str(folder / "out")},
        "MODEL": model,
        "DATASET": {"batch_size": 4, "num_workers": 0, **data},
    }
    path = folder / f"{name}_small.yaml"
    path.write_text(yaml.safe_dump(text))
    return str(path)


def train_and_test(folder: Path, recipe: str, *options: str) -> dict[str, Any]:
    """Trains an epoch, tests it, and returns the results."""
    run("-c", recipe)
    weights = next((folder / "out").glob("*_epoch_00001.pdparams"))
    return result_of(folder, recipe, weights, *options)


def result_of(folder: Path, recipe: str, weights: Path, *options: str) -> dict[str, Any]:
    """Returns the results of a test, whose page must have been written too."""
    page = folder / "report.html"
    run("--test", "-c", recipe, "-w", str(weights), "--report", str(page), *options)
    assert "<svg" in page.read_text()
    return json.loads((folder / "out" / "results.json").read_text())


def test_salads_are_segmented(tmp_path, capsys):
    folder = write_mstcn(tmp_path)
    keys, bundle = mstcn_keys(folder), str(folder / "splits" / "test.bundle")
    model = {"backbone": WIDTHS}
    data = {"train": {**keys, "exclude": bundle}, "test": {**keys, "file_path": bundle}}
    recipe = small(tmp_path, "actbert_salads50", model, data)
    results = train_and_test(tmp_path, recipe)
    assert {"accuracy", "edit", "F1@50", "pooled", "yardsticks"} <= results.keys()
    assert results["protocol"]["videos"] == 2
    assert len((tmp_path / "out" / "v2.txt").read_text().splitlines()) == 40
    for path in (folder / "mapping.txt", *(folder / "groundTruth").iterdir()):
        path.write_text(path.read_text().replace("stir", "eat"))
    weights = next((tmp_path / "out").glob("*_epoch_00001.pdparams"))
    assert main.main(["--test", "-c", recipe, "-w", str(weights)]) == 1
    assert 'has "eat_soup" as class 2, but the weights "stir_soup"' in capsys.readouterr().err


def test_coin_is_segmented(tmp_path):
    coin = {"file_path": str(write_coin(tmp_path)), "features_path": str(tmp_path / "features")}
    sizes = {"action_feature_dim": WIDTH, "vision_feature_dim": 3, "max_action_num": 16}
    keys = {**coin, **sizes, "window_overlap": 4}
    backbone = small_model()["backbone"]
    head = {"width": 8, "layers": 2}
    data = {"train": {**keys, "class_file": coin["file_path"]}, "test": dict(keys)}
    recipe = small(tmp_path, "actbert_coin", {"head": head, "backbone": backbone}, data)
    results = train_and_test(tmp_path, recipe)
    background = results["yardsticks"]["always background"]["pooled"]
    assert background["accuracy"] == pytest.approx(100 * (32 - 6 - 9) / 32)
    coin_form = json.loads((tmp_path / "out" / "coin.json").read_text())
    assert list(coin_form["database"]) == ["c2"]


def test_steps_of_salads_are_localised(tmp_path, capsys, monkeypatch):
    folder = write_crosstask(tmp_path)
    keys, held_out = crosstask_keys(folder), str(folder / "videos_val.csv")
    data = {"train": {**keys, "exclude": held_out}, "test": {**keys, "only": held_out}}
    recipe = small(tmp_path, "actbert_salads50_steps", {"backbone": WIDTHS}, data)
    results = train_and_test(tmp_path, recipe)
    assert results["protocol"]["order"] == "free"
    assert set(results["yardsticks"]) == {"evenly spaced", "perfect scores"}
    assert len((tmp_path / "out" / "7_x0.csv").read_text().splitlines()) == 3
    (folder / "annotations" / "7_x0.csv").write_text("9,1,2\n")
    monkeypatch.setattr(StepPredictor, "predict", None)  # is not reached
    weights = next((tmp_path / "out").glob("*_epoch_00001.pdparams"))
    assert main.main(["--test", "-c", recipe, "-w", str(weights)]) == 1
    assert "7_x0.csv: line 1: step 9, but task 7" in capsys.readouterr().err


def test_weights_of_a_retrieval_localise_steps_without_training(tmp_path):
    folder = write_crosstask(tmp_path)
    model = matching_model()
    paddle.seed(0)
    built = build_model(model)
    weights = tmp_path / "retrieval.pdparams"
    paddle.save(built.to_released(built.state_dict()), str(weights))
    keys = crosstask_keys(folder)
    data = {"train": dict(keys), "test": {**keys, "exclude": str(folder / "videos_val.csv")}}
    recipe = small(tmp_path, "actbert_crosstask", {"backbone": model["backbone"]}, data)
    results = result_of(tmp_path, recipe, weights)
    assert results["by_task"].keys() == {"8", "7"}
    assert results["protocol"]["order"] == "listed"
    free = result_of(tmp_path, recipe, weights, "-o", "METRIC.order=free")
    assert free["yardsticks"]["perfect scores"]["recall"] == 100
