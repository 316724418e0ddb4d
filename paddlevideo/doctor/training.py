"""Trains a small model for about two seconds, with the command that users run."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.doctor.finding import OK, PROBLEM, Finding
from paddlevideo.utils.children import this_python

COMMAND = [*this_python("from paddlevideo.cli import main; sys.exit(main())"), "train"]
LAUNCHER = ["-m", "paddle.distributed.launch", "--nproc_per_node", "2"]
ADVICE = "paddlevideo train -c FILE --dry_run shows all messages"
WIDTH, CLASSES, CLIPS, STEPS, SECONDS = 16, 10, 64, 60, 180
REGIONS, ACTIONS, WORDS = 6, 2, 12


def training() -> Iterator[Finding]:
    """Trains in a separate process: a crash of Paddle would end this one."""
    yield train("training", COMMAND)


def two_processes() -> Iterator[Finding]:
    """Trains through Paddle's launcher, in two processes on the CPU."""
    yield train("two processes", [sys.executable, *LAUNCHER, *COMMAND], "device=cpu")


def train(subject: str, command: list[str], *overrides: str) -> Finding:
    """Returns the speed of a training, or its last message if it failed."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_store(folder / "clips.store")
        recipe = folder / "recipe.json"  # JSON is YAML too
        recipe.write_text(json.dumps(configuration(folder)))
        arguments = ["-c", str(recipe), "-o", f"output_dir={folder / 'output'}", *overrides]
        try:
            done = subprocess.run(
                [*command, *arguments],
                cwd=folder,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Finding(PROBLEM, subject, f"{STEPS} small steps took over {SECONDS} s")
        if done.returncode:
            return Finding(PROBLEM, subject, failure(done), ADVICE)
        return success(subject, folder / "output" / "train.jsonl", done.stdout + done.stderr)


def failure(done: subprocess.CompletedProcess[str]) -> str:
    """Returns the exit code and the last message."""
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    errors = [line for line in lines if re.search(r"error", line, re.IGNORECASE)]
    return f"exit code {done.returncode}: {(errors or lines or ['no output'])[-1]:.200}"


def success(subject: str, records: Path, output: str) -> Finding:
    """Returns the speed of the steps; a problem where a loss is not finite."""
    steps = [json.loads(line) for line in records.read_text().splitlines()]
    losses = [step["loss"] for step in steps]
    if not all(map(math.isfinite, losses)):
        return Finding(PROBLEM, subject, f"a loss is not finite: {losses}")
    seconds = float(np.median([step["batch_cost"] for step in steps[1:]]))
    device = re.search(r"(\S+), \d+ rank\(s\)", output)
    where = f" on {device[1]}" if device else ""
    speed = f"{1 / max(seconds, 1e-9):.0f} steps/s"
    return Finding(OK, subject, f"{speed} of a small model{where}, losses finite")


def write_store(folder: Path) -> None:
    """Writes clips of random features."""
    from paddlevideo.loader.store import ClassTargets, Clip, Sizes, StoreWriter

    rng = np.random.default_rng(0)
    boxes = np.tile(np.array([[0, 0, 10, 10]], np.float32), (REGIONS, 1))
    with StoreWriter(folder, Sizes(WIDTH, WIDTH, CLASSES, CLASSES)) as writer:
        for index in range(CLIPS):
            regions = rng.random((REGIONS, WIDTH), dtype=np.float32)
            actions = rng.random((ACTIONS, WIDTH), dtype=np.float32)
            targets = ClassTargets.of(rng.dirichlet(np.ones(CLASSES), REGIONS))
            classes = rng.integers(0, CLASSES, ACTIONS)
            caption = [f"a man cuts {index} red onions"]
            clip = Clip(
                *(f"clip{index}", regions, boxes, 48, 64),
                *(actions, classes, targets, caption),
            )
            writer.add(clip)
        writer.finish()


def configuration(folder: Path) -> dict[str, Any]:
    """Returns a recipe with a small model and no workers."""
    widths = {"num_hidden_layers": 2, "hidden_size": 32, "intermediate_size": 64}
    backbone: dict[str, Any] = {
        "name": "BertForMultiModalPreTraining",
        **{f"{stream}{key}": value for stream in ("", "v_", "a_") for key, value in widths.items()},
        **{f"{stream}num_attention_heads": 2 for stream in ("", "v_", "a_", "bi_")},
        **{"v_feature_size": WIDTH, "a_feature_size": WIDTH, "bi_hidden_size": 32},
        **{"v_target_size": CLASSES, "a_target_size": CLASSES},
        **{f"{stream}_ent_attention_id": [1] for stream in ("t", "v", "a")},
    }
    store = str(folder / "clips.store")
    steps: list[dict[str, Any]] = [
        {"FeaturePadding": {"max_region_num": REGIONS, "max_action_num": ACTIONS}},
        {"RandomCap": {"caption_path": store}},
        {"Tokenize": {"max_seq_length": WORDS}},
        {"RandomMask": None},
    ]
    return {
        "model_name": "doctor",
        "epochs": 1000,
        "max_iters": STEPS,
        "log_interval": 4,
        "save_interval": 1000,
        "MODEL": {"framework": "ActBert", "backbone": backbone, "loss": {"name": "ActBertLoss"}},
        "DATASET": {"batch_size": 4, "train": {"format": "ActBertDataset", "file_path": store}},
        "PIPELINE": {"train": {"transform": steps}},
        "OPTIMIZER": {"name": "Adam", "learning_rate": 1e-3},
    }
