"""A tiny model with a retrieval head that was trained and tested on a few videos."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import yaml

from paddlevideo.cli import run as main
from paddlevideo.extract.run import extract
from paddlevideo.extract.work import ExtractOptions
from tests.extract.samples import moving, write_video
from tests.tiny_data import configuration

NAMES = ["cooking", "dog", "football", "holiday", "party"]
TEXTS = ["a red square moves", "a square", "the dog cuts an onion slowly then stirs the red soup"]
#: Where the weights are.
OUTPUT = Path("output", "ActBert_videos")


def recipe_of(folder: Path) -> dict[str, Any]:
    recipe = configuration(folder)
    store = str(folder / "data" / "videos.store")
    backbone = {"v_feature_size": 134, "v_target_size": 37, "a_feature_size": 233}
    recipe["MODEL"]["backbone"] |= {**backbone, "a_target_size": 15}
    head = {"name": "RetrievalHead", "width": 8, "similarity_weight": 0.5}
    recipe["MODEL"]["retrieval_head"] = head
    clips = {**recipe["DATASET"]["test"], "features_path": store}
    clips |= {"vision_feature_dim": 134, "action_feature_dim": 233}
    clips["file_path"] = str(folder / "data" / "videos.csv")
    recipe["DATASET"] |= {"valid": clips, "test": clips, "batch_size": 2}
    recipe["DATASET"]["train"]["file_path"] = store
    recipe["PIPELINE"]["train"]["transform"][1]["RandomCap"]["caption_path"] = store
    return {
        **recipe,
        "epochs": 1,
        "model_name": "ActBert_videos",
        "output_dir": str(folder / OUTPUT),
    }


def train_on_videos(folder: Path) -> None:
    """Writes ``videos/``, their store in ``data/``, weights, and a test's files in ``tested/``."""
    for number, name in enumerate(NAMES):
        write_video(folder / "videos" / f"{name}.mp4", moving((number, 2 - number)))
    lines = [f"{name},{TEXTS[number % 3]}\n" for number, name in enumerate(NAMES)]
    table = folder / "data" / "videos.csv"
    table.parent.mkdir(exist_ok=True)
    table.write_text("".join(lines))
    store = folder / "data" / "videos.store"
    assert extract(ExtractOptions(folder / "videos", store, captions=[table])) == 0
    (folder / "videos.yaml").write_text(yaml.safe_dump(recipe_of(folder)))
    arguments = ["-c", str(folder / "videos.yaml")]
    assert main.main([*arguments, "--validate"]) == 0
    overrides = ["-o", f"output_dir={folder / 'tested'}", "score_matrix=True"]
    assert main.main(["--test", *arguments, "-w", str(folder / OUTPUT), *overrides]) == 0
    logging.getLogger("paddlevideo").handlers.clear()
