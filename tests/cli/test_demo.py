"""The demo at reduced size: it learns, and what it learns is the captions' meaning."""

import csv
import json
import random
import shlex
from pathlib import Path

import pytest

pytest.importorskip("cv2")

ROOT = Path(__file__).parents[2]

from paddlevideo.cli import demo, search  # noqa: E402
from paddlevideo.cli import run as main  # noqa: E402

pytestmark = pytest.mark.slow
CLIPS = 100


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The demo's folders, and how many times chance it reached."""
    folder = tmp_path_factory.mktemp("demo")
    sizes = ["--train", "320", "--valid", "32", "--test", str(CLIPS)]
    ratio = demo.run(folder / "data", folder / "output", ["epochs=8", "num_threads=1"], sizes)
    return folder, ratio


def test_it_learns(finished):
    folder, ratio = finished
    assert ratio >= demo.LEAST_RATIO
    results = json.loads((folder / "output" / "results.json").read_text())
    assert results["protocol"]["videos"] == CLIPS
    assert (folder / "output" / "retrieval.png").stat().st_size > 10_000


def test_the_search_that_it_names_finds_clips(finished, capsys):
    folder, _ = finished
    words = shlex.split(demo.search_command(folder / "data", folder / "output"))
    assert words[1:4] == ["-m", "paddlevideo", "search"]
    capsys.readouterr()
    assert search.main([*words[4:], "--best", "5"]) == 0
    assert len(capsys.readouterr().out.splitlines()) >= 5


def test_with_captions_shuffled_it_falls_to_chance(finished):
    folder, _ = finished
    data, output = folder / "data", folder / "output"
    with (data / "captions.csv").open() as file:
        rows = [row for row in csv.reader(file) if row[0].startswith("test")]
    names, captions = zip(*((row[0], ",".join(row[1:])) for row in rows), strict=True)
    shuffled = random.Random(0).sample(captions, len(captions))
    lines = (f"{name},{caption}\n" for name, caption in zip(names, shuffled, strict=True))
    (folder / "shuffled.csv").write_text("".join(lines))
    changes = [
        *demo.paths_in(data),
        f"DATASET.test.file_path={folder / 'shuffled.csv'}",
        f"output_dir={folder / 'shuffled'}",
    ]
    weights = str(demo.best_weights(output))
    assert main.main(["--test", "-c", demo.CONFIG, "-w", weights, "-o", *changes]) == 0
    results = json.loads((folder / "shuffled" / "results.json").read_text())
    found = results["text_to_video"]["R@10"]
    chance = results["chance"]["text_to_video"]["R@10"]
    assert found < 2.2 * chance  # four standard deviations above chance


def test_it_starts_from_the_beginning_where_one_has_been(finished):
    """Last in this file: it replaces what the others look at."""
    folder, _ = finished
    sizes = ["--train", "320", "--valid", "32", "--test", str(CLIPS)]
    extra = ["epochs=1", "num_threads=1"]
    demo.run(folder / "data", folder / "output", extra, sizes)
    assert list((folder / "output").glob("*_epoch_00001.pdparams"))
    assert not list((folder / "output").glob("*_epoch_00008.pdparams"))
