"""Samples through the training pipeline: this project's feature store against PaddleVideo 2.3.1."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import peer
from benchmarks.sides import Side, add_speeds, add_turns, run_side, serve, show_sides, take_turns
from benchmarks.train_batches import (
    ACTIONS,
    CLASSES,
    CLIPS,
    FEATURES,
    PADDED,
    REGIONS,
    Clips,
    training_steps,
    vocabulary,
    words_of,
    write_rows,
)

CAPTIONS, WORDS = 1050, 12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``benchmark.py loader``."""
    from paddlevideo.utils.ranges import count

    parser.add_argument("--clips", type=count, default=256, help="clips on the disk (default 256)")
    parser.add_argument("--samples", type=count, default=512, help="this project's in a turn")
    parser.add_argument("--peer_samples", type=count, default=16, help="the peer's in a turn")
    parser.add_argument("--dtype", choices=("float32", "float16"), default="float32")
    add_turns(parser)


def make_inputs(folder: Path, clips: int, dtype: str) -> None:
    """Writes the same clips as PaddleVideo's rows and as a store, and captions for negatives."""
    from paddlevideo.prepare.pack import PackOptions, pack

    rng, words = np.random.default_rng(0), words_of(vocabulary())
    # 12 ids with [CLS] and [SEP].
    captions = [" ".join(rng.choice(words, WORDS - 2)) for _ in range(CAPTIONS)]
    (folder / "captions.json").write_text(json.dumps(captions))
    write_rows(folder / "rows.npy", Clips(captions), clips)
    pack(PackOptions([folder / "rows.npy"], folder / "store", dtype=dtype))


# ---------------------------------------------------------------------------- the sides


def serve_ours(options: argparse.Namespace) -> None:
    """This project's side: store, padding, caption, tokens, masks, batches of 8."""
    from paddlevideo.loader import BatchLoader, SampleReader, TrainSampler, build_dataset
    from paddlevideo.utils.cpu import tune_cpu

    tune_cpu()  # as training does
    folder = Path(options.inputs)
    dataset = build_dataset({"format": "ActBertDataset", "file_path": str(folder / "store")})
    reader = SampleReader(dataset, training_steps(folder / "captions.json"))
    loader = BatchLoader(reader, TrainSampler(len(dataset), CLIPS), options.workers)

    def work() -> dict[str, Any]:
        done, epoch = 0, 0
        while done < options.samples:
            for batch in loader.epoch(epoch):
                done += len(batch["index"])
            epoch += 1
        return {"samples": done}

    serve(work, {"raw_samples_per_second": raw_speed(dataset), "bytes": disk_bytes(folder)})


def raw_speed(dataset: Any) -> float:
    """Returns the records a second that LMDB alone reads, copied and not parsed."""
    from paddlevideo.loader.store.shards import KEY, RECORDS, reading

    store = dataset.clips
    path = store.path / store.manifest.shards[0].file
    speeds = []
    for _ in range(5):
        start = time.perf_counter()
        for index in range(len(store)):
            with reading(path, RECORDS) as transaction:
                transaction.get(KEY.pack(index))
        speeds.append(len(store) / (time.perf_counter() - start))
    return float(np.median(speeds))


