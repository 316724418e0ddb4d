"""Random clips with padded regions and actions, and trainers on them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.recipe import quiet_trainer
from benchmarks.sides import ROOT
from gpu_checks.result import Place

WORDS = [
    "a",
    "man",
    "dog",
    "cuts",
    "stirs",
    "the",
    "red",
    "onion",
    "soup",
    "slowly",
    "then",
    "pours",
    "it",
    "into",
    "hot",
    "pan",
]
#: The backbone on a CPU.
SMALLER = {
    **{f"{stream}hidden_size": 32 for stream in ("", "v_", "a_", "bi_")},
    **{"num_hidden_layers": 2, "v_num_hidden_layers": 1, "a_num_hidden_layers": 1},
    **{"t_ent_attention_id": [1], "v_ent_attention_id": [0], "a_ent_attention_id": [0]},
}
#: Gradients by the name of the parameter.
Gradients = dict[str, np.ndarray]
#: Removes what compares a clip with other captions of its batch, so that losses are sums over clips
#: and do not depend on how a step is divided into batches.
ALONE = (
    "MODEL.retrieval_head=null",
    "MODEL.match_negatives=0",
    "MODEL.hard_negatives=0",
    "MODEL.loss.match_weight=1.0",
)


@dataclass(frozen=True)
class Shape:
    """The sizes of clips: ``features`` and ``classes`` of regions and actions, and counts."""

    features: tuple[int, int] = (134, 233)
    classes: tuple[int, int] = (37, 15)
    regions: int = 9
    actions: int = 5


#: The sizes of the released model.
FULL = Shape((2048, 2048), (1601, 700), 36, 5)


def write_clips(folder: Path, count: int, shape: Shape) -> Path:
    """Writes a store of random clips with 1 to ``shape``'s number of regions and actions."""
    from paddlevideo.loader.store import ClassTargets, Clip, Sizes, StoreWriter

    rng = np.random.default_rng(0)
    with StoreWriter(folder, Sizes(*shape.features, *shape.classes)) as writer:
        for index in range(count):
            regions = int(rng.integers(1, shape.regions + 1))
            actions = int(rng.integers(1, shape.actions + 1))
            corners = rng.uniform(0, 100, (regions, 2))
            targets = rng.dirichlet(np.full(shape.classes[0], 0.1), regions)
            clip = Clip(
                f"clip{index:04d}",
                rng.normal(size=(regions, shape.features[0])).astype(np.float32),
                np.concatenate([corners, corners + 50], axis=1).astype(np.float32),
                *(240, 320),
                rng.normal(size=(actions, shape.features[1])).astype(np.float32),
                rng.integers(0, shape.classes[1], actions),
                ClassTargets.of(targets),
                [" ".join(rng.choice(WORDS, rng.integers(3, 13)))],
            )
            writer.add(clip)
        writer.finish()
    return folder


def steps_on(store: Path, shape: Shape) -> list[dict[str, Any]]:
    """Returns the training pipeline: half of the captions are other clips', and masks."""
    counts = {"max_region_num": shape.regions, "max_action_num": shape.actions}
    return [
        {"FeaturePadding": counts},
        {"RandomCap": {"caption_path": str(store)}},
        {"Tokenize": {"max_seq_length": 36}},
        {"RandomMask": None},
    ]


def write_recipe(folder: Path, place: Place) -> Path:
    """Writes clips and a recipe of the small model, even smaller on a CPU; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    shape = Shape()
    clips = 512 if place.large else 64
    store = write_clips(folder / "clips.store", clips, shape)
    backbone = {} if place.large else SMALLER
    recipe = {
        "_base_": str(ROOT / "configs" / "_base_" / "actbert_small.yaml"),
        "model_name": "Check",
        "epochs": 40,
        "log_interval": 1,
        "MODEL": {"backbone": backbone, "hard_negatives": 0},
        "DATASET": {
            "batch_size": 32 if place.large else 8,
            "train": {"file_path": str(store)},
            "valid": None,
            "test": None,
        },
        "PIPELINE": {"train": {"transform": steps_on(store, shape)}},
    }
    path = folder / "recipe.yaml"
    path.write_text(json.dumps(recipe))  # JSON is YAML too
    return path


@contextmanager
def trainer_of(
    recipe: Path | str, folder: Path, *overrides: str, weights: Path | None = None
) -> Iterator[Any]:
    """Returns a context with the trainer of a recipe, whose output goes to ``folder``."""
    trainer = quiet_trainer(str(recipe), [*overrides, f"output_dir={folder}"], folder, weights)
    trainer.model.train()
    trainer.meters.draw = lambda: None  # curves at the end, which take a second
    try:
        yield trainer
    finally:
        trainer.saver.close()
        trainer.meters.close()
        trainer.run.lock.release()


def first_batch(trainer: Any) -> dict[str, Any]:
    """Returns the first batch of the first epoch."""
    return next(iter(trainer.loader.epoch(0)))


def save_weights(trainer: Any, path: Path) -> Path:
    """Writes the weights, or their float32 masters, under published names; returns ``path``."""
    import paddle

    from paddlevideo.solver.state import masters_in, state_by_structured_name

    masters = masters_in(state_by_structured_name(trainer.updater.optimizer, trainer.model))
    state = {name: in_float32(tensor) for name, tensor in trainer.model.state_dict().items()}
    paddle.save(trainer.model.to_released({**state, **masters}), str(path))
    return path


def in_float32(tensor: Any) -> np.ndarray:
    """Returns a tensor as an array, half types as float32."""
    import paddle

    half = tensor.dtype in (paddle.float16, paddle.bfloat16)
    return (tensor.astype("float32") if half else tensor).numpy()


def losses_and_gradients(
    trainer: Any, batch: Mapping[str, Any]
) -> tuple[dict[str, float], Gradients]:
    """Returns the losses of a batch, and its gradients.

    The loss scale is lowered where they overflow, as training does, and restored.
    """
    scaler = trainer.amp.scaler
    before = scaler.state_dict()
    while True:
        with trainer.amp.autocast():
            losses = trainer.model(batch)
        trainer.updater.backward(losses["loss"])
        gradients = {
            name: in_float32(parameter.grad) / scaler.value
            for name, parameter in trainer.model.named_parameters()
            if parameter.grad is not None
        }
        trainer.model.clear_gradients()
        is_finite = all(np.isfinite(gradient).all() for gradient in gradients.values())
        if is_finite or scaler.value <= 1:
            break
        scaler.lower()
    if before:
        scaler.load_state_dict(before)
    return {name: float(loss) for name, loss in losses.items()}, gradients


def difference(ours: Mapping[str, float], theirs: Mapping[str, float]) -> float:
    """Returns the largest relative difference of two maps of losses.

    Infinite if they do not have the same losses, NaN if one is not finite.
    """
    if ours.keys() != theirs.keys():
        return math.inf
    left, right = (np.array([losses[name] for name in theirs]) for losses in (ours, theirs))
    return float(np.max(np.abs(left - right) / np.maximum(np.abs(right), 1e-8)))


def cosine(ours: Gradients, theirs: Gradients) -> float:
    """Returns the cosine of two gradients of all parameters; NaN if some have none in one."""
    if ours.keys() != theirs.keys():
        return math.nan
    left, right = (
        np.concatenate([gradients[name].ravel().astype(np.float64) for name in theirs])
        for gradients in (ours, theirs)
    )
    return float(left @ right / np.linalg.norm(left) / np.linalg.norm(right))
