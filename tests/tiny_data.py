"""A tiny data set in PaddleVideo's formats, and a tiny configuration on it."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import lmdb
import numpy as np
import yaml

REGION_SIZE, ACTION_SIZE, REGION_CLASSES, ACTION_CLASSES = 12, 10, 9, 7
WORDS = ["a", "man", "dog", "cuts", "stirs", "the", "onion", "soup", "slowly", "then", "red"]


NO_DROPOUT = [
    f"MODEL.backbone.{name}_prob=0"
    for name in (
        "hidden_dropout",
        "v_hidden_dropout",
        "a_hidden_dropout",
        "attention_probs_dropout",
        "v_attention_probs_dropout",
        "a_attention_probs_dropout",
        "av_attention_probs_dropout",
        "at_attention_probs_dropout",
        "fusion_dropout",
    )
]


def caption(rng: np.random.Generator) -> str:
    return " ".join(rng.choice(WORDS, rng.integers(3, 9)))


def clip(rng: np.random.Generator) -> dict:
    regions, actions = int(rng.integers(1, 9)), int(rng.integers(1, 5))
    corner = rng.uniform(0, 100, (regions, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(5, 100, (regions, 2))], axis=1)
    return {
        "features": rng.normal(size=(regions, REGION_SIZE)).astype("float32"),
        "classes": rng.dirichlet(np.ones(REGION_CLASSES), regions).astype("float32"),
        "boxes": boxes.astype("float32"),
        "action_features": rng.normal(size=(actions, ACTION_SIZE)).astype("float32"),
        "action_classes": rng.integers(0, ACTION_CLASSES, actions),
    }


def write_training_rows(path: Path, clips: int, seed: int = 0) -> Path:
    """HowTo100M rows; the captions for negatives beside them."""
    rng = np.random.default_rng(seed)
    rows = np.empty(clips, dtype=object)
    for number in range(clips):
        c = clip(rng)
        rows[number] = (
            c["features"],
            c["classes"],
            c["boxes"],
            len(c["features"]),
            240,
            320,
            f"clip{number:03d}",
            f"{caption(rng)}!{caption(rng)}",
            c["action_features"],
            c["action_classes"],
            len(c["action_features"]),
        )
    np.save(path, rows, allow_pickle=True)
    negatives = [caption(rng) for _ in range(20)]
    path.with_name("captions.json").write_text(json.dumps(negatives))
    return path


def write_retrieval_set(folder: Path, clips: int, seed: int = 1) -> None:
    """``test.lmdb`` and ``test.csv``."""
    rng = np.random.default_rng(seed)
    lines = []
    with lmdb.open(str(folder / "test.lmdb"), map_size=1 << 24) as env, env.begin(write=True) as t:
        for number in range(clips):
            c, name = clip(rng), f"video{number}"
            record = {
                "video_id": name,
                "image_h": 240,
                "image_w": 320,
                "features": c["features"],
                "boxes": c["boxes"],
                "action_features": c["action_features"],
            }
            t.put(name.encode(), pickle.dumps(record))
            lines.append(f"{name},{caption(rng)}, number {number}")
    (folder / "test.csv").write_text("\n".join(lines) + "\n")


def configuration(folder: Path) -> dict:
    """Trains, validates and tests in about a second."""
    steps = [
        {"FeaturePadding": {"max_region_num": 8, "max_action_num": 4}},
        {"RandomCap": {"caption_path": str(folder / "captions.json")}},
        {"Tokenize": {"max_seq_length": 16}},
        {"RandomMask": {"max_seq_length": 16, "max_action_length": 4, "max_region_length": 8}},
    ]
    retrieval = {
        "format": "MSRVTTDataset",
        "file_path": str(folder / "test.csv"),
        "features_path": str(folder / "test.lmdb"),
        "max_seq_length": 16,
        "max_region_num": 9,
        "max_action_num": 4,
        "vision_feature_dim": REGION_SIZE,
        "action_feature_dim": ACTION_SIZE,
    }
    return {
        "MODEL": {
            "framework": "ActBert",
            "backbone": {
                "name": "BertForMultiModalPreTraining",
                "max_position_embeddings": 24,
                "v_target_size": REGION_CLASSES,
                "a_target_size": ACTION_CLASSES,
                "v_feature_size": REGION_SIZE,
                "a_feature_size": ACTION_SIZE,
                "num_hidden_layers": 2,
                "v_num_hidden_layers": 1,
                "a_num_hidden_layers": 1,
                "t_ent_attention_id": [1],
                "v_ent_attention_id": [0],
                "a_ent_attention_id": [0],
                "hidden_size": 16,
                "v_hidden_size": 16,
                "a_hidden_size": 16,
                "bi_hidden_size": 16,
                "intermediate_size": 32,
                "v_intermediate_size": 32,
                "a_intermediate_size": 32,
                "num_attention_heads": 2,
                "v_num_attention_heads": 2,
                "a_num_attention_heads": 2,
                "bi_num_attention_heads": 2,
            },
            "loss": {"name": "ActBertLoss"},
        },
        "DATASET": {
            "batch_size": 4,
            "test_batch_size": 2,
            "valid_batch_size": 2,
            "train": {"format": "ActBertDataset", "file_path": str(folder / "train.npy")},
            "valid": retrieval,
            "test": dict(retrieval),
        },
        "PIPELINE": {"train": {"transform": steps}},
        "OPTIMIZER": {"name": "AdamW", "learning_rate": 1e-3, "weight_decay": 0.01},
        "METRIC": {"name": "MSRVTTMetric"},
        "model_name": "Tiny",
        "epochs": 2,
        "log_interval": 1,
        "num_threads": 1,
        "output_dir": str(folder / "output"),
    }


def make_project(folder: Path, clips: int = 16, videos: int = 7) -> Path:
    """Everything for a run in ``folder``; returns the configuration's path."""
    write_training_rows(folder / "train.npy", clips)
    write_retrieval_set(folder, videos)
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(configuration(folder), sort_keys=False))
    return path
