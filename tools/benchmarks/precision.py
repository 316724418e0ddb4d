"""The effect of a store's precision: each loss of trained weights on rows and on a store."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

DIGITS = 7


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``benchmark.py precision``."""
    from paddlevideo.utils.options import add_override, as_path, as_path_text
    from paddlevideo.utils.ranges import count

    parser.add_argument(
        "-c", "--config", type=as_path_text, required=True, help="the recipe of the weights"
    )
    parser.add_argument("-w", "--weights", type=as_path, required=True)
    parser.add_argument("--rows", type=as_path, required=True, help="PaddleVideo's .npy file")
    parser.add_argument("--store", type=as_path, required=True, help="the same clips, packed")
    parser.add_argument("--epochs", type=count, default=3, help="with other masks in each")
    add_override(parser)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Returns the mean of every loss on rows and store, over the same clips and masks."""
    import paddlevideo as pv
    from paddlevideo.config import check_config, import_parts

    import_parts()
    config = pv.load_config(options.config, overrides=options.override)
    check_config(config, "train")
    model = pv.build_model(config.MODEL)
    pv.load_weights(model, str(options.weights))
    model.eval()
    means = [
        losses_of(model, config, path, options.epochs) for path in (options.rows, options.store)
    ]
    return {
        "rows": {"bytes": size(options.rows), "losses": means[0]},
        "store": {"bytes": size(options.store), "losses": means[1]},
        "relative_change": {
            name: means[1][name] / value - 1 for name, value in means[0].items() if value
        },
    }


def losses_of(model: Any, config: Any, path: Path, epochs: int) -> dict[str, float]:
    """Returns the named losses of a whole file, each the mean over all its labels."""
    import paddle

    from paddlevideo.loader.build import SampleReader, build_dataset, build_pipeline

    dataset = build_dataset({**config.DATASET.train.to_dict(), "file_path": str(path)})
    reader = SampleReader(dataset, build_pipeline(config.PIPELINE.train.transform), seed=0)
    order = sorted(range(len(dataset)), key=dataset.name_of)  # a store may have another one
    sums: dict[str, float] = {}
    counts: dict[str, float] = {}
    for epoch in range(epochs):
        for start in range(0, len(order), 32):
            batch = by_name(reader, epoch, order[start : start + 32])
            batch_counts = model.loss_counts(batch)
            with paddle.no_grad():
                losses = model(batch, dict.fromkeys(batch_counts, 1.0))
            for name, count in batch_counts.items():
                sums[name] = sums.get(name, 0.0) + float(losses[name])
                counts[name] = counts.get(name, 0.0) + count
    return {name: total / max(counts[name], 1.0) for name, total in sums.items()}


def by_name(reader: Any, epoch: int, indices: Sequence[int]) -> dict[str, Any]:
    """Returns a batch whose randomness depends on a clip's id, not on its index in the file."""
    import zlib

    import numpy as np

    from paddlevideo.loader.collate import Collator

    collator = Collator(len(indices))
    for index in indices:
        name = reader.dataset.name_of(index)
        rng = np.random.default_rng((epoch, zlib.crc32(name.encode())))
        sample = reader.dataset[index]
        for step in reader.steps:
            sample = step(sample, rng)
        collator.add({**sample, "index": index}, lambda name=name: name)
    return collator.batch


def size(path: Path) -> int:
    """Returns the bytes of a file, or of all files in a folder."""
    return (
        sum(file.stat().st_size for file in path.iterdir())
        if path.is_dir()
        else (path.stat().st_size)
    )


def show(report: dict[str, Any]) -> None:
    """Prints both sides in two columns."""
    print(f"{'':16s}{'rows':>14s}{'store':>14s}{'change':>12s}")
    rows, store = report["rows"], report["store"]
    print(f"{'bytes':16s}{rows['bytes']:14,d}{store['bytes']:14,d}")
    for name, change in report["relative_change"].items():
        values = f"{rows['losses'][name]:14.{DIGITS}f}{store['losses'][name]:14.{DIGITS}f}"
        print(f"{name:16s}{values}{change:12.2e}")
