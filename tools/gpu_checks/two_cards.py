"""Two processes, on a card each, against one.

With hard negatives a caption's candidates are the clips of its own process, so that the losses of
two processes are not those of one: there, two processes on the CPU are the reference.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.sides import ROOT
from gpu_checks.result import Place, Result, at_most, skipped
from gpu_checks.training import ALONE, difference, write_recipe

BOUND, STEPS, CLIPS = 1e-3, 5, 8
HARD = ("MODEL.match_negatives=2", "MODEL.hard_negatives=2")
HALF_BATCH = f"DATASET.batch_size={CLIPS // 2}"
#: By name: the options of both runs, and those of the two processes alone.
VARIANTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "NCCL": (ALONE, (HALF_BATCH,)),
    "accumulation": (
        ALONE,
        (f"DATASET.batch_size={CLIPS // 4}", f"GRADIENT_ACCUMULATION.global_batch_size={CLIPS}"),
    ),
    "sharding stage 1": (ALONE, (HALF_BATCH, "sharding=1")),
    "--fleet": (ALONE, (HALF_BATCH, "fleet=True")),
    "hard negatives": (HARD, (HALF_BATCH,)),
    "device=cpu": (ALONE, (HALF_BATCH, "device=cpu")),
}


def two_cards(place: Place) -> Iterator[Result]:
    """Compares the losses of the first steps of two processes with the reference's."""
    for name in VARIANTS:
        if place.cards < 2 and name != "device=cpu":
            yield skipped(f"two processes, {name}", f"needs two GPUs, found {place.cards}")
    names = [name for name in VARIANTS if place.cards >= 2 or name == "device=cpu"]
    with tempfile.TemporaryDirectory() as folder:
        yield from compare(place, Path(folder), names)


def compare(place: Place, folder: Path, names: list[str]) -> Iterator[Result]:
    """Yields the largest relative difference of a loss, for each of the variants."""
    recipe = write_recipe(folder, place)
    known: dict[tuple[str, ...], list[dict[str, float]]] = {}
    for name in names:
        common, own = VARIANTS[name]
        if common not in known:
            launcher, size, device = [], f"DATASET.batch_size={CLIPS}", place.device
            if common == HARD:
                launcher, size, device = launch(place, folder / "reference log"), HALF_BATCH, "cpu"
            changes = (*common, size, f"device={device}")
            known[common] = train(launcher, recipe, folder / f"reference{len(known)}", changes)
        changes = (*common, f"device={place.device}", *own)
        losses = train(launch(place, folder / f"{name} log"), recipe, folder / name, changes)
        assert len(losses) == len(known[common]) == STEPS
        worst = float(np.max(list(map(difference, losses, known[common]))))
        yield at_most(f"two processes, {name}", worst, BOUND)


def launch(place: Place, logs: Path) -> list[str]:
    """Returns the arguments of Python that start two processes."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES") or "0,1"
    cards = ["--gpus", ",".join(visible.split(",")[:2])]
    two = cards if place.is_gpu else ["--nproc_per_node", "2"]
    return ["-m", "paddle.distributed.launch", *two, "--log_dir", str(logs)]


def train(
    launcher: list[str], recipe: Path, folder: Path, overrides: tuple[str, ...]
) -> list[dict[str, float]]:
    """Trains with the command that users run, and returns the losses of each step."""
    limits = (f"max_iters={STEPS}", f"output_dir={folder}")
    command = [sys.executable, *launcher, str(ROOT / "main.py"), "-c", str(recipe)]
    # TF32 would differ from a CPU by more than the bound.
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NVIDIA_TF32_OVERRIDE": "0"}
    done = subprocess.run(
        [*command, "-o", *overrides, *limits],
        env=environment,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        lines = [line for line in (done.stdout + done.stderr).splitlines() if "rror" in line]
        raise RuntimeError(f"exit code {done.returncode}: {(lines or ['no message'])[-1]:.200}")
    records = [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]
    return [{key: x for key, x in record.items() if key.endswith("loss")} for record in records]
