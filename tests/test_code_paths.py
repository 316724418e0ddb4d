"""The tour of the code in docs/code_tour.md: the functions that a piece of work passes."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

import paddlevideo as pv
from paddlevideo.cli import run as main
from paddlevideo.config import import_parts
from paddlevideo.tasks.setup import start_run
from paddlevideo.tasks.train import Trainer
from tests.tiny_data import (
    ACTION_CLASSES,
    ACTION_SIZE,
    REGION_CLASSES,
    REGION_SIZE,
    configuration,
    make_project,
)

PACKAGE = Path(pv.__file__).parent
TOUR = PACKAGE.parent / "docs" / "code_tour.md"
#: More calls than this make a step hard to follow, and slow to launch on a GPU.
MOST_CALLS = 500


def listed(heading: str) -> list[str]:
    """The ``file:function`` of each numbered line below a heading of the tour."""
    section = TOUR.read_text("utf-8").partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = re.findall(r"^\d+\. `([\w/]+\.py:\w+)` ", section, re.M)
    assert len(lines) == len(re.findall(r"^\d+\. ", section, re.M)) == 10
    return lines


def calls_of(work: Callable[[], object]) -> list[str]:
    """The package's functions that ``work`` calls, as ``file:function``, in their order."""
    calls = []

    def profile(frame, event, argument):
        code = frame.f_code
        if (
            event == "call"
            and code.co_filename.startswith(f"{PACKAGE}/")
            and "<" not in code.co_name
        ):
            calls.append(f"{code.co_filename.removeprefix(f'{PACKAGE}/')}:{code.co_name}")

    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.setprofile(None)
    return calls


@pytest.fixture
def step(tmp_path):
    """A step of the demo's recipe, without negatives, on tiny data, after two others."""
    import_parts()
    make_project(tmp_path)
    recipe, tiny = pv.load_config("actbert_demo.yaml").to_dict(), configuration(tmp_path)
    recipe |= {key: tiny[key] for key in ("DATASET", "PIPELINE", "output_dir", "num_threads")}
    # The captions of other clips would pass the tangled layers a second time.
    recipe["MODEL"] |= {"match_negatives": 0, "hard_negatives": 0}
    recipe["MODEL"]["backbone"] |= {
        "v_feature_size": REGION_SIZE,
        "v_target_size": REGION_CLASSES,
        "a_feature_size": ACTION_SIZE,
        "a_target_size": ACTION_CLASSES,
    }
    path = tmp_path / "demo.yaml"
    path.write_text(yaml.safe_dump(recipe))
    trainer = Trainer(start_run(pv.load_config(str(path)), "train"), None)
    trainer.model.train()
    batches = iter(trainer.loader.epoch(0))
    for _ in range(2):
        trainer.train_step([next(batches)])
    window = [next(batches)]
    yield lambda: trainer.train_step(window)
    trainer.meters.close()
    trainer.saver.close()
    trainer.run.lock.release()


def test_a_training_step_passes_the_functions_of_the_tour_in_few_calls(step):
    calls = calls_of(step)
    expected = listed("One training step")
    assert list(dict.fromkeys(call for call in calls if call in expected)) == expected
    assert len(calls) < MOST_CALLS


def test_a_retrieval_test_passes_the_functions_of_the_tour(tmp_path):
    recipe = ["-c", str(make_project(tmp_path)), "-o"]
    recipe.append("MODEL.retrieval_head={name: RetrievalHead, width: 8}")
    assert main.main([*recipe, "max_iters=1"]) == 0
    weights = str(next((tmp_path / "output").glob("*.pdparams")))
    calls = calls_of(lambda: main.main(["--test", "-w", weights, *recipe]))
    expected = listed("One retrieval test")
    assert list(dict.fromkeys(call for call in calls if call in expected)) == expected


def test_every_package_is_in_the_table():
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert packages == set(re.findall(r"^\| `(\w+)/` \|", TOUR.read_text("utf-8"), re.M))


def test_every_place_of_the_table_of_changes_exists():
    section = TOUR.read_text("utf-8").partition("## Where to change what\n")[2]
    places = re.findall(r"`([\w/]+\.py)(?::(\w+))?`", section)
    assert len(places) >= 12
    for file, name in places:
        text = (PACKAGE / file).read_text("utf-8")
        assert re.search(rf"^ *(?:def|class) {name}\b", text, re.M), f"{file}:{name}"
