"""docs/videos.md, from a folder of videos to a search, command by command."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from paddlevideo.extract.settings import as_yaml_map
from tests.readme_runs import argv, environment, serve

pytest.importorskip("cv2")

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow

#: What makes a command short.
SMALLER = {
    "make_demo_data": "--train 34 --valid 6 --test 8",
    "train -c": "-o epochs=1 num_threads=1 MODEL.pair_batch=64",
}


def commands():
    text = (ROOT / "docs" / "videos.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    return [line for line in block.splitlines() if line and not line.startswith("#")]


def test_the_worked_path(tmp_path):
    for command in commands():
        if command.startswith("paddlevideo serve"):
            serve(command, tmp_path)
            continue
        more = next((text for part, text in SMALLER.items() if part in command), "")
        done = subprocess.run(
            [*argv(command), *more.split()],
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    results = json.loads((tmp_path / "output" / "ActBert_videos" / "results.json").read_text())
    assert results["protocol"]["videos"] == 5
    divided = json.loads((tmp_path / "data" / "videos.store.split.json").read_text())
    assert [len(divided[side]) for side in ("train", "valid", "test")] == [38, 5, 5]
    extraction = json.loads((tmp_path / "output/ActBert_videos/extraction.json").read_text())
    assert as_yaml_map(extraction)["actions"]["vectors"]["name"] == "classical"
    assert (tmp_path / "sheet.png").stat().st_size > 10_000
    assert "<html" in (tmp_path / "report.html").read_text()
    assert len(done.stdout.splitlines()) >= 5  # the clips that the search found
    statuses = (tmp_path / "data" / "videos.store.status.jsonl").read_text().splitlines()
    assert len(statuses) == 48 and all('"done"' in line for line in statuses)
