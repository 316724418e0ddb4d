"""docs/tutorial.ipynb: its cells run, smaller, and it shows what they gave at full size."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest

from tests.readme_runs import environment

pytest.importorskip("cv2")

PAGE = Path(__file__).parents[1] / "docs" / "tutorial.ipynb"
NOTEBOOK = json.loads(PAGE.read_text("utf-8"))
CODE = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
#: In place of the settings in the cell that is tagged as parameters.
SMALL = {
    "CLIPS": "--train 34 --valid 6 --test 8",
    "TRAINING": "-o epochs=1 num_threads=1 MODEL.pair_batch=64",
}


def outputs() -> Iterator[tuple[str, str]]:
    """The kinds of all outputs and their texts, base64 for pictures."""
    for cell in CODE:
        for output in cell["outputs"]:
            assert output["output_type"] != "error"
            for kind, text in {
                "text/plain": output.get("text", []),
                **output.get("data", {}),
            }.items():
                yield kind, "".join(text)


@pytest.mark.slow
def test_the_cells_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plt.switch_backend("agg")
    (first,) = [cell for cell in CODE if "parameters" in cell["metadata"].get("tags", [])]
    monkeypatch.setenv("PYTHONPATH", environment()["PYTHONPATH"])
    namespace: dict[str, Any] = {}
    for cell in CODE:
        exec(compile("".join(cell["source"]), PAGE.name, "exec"), namespace)  # noqa: S102
        if cell is first:
            assert SMALL.keys() < namespace.keys()
            namespace |= {**SMALL, "FOLDER": tmp_path / "tutorial"}
    plt.close("all")
    assert namespace["texts"].shape == namespace["vectors"].shape == (8, 128)
    assert namespace["names"] == namespace["videos"].names == list(namespace["clips"])
    assert namespace["ranks"].shape == (8,) and np.isfinite(namespace["scores"]).all()
    assert len(namespace["answers"]) == 4
    assert list((tmp_path / "tutorial/output/ActBert_videos/search_index").iterdir())


def test_it_shows_what_its_cells_gave():
    assert PAGE.stat().st_size < 1_000_000
    assert [cell["execution_count"] for cell in CODE] == list(range(1, len(CODE) + 1))
    shown = list(outputs())
    assert sum(kind == "image/png" for kind, _ in shown) == 3
    text = "\n".join(text for kind, text in shown if kind == "text/plain")
    (recall, chance) = re.search(r"R@1 (\d+)%, R@5 \d+%, chance ([\d.]+)%", text).groups()
    assert float(recall) > 20 * float(chance)
    assert not re.search(r"/(home|root|tmp|work)/|Traceback|Warning", text)


def test_its_links_lead_somewhere():
    text = "".join(line for cell in NOTEBOOK["cells"] for line in cell["source"])
    links = re.findall(r"\]\(([\w.]+)(?:#([\w-]+))?\)", text)
    assert len(links) >= 4
    for name, heading in links:
        page = (PAGE.parent / name).read_text("utf-8")
        titles = re.findall(r"^#+ (.+)$", page, re.M)
        assert not heading or heading in {title.lower().replace(" ", "-") for title in titles}
