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
from benchmarks.sides import Side, ratios, serve

MODULE = "benchmarks.loader"
ROOT = Path(__file__).resolve().parents[2]
REGIONS, ACTIONS, FEATURES, CLASSES, ACTION_CLASSES = 36, 5, 2048, 1601, 700
CAPTIONS, WORDS, BATCH = 1050, 12, 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``benchmark.py loader``."""
    from paddlevideo.utils.options import as_path
    from paddlevideo.utils.ranges import count

    parser.add_argument("--clips", type=count, default=256, help="clips on the disk (default 256)")
    parser.add_argument("--samples", type=count, default=512, help="this project's in a turn")
    parser.add_argument("--peer_samples", type=count, default=16, help="the peer's in a turn")
    parser.add_argument("--rounds", type=count, default=5, help="alternations (default 5)")
    parser.add_argument("--dtype", choices=("float32", "float16"), default="float32")
    parser.add_argument("--no_peer", action="store_true", help="measure this project alone")
    parser.add_argument(
        "--peer", type=as_path, default=Path("build/peer"), help="where ppvideo goes"
    )
    parser.add_argument("--json", type=as_path, help="write the numbers here")


def make_inputs(folder: Path, clips: int, dtype: str) -> None:
    """The same clips as PaddleVideo's rows and as a store, and the captions for negatives."""
    from paddlevideo.loader.store import ClassTargets, Clip, Sizes, StoreWriter

    rng = np.random.default_rng(0)
    # Whole words of the vocabulary: 12 ids with [CLS] and [SEP].
    words = [word for word in vocabulary() if word.isascii() and word.isalpha()]
    captions = [" ".join(rng.choice(words, WORDS - 2)) for _ in range(CAPTIONS)]
    (folder / "captions.json").write_text(json.dumps(captions))
    rows = np.empty(clips, dtype=object)
    sizes = Sizes(FEATURES, FEATURES, CLASSES, ACTION_CLASSES)
    with StoreWriter(folder / "store", sizes, dtype) as writer:
        for number in range(clips):
            name, caption = f"clip{number}", captions[number]
            regions = rng.random((REGIONS, FEATURES), dtype=np.float32)
            targets = rng.dirichlet(np.full(CLASSES, 0.01), REGIONS).astype(np.float32)
            corner = rng.uniform(0, 100, (REGIONS, 2)).astype(np.float32)
            boxes = np.concatenate([corner, corner + 50], axis=1)
            actions = rng.random((ACTIONS, FEATURES), dtype=np.float32)
            classes = rng.integers(0, ACTION_CLASSES, ACTIONS)
            kept = ClassTargets.of(targets)
            clip = Clip(name, regions, boxes, 240, 320, actions, classes, kept, [caption])
            writer.add(clip)
            rows[number] = (
                *(regions, targets, boxes, REGIONS, 240, 320, name, caption),
                *(actions, classes, ACTIONS),
            )
        writer.finish()
    np.save(folder / "rows.npy", rows, allow_pickle=True)


def vocabulary() -> list[str]:
    """The word pieces of bert-base-uncased."""
    path = ROOT / "paddlevideo" / "loader" / "vocab" / "bert-base-uncased-vocab.txt"
    return path.read_text(encoding="utf-8").splitlines()


# ---------------------------------------------------------------------------- the sides


def serve_ours(arguments: argparse.Namespace) -> None:
    """This project's side: store, padding, caption, tokens, masks, batches of 8."""
    from paddlevideo.loader import (
        BatchLoader,
        SampleReader,
        TrainSampler,
        build_dataset,
        build_pipeline,
    )
    from paddlevideo.utils.cpu import tune_cpu

    tune_cpu()  # as training does
    folder = arguments.inputs
    dataset = build_dataset({"format": "ActBertDataset", "file_path": str(folder / "store")})
    steps = build_pipeline(
        [
            {"FeaturePadding": {"max_region_num": REGIONS, "max_action_num": ACTIONS}},
            {"RandomCap": {"caption_path": str(folder / "captions.json")}},
            {"Tokenize": {"max_seq_length": 36}},
            {"RandomMask": {}},
        ]
    )
    loader = BatchLoader(
        SampleReader(dataset, steps), TrainSampler(len(dataset), BATCH), arguments.workers
    )

    def work() -> dict[str, Any]:
        done, epoch = 0, 0
        while done < arguments.samples:
            for batch in loader.epoch(epoch):
                done += len(batch["index"])
            epoch += 1
        return {"samples": done}

    serve(work, {"raw_samples_per_second": raw_speed(dataset), "bytes": disk_bytes(folder)})


