"""A folder like a user's clone, with everything that the documentation's commands name, tiny."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import yaml
from safetensors.numpy import save_file

from tests import question_data, timeline_data, tiny_data

ROOT = Path(__file__).parents[1]
SHIPPED = ROOT / "configs" / "multimodal" / "actbert"


def make_user_folder(folder: Path) -> None:
    """``main.py``, data, a BERT, and ``configs/`` with the shipped recipes at tiny sizes."""
    (folder / "main.py").symlink_to(ROOT / "main.py")
    write_data(folder / "data")
    write_recipes(folder / "configs")
    write_bert(folder)


def write_data(folder: Path) -> None:
    howto, msrvtt, youcook = (folder / name for name in ("howto100m", "msrvtt", "youcook2_mini"))
    for made in (howto, msrvtt, youcook):
        made.mkdir(parents=True)
    tiny_data.write_training_rows(howto / "actbert_train_data.npy", 32)
    tiny_data.write_training_rows(howto / "actbert_val_data.npy", 8, seed=5)
    (howto / "captions.json").rename(howto / "caption_train.json")
    for split in ("valid", "test"):
        tiny_data.write_retrieval_set(msrvtt, 7)
        (msrvtt / "test.lmdb").rename(msrvtt / f"msrvtt_{split}.lmdb")
        (msrvtt / "test.csv").rename(msrvtt / f"MSRVTT_JSFUSION_{split}.csv")
    write_fine_tuning_data(msrvtt)
    tiny_data.write_training_rows(youcook / "train_data.npy", 8)
    tiny_data.write_retrieval_set(youcook, 7)
    timeline_data.write_mstcn(folder / "salads50")
    timeline_data.write_crosstask(folder / "salads50_steps")
    question_data.write_choices(youcook / "mc.csv", youcook / "test.csv")
    question_data.write_blanks(youcook / "fib.csv", 7)
    write_question_data(folder)


def write_question_data(folder: Path) -> None:
    """LSMDC's blanks and ActivityNet-QA's questions, with features of seven clips."""
    features = {"lsmdc": "lsmdc_features.lmdb", "activitynet_qa": "activitynet_features.lmdb"}
    for name, store in features.items():
        (folder / name).mkdir()
        tiny_data.write_retrieval_set(folder / name, 7)
        (folder / name / "test.lmdb").rename(folder / name / store)
    for split in ("training", "val", "test"):
        question_data.write_blanks(folder / "lsmdc" / f"LSMDC16_annos_{split}_FIB.csv", 7)
    for split in ("train", "val", "test"):
        path = folder / "activitynet_qa" / f"{split}_q.json"
        question_data.write_open_questions(path, 7)


def write_fine_tuning_data(folder: Path) -> None:
    """MSR-VTT's annotations and lists of 40 clips, three of them for validation."""
    tiny_data.write_retrieval_set(folder, 40)
    (folder / "test.lmdb").rename(folder / "msrvtt_features.lmdb")
    question_data.write_choices(folder / "MSR_MC_test.csv", folder / "test.csv")
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
        "actbert.yaml": {"log_interval": 1, "DATASET": {"num_workers": 0}},
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
    changes["actbert_demo.yaml"] = demo_recipe(model["MODEL"]["backbone"], widths)
    held_out = folder / "multimodal" / "actbert" / "msrvtt_validation.txt"
    held_out.parent.mkdir(parents=True)
    held_out.write_text("video3\nvideo5\nvideo7\n")
    changes |= youcook2_recipes(widths) | question_recipes(widths)
    changes |= caption_recipes(model["MODEL"]["backbone"], widths)
    changes["actbert_salads50.yaml"] = segmentation_recipe()
    changes["actbert_salads50_steps.yaml"] = step_recipe()
    for name, change in changes.items():
        recipe = {"_base_": str(SHIPPED / name), "epochs": 2, **model, **change}
        (folder / name).write_text(yaml.safe_dump(recipe))


def question_recipes(widths: dict[str, int]) -> dict[str, Any]:
    """Changes of the recipes for questions at full size."""
    sizes: dict[str, Any] = {"batch_size": 4, "num_workers": 0}
    sizes |= {split: dict(widths) for split in ("train", "valid", "test")}
    trained = {"epochs": 1, "DATASET": sizes}
    named = {split: {**widths, "clip_id": "{video}"} for split in ("train", "valid", "test")}
    return {
        "actbert_msrvtt_mc.yaml": {"DATASET": {"test": widths}},
        "actbert_lsmdc_fib.yaml": trained,
        "actbert_activitynet_qa.yaml": {**trained, "DATASET": {**sizes, **named}},
    }


def demo_recipe(backbone: dict[str, Any], widths: dict[str, int]) -> dict[str, Any]:
    """The demo's training on the tiny pre-training rows."""
    captions = {"caption_path": "data/howto100m/caption_train.json", "rate": 0.0}
    steps = [{"FeaturePadding": {"max_region_num": 8, "max_action_num": 4}}]
    steps += [{"RandomCap": captions}, {"Tokenize": {"max_seq_length": 16}}, {"RandomMask": None}]
    rows = {"file_path": "data/howto100m/actbert_train_data.npy", "exclude": None}
    return {
        "MODEL": {"backbone": {**backbone, **streams()}},
        "epochs": 1,
        "DATASET": {"batch_size": 8, "train": rows, "valid": widths, "test": widths},
        "PIPELINE": {"train": {"transform": steps}},
    }


