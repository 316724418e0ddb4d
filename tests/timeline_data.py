"""Small videos with a label a second, in the layout of MS-TCN, and in COIN's form."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

WIDTH = 6
CLASSES = ("background", "cut_onion", "stir_soup", "add_salt")


def labels_of(video: int, seconds: int) -> np.ndarray:
    """Blocks of five seconds; the class of a block depends on the video."""
    return (np.arange(seconds) // 5 + video) % len(CLASSES)


def features_of(labels: np.ndarray, seed: int = 0) -> np.ndarray:
    """(T, WIDTH): the class of the second, with noise."""
    noise = np.random.default_rng(seed).normal(0, 0.3, (len(labels), WIDTH))
    return (np.eye(WIDTH)[labels] + noise).astype(np.float32)


def write_mstcn(folder: Path, lengths: tuple[int, ...] = (23, 31, 40, 17)) -> Path:
    """``features/``, ``groundTruth/``, ``mapping.txt`` and ``splits/`` of videos v0, v1, ..."""
    for name in ("features", "groundTruth", "splits"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for video, seconds in enumerate(lengths):
        labels = labels_of(video, seconds)
        np.save(folder / "features" / f"v{video}.npy", features_of(labels, video).T)
        text = "".join(f"{CLASSES[label]}\n" for label in labels)
        (folder / "groundTruth" / f"v{video}.txt").write_text(text)
    mapping = "".join(f"{number} {name}\n" for number, name in enumerate(CLASSES))
    (folder / "mapping.txt").write_text(mapping)
    (folder / "splits" / "test.bundle").write_text("v0.txt\nv2.txt\n")
    return folder


def mstcn_keys(folder: Path) -> dict:
    return {
        "feature_path": str(folder / "features"),
        "gt_path": str(folder / "groundTruth"),
        "actions_map_file_path": str(folder / "mapping.txt"),
        "action_feature_dim": WIDTH,
        "vision_feature_dim": 3,
        "max_action_num": 16,
        "window_overlap": 4,
    }


def write_coin(folder: Path) -> Path:
    """``COIN.json`` and ``features/``: two videos to train on, one to test."""
    (folder / "features").mkdir(parents=True, exist_ok=True)
    database = {}
    for number, subset in enumerate(("training", "training", "testing")):
        duration = 29.5 + number
        steps = [(3.2, 9.0, 1), (12.0, 20.5, 2)]
        labels = np.zeros(30 + number, np.int64)
        for start, end, step in steps:
            labels[int(start) : int(np.ceil(end))] = step
        np.save(folder / "features" / f"c{number}.npy", features_of(labels, number))
        database[f"c{number}"] = {
            "duration": duration,
            "subset": subset,
            "annotation": [
                {"id": str(step), "segment": [start, end], "label": CLASSES[step]}
                for start, end, step in steps
            ],
        }
    path = folder / "COIN.json"
    path.write_text(json.dumps({"database": database}))
    return path


def small_model(**head: object) -> dict:
    """A MODEL section for these features."""
    return {
        "framework": "ActBertTask",
        "head": {
            "name": "FrameHead",
            **{"width": 16, "layers": 3, "stages": 2, "dropout": 0.0, **head},
        },
        "backbone": {
            "name": "BertForMultiModalPreTraining",
            **{"vocab_size": 2, "max_position_embeddings": 2, "v_feature_size": 3},
            **{"v_target_size": 1, "a_feature_size": WIDTH, "a_target_size": 1},
            **{"num_hidden_layers": 1, "v_num_hidden_layers": 1, "a_num_hidden_layers": 1},
            **{f"{stream}hidden_size": 16 for stream in ("", "v_", "a_", "bi_")},
            **{f"{stream}intermediate_size": 16 for stream in ("", "v_", "a_")},
            **{f"{stream}num_attention_heads": 2 for stream in ("", "v_", "a_", "bi_")},
            **{f"{stream}_ent_attention_id": [0] for stream in "tva"},
        },
    }


STEPS = ("cut onion", "stir soup", "add salt")


def write_crosstask(folder: Path, lengths: tuple[int, ...] = (24, 30, 27)) -> Path:
    """CrossTask's release made small: two tasks, whose second has two steps; videos x0, x1, ..."""
    for name in ("features", "annotations"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    cards = [("7", "Make Soup", STEPS), ("8", "Salt Soup", STEPS[1:])]
    text = "".join(
        f"{task}\n{title}\nhttps://example.org\n{len(steps)}\n{','.join(steps)}\n\n"
        for task, title, steps in cards
    )
    (folder / "tasks_primary.txt").write_text(text)
    lines = []
    for video, seconds in enumerate(lengths):
        task, _, steps = cards[video % 2]
        labels, rows = np.zeros(seconds, np.int64), []
        for index, step in enumerate(steps):
            start = 2 + 7 * index
            labels[start : start + 5] = 1 + STEPS.index(step)
            rows.append(f"{index + 1},{start + 0.4},{start + 4.5}\n")
        np.save(folder / "features" / f"x{video}.npy", features_of(labels, video))
        (folder / "annotations" / f"{task}_x{video}.csv").write_text("".join(rows))
        lines.append(f"{task},x{video},https://example.org/x{video}\n")
    lines.append("7,unseen,https://example.org/unseen\n")  # has no annotation
    (folder / "videos.csv").write_text("".join(lines))
    (folder / "videos_val.csv").write_text(lines[0])
    return folder


def crosstask_keys(folder: Path) -> dict:
    return {
        "task_path": str(folder / "tasks_primary.txt"),
        "file_path": str(folder / "videos.csv"),
        "annotation_path": str(folder / "annotations"),
        "features_path": str(folder / "features"),
        "max_seq_length": 8,
        "max_region_num": 2,
        "max_action_num": 3,
        "vision_feature_dim": 3,
        "action_feature_dim": WIDTH,
    }


def matching_model(**more: object) -> dict:
    """A MODEL section that matches these features with texts."""
    backbone = {**small_model()["backbone"], "vocab_size": 30522, "max_position_embeddings": 8}
    dropout = {
        f"{name}_dropout_prob": 0.0
        for name in (
            *("hidden", "v_hidden", "a_hidden", "attention_probs", "v_attention_probs"),
            *("a_attention_probs", "av_attention_probs", "at_attention_probs", "fusion"),
        )
    }
    return {"framework": "ActBert", "backbone": {**backbone, **dropout}, **more}