def disk_bytes(folder: Path) -> dict[str, int]:
    """Returns the bytes of a clip on the disk."""
    store = sum(path.stat().st_size for path in (folder / "store").iterdir())
    manifest = json.loads((folder / "store" / "store.json").read_text())
    rows = (folder / "rows.npy").stat().st_size
    return {"store": store // manifest["clips"], "rows": rows // manifest["clips"]}


class Vocabulary:
    """The two dictionaries of paddlenlp's vocabulary that the peer's masking uses."""

    def __init__(self, words: list[str]) -> None:
        self.token_to_idx = {word: index for index, word in enumerate(words)}
        self.idx_to_token = dict(enumerate(words))

    def __getitem__(self, word: str) -> int:
        return self.token_to_idx[word]


class Tokenizer:
    """Replaces paddlenlp's BertTokenizer for captions of whole words.

    The peer copies it for every sample: it holds the two dictionaries that the real one holds.
    """

    def __init__(self, words: list[str]) -> None:
        self.vocab = Vocabulary(words)
        self.vocab_size = len(words) - 1  # its masking draws from 0 to this, both included

    def tokenize(self, text: str) -> list[str]:
        """Returns the words."""
        return text.split()

    def convert_tokens_to_ids(self, words: list[str]) -> list[int]:
        """Returns their ids."""
        return [self.vocab[word] for word in words]


def serve_peer(options: argparse.Namespace) -> None:
    """PaddleVideo's side: its data set and its steps, and arrays stacked to batches."""
    words, inputs = vocabulary(), Path(options.inputs)
    sys.modules["paddlenlp"] = peer.AnyName("paddlenlp")
    sys.modules["paddlenlp.transformers"] = peer.AnyName("paddlenlp.transformers")
    names = ("loader.pipelines.multimodal", "loader.dataset.actbert_dataset")
    steps, data = peer.load(options.peer, names)

    class FromVocabulary:
        @staticmethod
        def from_pretrained(*ignored: Any, **settings: Any) -> Tokenizer:
            return Tokenizer(words)

    data.BertTokenizer = FromVocabulary
    chain = [
        steps.FeaturePadding(REGIONS, ACTIONS),
        steps.RandomCap(str(inputs / "captions.json")),
        steps.Tokenize(),
        steps.RandomMask(PADDED, ACTIONS, REGIONS),
    ]

    def pipeline(sample: Any) -> Any:
        for step in chain:
            sample = step(sample)
        return sample

    dataset = data.ActBertDataset(str(inputs / "rows.npy"), pipeline)
    order = np.random.default_rng(0)

    def work() -> dict[str, Any]:
        for _ in range(options.samples // CLIPS):
            picked = order.integers(len(dataset), size=CLIPS)
            samples = [dataset.prepare_train(int(index)) for index in picked]
            [np.stack(values) for values in zip(*samples, strict=True)]
        return {"samples": options.samples // CLIPS * CLIPS}

    serve(work)


# ------------------------------------------------------------------------ comparison


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Alternates the sides and returns the measurements."""
    with tempfile.TemporaryDirectory() as folder:
        make_inputs(Path(folder), options.clips, options.dtype)
        settings = {
            "ours": ("ours", options.samples, 0),
            "ours_2_workers": ("ours", options.samples, 2),
        }
        if not options.no_peer:
            settings["peer"] = ("peer", options.peer_samples, 0)
        sides = {
            name: Side(
                "benchmarks.loader", side, options, inputs=folder, samples=samples, workers=workers
            )
            for name, (side, samples, workers) in settings.items()
        }
        turns = take_turns(sides, options.rounds)
    report: dict[str, Any] = {"dtype": options.dtype, "clips": options.clips}
    speeds = {n: [turn["samples"] / turn["seconds"] for turn in done] for n, done in turns.items()}
    add_speeds(report, "samples", speeds)
    raw = sides["ours"].about["raw_samples_per_second"]
    share = report["ours"]["samples_per_second"]["median"] / raw
    report["raw_lmdb"] = {"samples_per_second": raw, "share_reached": share}
    report["bytes_per_clip"] = sides["ours"].about["bytes"]
    return report


def show(report: dict[str, Any]) -> None:
    """Prints the report."""
    print(
        f"{REGIONS} regions, {ACTIONS} actions, {FEATURES} wide, {CLASSES} classes, "
        f"{report['dtype']}, {CAPTIONS} captions, batches of {CLIPS}"
    )
    names = [name for name in ("peer", "ours", "ours_2_workers") if name in report]
    show_sides(report, "samples", dict.fromkeys(names, ""))
    raw, disk = report["raw_lmdb"], report["bytes_per_clip"]
    print(
        f"  LMDB alone: {raw['samples_per_second']:.0f} records/s, of which one process reaches "
        f"{100 * raw['share_reached']:.0f} %; a clip takes {disk['store'] / 1e3:.0f} kB "
        f"(PaddleVideo's row: {disk['rows'] / 1e3:.0f} kB)"
    )


if __name__ == "__main__":
    run_side(ours=serve_ours, peer=serve_peer)