def raw_speed(dataset: Any) -> float:
    """Records a second that LMDB alone returns, copied and not parsed."""
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
    """Bytes of a clip on the disk."""
    store = sum(path.stat().st_size for path in (folder / "store").iterdir())
    manifest = json.loads((folder / "store" / "store.json").read_text())
    rows = (folder / "rows.npy").stat().st_size
    return {"store": store // manifest["clips"], "rows": rows // manifest["clips"]}


class Vocabulary:
    """The two dictionaries of paddlenlp's vocabulary that the peer's masking uses."""

    def __init__(self, words: list[str]) -> None:
        self.token_to_idx = {word: number for number, word in enumerate(words)}
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
        """Whole words."""
        return text.split()

    def convert_tokens_to_ids(self, words: list[str]) -> list[int]:
        """Their ids."""
        return [self.vocab[word] for word in words]


def serve_peer(arguments: argparse.Namespace) -> None:
    """PaddleVideo's side: its data set and its steps, and arrays stacked to batches."""
    words = vocabulary()
    sys.modules["paddlenlp"] = peer.AnyName("paddlenlp")
    sys.modules["paddlenlp.transformers"] = peer.AnyName("paddlenlp.transformers")
    names = ("loader.pipelines.multimodal", "loader.dataset.actbert_dataset")
    steps, data = peer.load(arguments.peer, names)

    class FromVocabulary:
        @staticmethod
        def from_pretrained(*ignored: Any, **options: Any) -> Tokenizer:
            return Tokenizer(words)

    data.BertTokenizer = FromVocabulary
    chain = [
        steps.FeaturePadding(REGIONS, ACTIONS),
        steps.RandomCap(str(arguments.inputs / "captions.json")),
        steps.Tokenize(),
        steps.RandomMask(36, ACTIONS, REGIONS),
    ]

    def pipeline(sample: Any) -> Any:
        for step in chain:
            sample = step(sample)
        return sample

    dataset = data.ActBertDataset(str(arguments.inputs / "rows.npy"), pipeline)
    order = np.random.default_rng(0)

    def work() -> dict[str, Any]:
        for _ in range(arguments.samples // BATCH):
            picked = order.integers(len(dataset), size=BATCH)
            samples = [dataset.prepare_train(int(number)) for number in picked]
            [np.stack(values) for values in zip(*samples, strict=True)]
        return {"samples": arguments.samples // BATCH * BATCH}

    serve(work)


# --------------------------------------------------------------------------- the judge


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Alternates the sides and returns the measurements."""
    with tempfile.TemporaryDirectory() as name:
        make_inputs(Path(name), options.clips, options.dtype)
        common = ["--inputs", name]
        sides = {
            "ours": side("ours", options.samples, 0, common),
            "ours_2_workers": side("ours", options.samples, 2, common),
        }
        if not options.no_peer:
            extra = [*common, "--peer", str(options.peer)]
            sides["peer"] = side("peer", options.peer_samples, 0, extra)
        speeds: dict[str, list[float]] = {name: [] for name in sides}
        for _ in range(options.rounds):
            for name, one in sides.items():
                turn = one.work()
                speeds[name].append(turn["samples"] / turn["seconds"])
        about = sides["ours"].about
        for one in sides.values():
            one.close()
    return summarise(options, speeds, about)


def side(which: str, samples: int, workers: int, common: list[str]) -> Side:
    """A process for one side."""
    return Side(MODULE, [which, "--samples", str(samples), "--workers", str(workers), *common])


def summarise(
    options: argparse.Namespace, speeds: dict[str, list[float]], about: dict[str, Any]
) -> dict[str, Any]:
    """Speeds, their ratio, the share of LMDB's own speed, bytes on the disk."""
    report: dict[str, Any] = {"dtype": options.dtype, "clips": options.clips}
    for name, values in speeds.items():
        numbers = {"median": np.median(values), "min": min(values), "max": max(values)}
        report[name] = {"samples_per_second": {k: float(v) for k, v in numbers.items()}}
    raw = about["raw_samples_per_second"]
    median = report["ours"]["samples_per_second"]["median"]
    report["raw_lmdb"] = {"samples_per_second": raw, "share_reached": median / raw}
    report["bytes_per_clip"] = about["bytes"]
    if "peer" in speeds:
        report["ratio"] = ratios(speeds["ours"], speeds["peer"])
    return report


def show(report: dict[str, Any]) -> None:
    """Prints the report."""
    print(
        f"{REGIONS} regions, {ACTIONS} actions, {FEATURES} wide, {CLASSES} classes, "
        f"{report['dtype']}, {CAPTIONS} captions, batches of {BATCH}"
    )
    for name in ("peer", "ours", "ours_2_workers"):
        if name in report:
            speed = report[name]["samples_per_second"]
            print(
                f"  {name.replace('_', ' '):15s} {speed['median']:8.1f} samples/s "
                f"({speed['min']:.1f} to {speed['max']:.1f})"
            )
    raw, disk = report["raw_lmdb"], report["bytes_per_clip"]
    print(
        f"  LMDB alone: {raw['samples_per_second']:.0f} records/s, of which one process reaches "
        f"{100 * raw['share_reached']:.0f} %; a clip takes {disk['store'] / 1e3:.0f} kB "
        f"(PaddleVideo's row: {disk['rows'] / 1e3:.0f} kB)"
    )
    if "ratio" in report:
        ratio = report["ratio"]
        print(f"  ratio {ratio['median']:.1f} ({ratio['min']:.1f} to {ratio['max']:.1f})")


def serve_side(arguments: list[str]) -> None:
    """The main function of a side's process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("side", choices=("ours", "peer"))
    parser.add_argument("--inputs", type=Path)
    parser.add_argument("--samples", type=int)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--peer", type=Path)
    options = parser.parse_args(arguments)
    if options.side == "ours":
        serve_ours(options)
    else:
        serve_peer(options)


if __name__ == "__main__":
    serve_side(sys.argv[1:])
