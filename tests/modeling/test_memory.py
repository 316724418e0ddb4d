"""How much memory scoring takes is set by one number."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = """
import sys
import numpy as np
import paddle
from tests.modeling.tiny import build

VIDEOS, REGIONS = 300, 60
model = build(
    pair_batch=int(sys.argv[1]), v_hidden_size=128, v_intermediate_size=128, bi_hidden_size=128
)
rng = np.random.default_rng(0)
gallery = model.encode_videos({
    "image_feat": rng.random((VIDEOS, REGIONS, 12), dtype="float32"),
    "image_loc": rng.random((VIDEOS, REGIONS, 5), dtype="float32"),
    "image_mask": np.ones((VIDEOS, REGIONS), "int64"),
    "action_feat": rng.random((VIDEOS, 3, 10), dtype="float32"),
    "action_mask": np.ones((VIDEOS, 3), "int64"),
})
captions = model.encode_captions({
    "text_ids": rng.integers(1, 60, (2, 12)), "text_mask": np.ones((2, 12), "int64")
})


def status(key):
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(key))


open("/proc/self/clear_refs", "w").write("5")  # the peak counts from here
before = status("VmRSS")
model.margins(captions, gallery)
print(status("VmHWM") - before)
"""


def peak_megabytes(pair_batch):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(pair_batch)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout.split()[-1])


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_pair_batch_bounds_the_memory_of_scoring():
    few, many = peak_megabytes(10), peak_megabytes(300)
    whole = 300 * 60 * 128 * 4 / 2**20  # one tensor of all pairs, in megabytes
    assert many > 5 * whole
    assert few < many / 2
