"""A folder like a user's clone, with everything that the documentation's commands name, tiny."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import yaml
from safetensors.numpy import save_file

from tests import tiny_data

ROOT = Path(__file__).parents[1]


def make_user_folder(folder: Path) -> None:
    """``main.py``, data, a BERT, and ``configs/`` with the shipped recipes at tiny sizes."""
    (folder / "main.py").symlink_to(ROOT / "main.py")
    write_data(folder / "data")
    write_recipes(folder / "configs")
    write_bert(folder)


def write_data(folder: Path) -> None:
    howto, msrvtt = folder / "howto100m", folder / "msrvtt"
    howto.mkdir(parents=True)
    msrvtt.mkdir()
    tiny_data.write_training_rows(howto / "actbert_train_data.npy", 32)
    tiny_data.write_training_rows(howto / "actbert_val_data.npy", 8, seed=5)
    (howto / "captions.json").rename(howto / "caption_train.json")
    for split in ("valid", "test"):
        tiny_data.write_retrieval_set(msrvtt, 7)
        (msrvtt / "test.lmdb").rename(msrvtt / f"msrvtt_{split}.lmdb")
        (msrvtt / "test.csv").rename(msrvtt / f"MSRVTT_JSFUSION_{split}.csv")
    write_fine_tuning_data(msrvtt)


def write_fine_tuning_data(folder: Path) -> None:
    """MSR-VTT's annotations and lists of 40 clips, three of them for validation."""
    tiny_data.write_retrieval_set(folder, 40)
    (folder / "test.lmdb").rename(folder / "msrvtt_features.lmdb")
    (folder / "test.csv").unlink()
    sentences = [
        {"video_id": f"video{clip}", "caption": f"clip {clip} and {word}", "sen_id": 0}
        for clip in range(40)
        for word in ("a dog", "a man")
    ]
    text = json.dumps({"videos": [], "sentences": sentences})
    (folder / "MSRVTT_data.json").write_text(text)
    names = "".join(f"video{clip}\n" for clip in range(40))
    (folder / "MSRVTT_train.9k.csv").write_text(f"video_id\n{names}")


def write_recipes(folder: Path) -> None:
    folder.mkdir()
    backbone = tiny_data.configuration(folder)["MODEL"]["backbone"]
    model = {"MODEL": {"backbone": {**backbone, "max_position_embeddings": 36}}}
    widths = {
        "vision_feature_dim": tiny_data.REGION_SIZE,
        "action_feature_dim": tiny_data.ACTION_SIZE,
    }
    changes: dict[str, dict[str, Any]] = {
        "actbert.yaml": {"epochs": 2, "log_interval": 1, "DATASET": {"num_workers": 0}},
        "actbert_msrvtt.yaml": {"DATASET": {"test": widths}},
        "actbert_two_stage.yaml": {
            "MODEL": {**model["MODEL"], "top_k": 3},
            "epochs": 1,
            "DATASET": {"batch_size": 8, "num_workers": 0, "valid": widths, "test": widths},
        },
        "actbert_msrvtt_finetune.yaml": {
            "epochs": 1,
            "DATASET": {"num_workers": 0, "train": widths, "valid": widths, "test": widths},
        },
    }
    held_out = folder / "multimodal" / "actbert" / "msrvtt_validation.txt"
    held_out.parent.mkdir(parents=True)
    held_out.write_text("video3\nvideo5\nvideo7\n")
    for name, change in changes.items():
        shipped = ROOT / "configs" / "multimodal" / "actbert" / name
        (folder / name).write_text(yaml.safe_dump({"_base_": str(shipped), **model, **change}))


def write_bert(folder: Path) -> None:
    """Parts of a BERT of the tiny size: a bare Paddle file and a Hugging Face one."""
    words = np.zeros((30522, 16), "float32")
    query = np.ones((16, 16), "float32")
    names = ("embeddings.word_embeddings.weight", "encoder.layer.0.attention.self.query.weight")
    state = dict(zip(names, (words, query), strict=True))
    (folder / "bert").mkdir()
    save_file(state, folder / "bert" / "model.safetensors")
    tensors = {f"bert.{name}": paddle.to_tensor(array) for name, array in state.items()}
    paddle.save(tensors, str(folder / "bert-base-uncased.pdparams"))
