"""Bad clips that may be left out: up to a stated share, in any process, and listed."""

from __future__ import annotations

import json

import numpy as np
import pytest

from paddlevideo.cli import run as main
from paddlevideo.loader.skipping import BadClips
from paddlevideo.utils.errors import DataError
from tests.tiny_data import make_project


@pytest.fixture
def project(tmp_path):
    """Sixteen clips, of which two cannot be used."""
    make_project(tmp_path)
    rows = np.load(tmp_path / "train.npy", allow_pickle=True)
    for number in (4, 5):
        row = list(rows[number])
        row[0] = np.full_like(row[0], np.nan)
        rows[number] = tuple(row)
    np.save(tmp_path / "train.npy", rows, allow_pickle=True)
    return tmp_path


def run(project, *changes):
    return main.main(["-c", str(project / "tiny.yaml"), "-o", *changes])


@pytest.mark.parametrize("workers", [0, 2])
def test_a_share_of_the_clips_may_be_bad(project, workers):
    assert run(project, f"DATASET.num_workers={workers}", "DATASET.skip_bad=0.125") == 0
    lines = (project / "output" / "skipped_clips.jsonl").read_text().splitlines()
    listed = {json.loads(line)["clip"]: json.loads(line)["fault"] for line in lines}
    assert listed.keys() == {"clip004", "clip005"} and "nan" in listed["clip004"]
    assert (project / "output" / "Tiny_epoch_00002.pdparams").is_file()


def test_more_than_the_share_stops_with_the_list(project, capsys):
    assert run(project, "DATASET.skip_bad=0.01") == 1
    error = capsys.readouterr().err
    assert "1 clips were left out before it" in error and "skipped_clips.jsonl" in error
    # Another run begins with none.
    assert run(project, "DATASET.skip_bad=0.125", "overwrite=True") == 0
    assert run(project, "DATASET.skip_bad=1.0") == 2


def test_a_list_counts_a_clip_once(tmp_path):
    bad = BadClips(tmp_path / "list.jsonl", 2)
    for name in ("a", "b", "a", "b"):
        bad.note(name, DataError(f"{name} is bad"))
    with pytest.raises(DataError, match="c is bad\n2 clips were left out"):
        bad.note("c", DataError("c is bad"))
    assert bad.names() == {"a", "b"}