def youcook2_recipes(widths: dict[str, int]) -> dict[str, Any]:
    """Changes of the recipes for YouCook2 mini: tiny data, a text stream of the tiny BERT."""
    data = Path("data", "youcook2_mini")
    clips = {
        "file_path": str(data / "test.csv"),
        "features_path": str(data / "test.lmdb"),
        **widths,
    }
    text = {"num_hidden_layers": 1, "hidden_size": 16, "num_attention_heads": 2}
    text |= {"t_ent_attention_id": [1], "fixed_t_layer": 1, "v_num_hidden_layers": 0}
    training = {"train": {"file_path": str(data / "train_data.npy")}}
    captions = {"caption_path": "data/howto100m/caption_train.json", "rate": 0.0}
    steps = [{"FeaturePadding": {"max_region_num": 10, "max_action_num": 1}}]
    steps += [{"RandomCap": captions}, {"Tokenize": {"max_seq_length": 20}}, {"RandomMask": None}]
    recipe = {
        "MODEL": {"backbone": {**text, "a_num_hidden_layers": 0, **streams()}},
        "DATASET": {"batch_size": 8, **training, "test": clips},
        "PIPELINE": {"train": {"transform": steps}},
    }
    held_out = {"train": {**training["train"], "exclude": None}, "valid": {**clips, "only": None}}
    validation = {**recipe, "DATASET": {**recipe["DATASET"], **held_out}}
    names = ("actbert_youcook2_mini.yaml", "actbert_youcook2_mini_validation.yaml")
    questions = {"features_path": clips["features_path"], **widths}
    choices = {"file_path": str(data / "mc.csv"), **questions}
    blanks = {"file_path": str(data / "fib.csv"), **questions}
    blank_model = {**text, "t_ent_attention_id": [0], "fixed_t_layer": 0, **streams()}
    blank_model |= {"num_hidden_layers": 0, "a_num_hidden_layers": 0}
    return {
        **dict(zip(names, (recipe, validation), strict=True)),
        "actbert_youcook2_mini_mc.yaml": {
            **recipe,
            "DATASET": {**recipe["DATASET"], "test": choices},
        },
        "actbert_youcook2_mini_fib.yaml": {
            "MODEL": {"backbone": blank_model, "head": {"components": 2}},
            "DATASET": {"batch_size": 4, "train": blanks, "test": blanks},
        },
    }


def caption_recipes(backbone: dict[str, Any], widths: dict[str, int]) -> dict[str, Any]:
    """Changes of the recipes for captions: tiny data, and a text stream of the tiny BERT."""
    data = Path("data", "youcook2_mini")
    files = {"file_path": str(data / "test.csv"), "features_path": str(data / "test.lmdb")}
    head = {"width": 16, "num_attention_heads": 2, "beam": 2}
    fitted = {**head, "words": 20, "fitted_words": 8, "neighbours": 3}
    text = {"num_hidden_layers": 1, "hidden_size": 16, "num_attention_heads": 2}
    text |= {"t_ent_attention_id": [1], "fixed_t_layer": 1}
    text |= {"v_num_hidden_layers": 0, "a_num_hidden_layers": 0}

    def recipe(*splits: str, head: dict[str, Any] = head, **more: Any) -> dict[str, Any]:
        clips = {split: {**files, **widths} for split in splits}
        if "valid" in splits:
            clips["train"]["exclude"] = clips["valid"]["only"] = None
        sizes = {"batch_size": 3, "num_workers": 0, "test_num_workers": 0}
        model = {"backbone": {**backbone, **streams(), **more}, "head": head}
        metric = {"METRIC": {"training_captions": files["file_path"]}} if more else {}
        return {"MODEL": model, "DATASET": {**sizes, **clips}, **metric}

    return {
        "actbert_youcook2_caption.yaml": recipe("train", "test"),
        "actbert_demo_caption.yaml": recipe("train", "valid", "test"),
        "actbert_youcook2_mini_caption.yaml": recipe("train", "test", head=fitted, **text),
        "actbert_youcook2_mini_caption_validation.yaml": recipe(
            "train", "valid", "test", head=fitted, **text
        ),
    }


def segmentation_recipe() -> dict[str, Any]:
    """Segmentation of four tiny videos, two of them for the test."""
    data = Path("data", "salads50")
    keys = timeline_data.mstcn_keys(data)
    bundle = str(data / "splits" / "test.bundle")
    sizes = {"a_feature_size": timeline_data.WIDTH, "v_feature_size": keys["vision_feature_dim"]}
    return {
        "MODEL": {"backbone": sizes},
        "DATASET": {
            "train": {**keys, "exclude": bundle},
            "test": {**keys, "file_path": bundle},
        },
    }


def step_recipe() -> dict[str, Any]:
    """Steps of three tiny videos, one of them for the test."""
    data = Path("data", "salads50_steps")
    keys, held_out = timeline_data.crosstask_keys(data), str(data / "videos_val.csv")
    sizes = {"a_feature_size": timeline_data.WIDTH, "v_feature_size": keys["vision_feature_dim"]}
    return {
        "MODEL": {"backbone": sizes},
        "DATASET": {
            "batch_size": 8,
            "train": {**keys, "exclude": held_out},
            "test": {**keys, "only": held_out},
        },
    }


def streams() -> dict[str, int]:
    """Sizes of the tiny data, and small widths."""
    classes = {"v_target_size": tiny_data.REGION_CLASSES, "a_target_size": tiny_data.ACTION_CLASSES}
    widths = {"v_feature_size": tiny_data.REGION_SIZE, "a_feature_size": tiny_data.ACTION_SIZE}
    return {**classes, **widths}


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
