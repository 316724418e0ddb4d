"""Batches that both sides train on, and the arithmetic that a step on them needs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.sides import ROOT

CLIPS, PADDED, REGIONS, ACTIONS, FEATURES = 8, 36, 36, 5, 2048
CLASSES, ACTION_CLASSES, VOCABULARY = 1601, 700, 30522
LABELS = ("text_labels", "image_label", "action_label")


def read_captions(path: Path | None) -> list[str]:
    """Returns the captions of a CSV file, or random ones without a file."""
    from paddlevideo.loader.captions import read_captions as read_table

    if path is None:
        return drawn_captions(np.random.default_rng(0), 1000)
    return [caption for _, caption in read_table(str(path))]


def drawn_captions(rng: np.random.Generator, count: int) -> list[str]:
    """Returns captions of random whole words, of the lengths in MSR-VTT's 1k-A test split.

    The logarithm of the number of words is normal(2.19, 0.42): with [CLS] and [SEP] 11.8 ids on
    average, and 19 in the longest of eight captions. From 1 word to 34.
    """
    words = words_of(vocabulary())
    lengths = np.rint(rng.lognormal(2.19, 0.42, count)).astype(int).clip(1, PADDED - 2)
    return [" ".join(rng.choice(words, length)) for length in lengths]


def vocabulary() -> list[str]:
    """Returns the word pieces of bert-base-uncased."""
    path = ROOT / "paddlevideo" / "loader" / "vocab" / "bert-base-uncased-vocab.txt"
    return path.read_text(encoding="utf-8").splitlines()


def words_of(pieces: list[str]) -> list[str]:
    """Returns the word pieces that are whole words."""
    return [piece for piece in pieces if piece.isascii() and piece.isalpha()]


class Clips:
    """Raw clips of random features, without padding."""

    def __init__(
        self, captions: list[str], features: int = FEATURES, classes: int = CLASSES
    ) -> None:
        self.captions, self.features, self.classes = captions, features, classes

    def __getitem__(self, index: int) -> dict[str, Any]:
        rng = np.random.default_rng(index)
        corner = rng.uniform(0, 100, (REGIONS, 2)).astype(np.float32)
        return {
            "region_feat": rng.random((REGIONS, self.features), dtype=np.float32),
            "region_target": rng.dirichlet(np.full(self.classes, 0.01), REGIONS).astype(np.float32),
            "boxes": np.concatenate([corner, corner + 50], axis=1),
            "image_h": 240,
            "image_w": 320,
            "action_feat": rng.random((ACTIONS, self.features), dtype=np.float32),
            "action_target": rng.integers(0, ACTION_CLASSES, ACTIONS),
            "caption": self.captions[index % len(self.captions)],
        }


def write_rows(path: Path, clips: Clips, count: int = CLIPS) -> None:
    """Writes clips as HowTo100M rows; a trainer needs a batch of them to start."""
    rows = np.empty(count, dtype=object)
    for index in range(count):
        clip = clips[index]
        arrays = (clip["region_feat"], clip["region_target"], clip["boxes"], REGIONS)
        size = (clip["image_h"], clip["image_w"], f"clip{index}", clip["caption"])
        rows[index] = (*arrays, *size, clip["action_feat"], clip["action_target"], ACTIONS)
    np.save(path, rows, allow_pickle=True)


def training_steps(captions: Path) -> Any:
    """Returns the steps of the training pipeline, with captions for negatives from a file."""
    from paddlevideo.loader import build_pipeline

    return build_pipeline(
        [
            {"FeaturePadding": {"max_region_num": REGIONS, "max_action_num": ACTIONS}},
            {"RandomCap": {"caption_path": str(captions)}},
            {"Tokenize": {"max_seq_length": PADDED}},
            {"RandomMask": {}},
        ]
    )


def write_batches(folder: Path, captions: list[str], count: int) -> list[float]:
    """Writes ``count`` batches of 8 as this project's training pipeline makes them, and rows.

    Returns the GFLOP that each of them needs.
    """
    from paddlevideo.loader import SampleReader

    caption_path = folder / "captions.json"
    caption_path.write_text(json.dumps([text for text in captions if text.strip(" !")]))
    write_rows(folder / "rows.npy", Clips(captions))
    reader = SampleReader(Clips(captions), training_steps(caption_path))
    order = np.random.default_rng(0).permutation(max(len(captions), count * CLIPS))
    needed = []
    for index in range(count):
        batch = reader.batch(0, order[index * CLIPS : (index + 1) * CLIPS].tolist())
        np.savez(folder / f"batch{index}.npz", **batch)
        needed.append(needed_gflop(batch))
    return needed


def read_batches(folder: Path) -> list[dict[str, np.ndarray]]:
    """Returns the batches in the order in which they were written."""
    count = len(list(folder.glob("batch*.npz")))
    return [dict(np.load(folder / f"batch{index}.npz")) for index in range(count)]


def needed_gflop(batch: Mapping[str, np.ndarray]) -> float:
    """Returns the GFLOP that a training step of the default model needs.

    Forward: what real words, regions and actions go through (no padding); in the last layer of a
    stream the positions that are pooled or predicted alone, but the keys and values of all; heads
    at labelled positions. Backward: twice that, less the gradient of the inputs' own features.
    Attention's products, about 1 %, and the optimizer, no matrix product, are left out.
    """
    words, regions, actions = (
        int(batch[key].sum()) for key in ("text_mask", "image_mask", "action_mask")
    )
    labelled = [int((batch[key] != -1).sum()) for key in LABELS]
    clips = len(batch["text_mask"])
    wide, narrow, inner = 1024, 768, 3072
    layer = 4 * narrow * narrow + 2 * narrow * inner
    tangled = 4 * narrow * wide + 2 * narrow * inner  # words and actions alike
    predicted_words, predicted_regions, predicted_actions = (clips + count for count in labelled)
    keys = 2 * narrow * narrow
    per_pair = words * (11 * layer + 2 * tangled + keys) + predicted_words * (layer - keys)
    per_pair += actions * (2 * layer + 2 * tangled + keys) + predicted_actions * (layer - keys)
    per_pair += wide * wide * (regions * (6 + 6 + 6 + 2) + predicted_regions * 4)
    per_pair += 2 * 4 * actions * wide * wide  # messages of two tangled layers
    per_pair += clips * wide * (2 * narrow + wide) + labelled[0] * narrow * (narrow + VOCABULARY)
    per_pair += labelled[1] * wide * (wide + CLASSES)
    per_pair += labelled[2] * narrow * (narrow + ACTION_CLASSES)
    features = FEATURES * (regions * wide + actions * narrow)
    return 2 * (3 * per_pair + 2 * features) / 1e9
