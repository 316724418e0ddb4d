"""Clips per second, memory and how busy the device is, at full size."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.sides import FULL_SIZE
from gpu_checks.half_types import TYPES, amp_overrides, lacks
from gpu_checks.result import Place, Result, noted
from gpu_checks.training import FULL, steps_on, trainer_of, write_clips, write_recipe

BATCHES, WARM_UP, TIMED = (8, 64, 256), 3, 10


def speed(place: Place) -> Iterator[Result]:
    """Times training steps, without reading data: the full-size model, on a CPU the small one."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        changes: list[str] = [f"device={place.device}"]
        if place.is_gpu:
            recipe, title, more = full_size(folder, place)
            changes += more
        else:
            recipe, title = write_recipe(folder, place), "small model, float32"
        with trainer_of(recipe, folder / "run", *changes) as trainer:
            for size in BATCHES if place.is_gpu else BATCHES[:1]:
                yield noted(f"{title}, batch {size}", timed_steps(trainer, size, place))


def full_size(folder: Path, place: Place) -> tuple[Path | str, str, list[str]]:
    """Writes clips; returns the recipe of the full-size model, its title, and overrides."""
    store = write_clips(folder / "clips.store", max(BATCHES), FULL)
    dtype = next(name for name in reversed(TYPES) if not lacks(name, place))
    changes = [f"DATASET.train.file_path={store}", "DATASET.num_workers=0"]
    changes += [f"PIPELINE.train.transform={json.dumps(steps_on(store, FULL))}"]
    return FULL_SIZE, f"full size, O1 {dtype}", [*changes, *amp_overrides("O1", dtype)]


def timed_steps(trainer: Any, size: int, place: Place) -> str:
    """Returns what some steps on one batch measured, or that the memory did not suffice."""
    from paddlevideo.runtime import memory_used, synchronize_clock

    batch = trainer.loader.reader.batch(0, list(range(size)))
    steps = TIMED if place.is_gpu else 2
    try:
        for _ in range(WARM_UP if place.is_gpu else 1):
            trainer.train_step([batch])
        with BusyShare(place) as busy:
            began = synchronize_clock()
            for _ in range(steps):
                trainer.train_step([batch])
            seconds = (synchronize_clock() - began) / steps
    except Exception as error:
        if "out of memory" not in str(error).lower():
            raise
        return "out of memory"
    memory = memory_used() / 2**30
    return f"{size / seconds:.3g} clips/s, peak {memory:.1f} GiB, busy {busy.share}"


class BusyShare:
    """How much of the time in this context the device computes.

    Of a GPU, what its driver says every half second; of a CPU, processor time over all threads.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self.share = "unknown"

    def __enter__(self) -> BusyShare:
        self._began, self._used = time.perf_counter(), time.process_time()
        self._samples: list[float] = []
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample)
        if self.place.is_gpu:
            self._thread.start()
        return self

    def _sample(self) -> None:
        card = (os.environ.get("CUDA_VISIBLE_DEVICES") or "0").split(",")[0]
        query = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
        while not self._done.wait(0.5):
            done = subprocess.run(
                [*query, "-i", card], capture_output=True, text=True, timeout=30, check=False
            )
            if done.stdout.strip().isdecimal():
                self._samples.append(float(done.stdout))

    def __exit__(self, *exception: object) -> None:
        if self.place.is_gpu:
            self._done.set()
            self._thread.join()
            if self._samples:
                self.share = f"{sum(self._samples) / len(self._samples):.0f} %"
            return
        used = time.process_time() - self._used
        self.share = f"{100 * used / (time.perf_counter() - self._began):.0f} % of one core"
