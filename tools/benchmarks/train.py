"""Optimizer steps of pre-training, full-size model: this project against PaddleVideo 2.3.1."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import peer
from benchmarks.recipe import quiet_trainer
from benchmarks.sides import (
    Side,
    add_speeds,
    add_threads,
    add_turns,
    matrix_peak,
    run_side,
    serve,
    show_sides,
    shown,
    spread,
    take_turns,
)
from benchmarks.train_batches import CLIPS, read_batches, read_captions, write_batches

PHASES = ("forward", "backward", "optimizer")
COMPARED_STEPS, LARGEST_DIFFERENCE = 5, 1e-4
DECAY = 1e-4  # L2, as in configs/multimodal/actbert/actbert.yaml
LOSS_KEYS = ("text_labels", "image_label", "image_target", "action_label", "next_sentence_label")

#: Forward, backward and optimizer on one batch: seconds of each, and the loss.
Step = Callable[[Any], tuple[list[float], float]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``benchmark.py train``."""
    from paddlevideo.utils.options import as_path
    from paddlevideo.utils.ranges import count, positive

    parser.add_argument("--captions", type=as_path, help="CSV with a header, captions in the last")
    parser.add_argument("--steps", type=count, default=2, help="optimizer steps in a turn")
    parser.add_argument("--learning_rate", type=positive, default=1e-5, help="on both sides")
    add_threads(parser)
    add_turns(parser)


# ---------------------------------------------------------------------------- the sides


def serve_ours(options: argparse.Namespace) -> None:
    """This project's side; its step is ``Trainer.train_step``.

    The time before the backward pass counts as forward (it includes the exchange between ranks),
    the time after it as optimizer (it includes the gradient norm and the meters).
    """
    trainer = trainer_of(options)
    prepare(trainer.model, options.no_dropout)
    backward = trainer.updater.backward
    times: list[float] = []
    losses: list[Any] = []

    def timed_backward(loss: Any) -> None:
        times.append(time.perf_counter())
        backward(loss)
        times.append(time.perf_counter())
        losses.append(loss)

    trainer.updater.backward = timed_backward

    def step(batch: dict[str, Any]) -> tuple[list[float], float]:
        times[:] = [time.perf_counter()]
        trainer.train_step([batch])
        times.append(time.perf_counter())
        return np.diff(times).tolist(), float(losses.pop())

    serve_steps(step, read_batches(Path(options.inputs)), options)


def trainer_of(options: argparse.Namespace) -> Any:
    """Returns a trainer of the shipped recipe, with the weights that both sides start from."""
    inputs, weights = Path(options.inputs), Path(options.weights)
    are_saved = weights.exists()
    optimizer = f"{{name: Adam, learning_rate: {options.learning_rate}, weight_decay: {DECAY}}}"
    overrides = [
        f"DATASET.train.file_path={inputs / 'rows.npy'}",
        f"PIPELINE.train.transform.1.RandomCap.caption_path={inputs / 'captions.json'}",
        f"DATASET.batch_size={CLIPS}",
        f"OPTIMIZER={optimizer}",
        f"num_threads={options.threads}",
    ]
    folder = inputs / "run"
    trainer = quiet_trainer("actbert.yaml", overrides, folder, weights if are_saved else None)
    if not are_saved:
        peer.save_weights(trainer.model, options.weights)
    return trainer


def serve_peer(options: argparse.Namespace) -> None:
    """PaddleVideo's side, with the lines of its training loop.

    Its batches are tensors before the time is taken, as its loader returns them.
    """
    import paddle

    names = ("modeling.backbones.actbert", "modeling.losses.actbert_loss")
    backbones, losses = peer.load(options.peer, names)
    paddle.base.core.set_num_threads(options.threads)
    model = peer.with_weights(backbones.BertForMultiModalPreTraining(), options.weights)
    criterion = losses.ActBertLoss()
    prepare(model, options.no_dropout)
    optimizer = paddle.optimizer.Adam(
        learning_rate=options.learning_rate,
        parameters=model.parameters(),
        weight_decay=paddle.regularizer.L2Decay(DECAY),
    )

    def step(batch: dict[str, Any]) -> tuple[list[float], float]:
        times = [time.perf_counter()]
        predictions = model(*(batch[key] for key in peer.BACKBONE_KEYS))
        loss = paddle.mean(criterion(*predictions, *(batch[key] for key in LOSS_KEYS)))
        times.append(time.perf_counter())
        loss.backward()
        times.append(time.perf_counter())
        optimizer.step()
        optimizer.clear_grad()
        times.append(time.perf_counter())
        return np.diff(times).tolist(), float(loss)

    read = read_batches(Path(options.inputs))
    batches = [{key: paddle.to_tensor(x) for key, x in batch.items()} for batch in read]
    serve_steps(step, batches, options)


def prepare(model: Any, no_dropout: bool) -> None:
    """Sets training mode, without dropout if ``no_dropout``."""
    import paddle

    model.train()
    if no_dropout:
        for layer in model.sublayers(include_self=True):
            if isinstance(layer, paddle.nn.Dropout):
                layer.p = 0.0


def serve_steps(step: Step, batches: Sequence[Any], options: argparse.Namespace) -> None:
    """Trains on the batches in turn; without dropout, reports the losses of the first ones."""
    if options.no_dropout:
        losses = [step(batch)[1] for batch in batches[:COMPARED_STEPS]]
        serve(dict, {"losses": losses})
        return
    following = cycle(batches)

    def work() -> dict[str, Any]:
        times = [step(next(following))[0] for _ in range(options.steps)]
        phases = dict(zip(PHASES, np.sum(times, axis=0).tolist(), strict=True))
        # Not timed. On a busy machine the best of many turns is closest to the peak.
        return {"seconds": float(np.sum(times)), "phases": phases, "peak": matrix_peak()}

    serve(work)


# ------------------------------------------------------------------------ comparison


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Compares the losses without dropout, then alternates both sides with it."""
    names = ["ours"] if options.no_peer else ["ours", "peer"]
    with tempfile.TemporaryDirectory() as folder:
        # The first ones warm both sides up.
        count = max((options.rounds + 1) * options.steps, COMPARED_STEPS)
        needed = write_batches(Path(folder), read_captions(options.captions), count)

        def side(name: str, no_dropout: bool) -> Side:
            files = {"inputs": folder, "weights": f"{folder}/weights.pdparams"}
            return Side("benchmarks.train", name, options, **files, no_dropout=no_dropout)

        losses = {}
        for name in names:
            alone = side(name, no_dropout=True)
            losses[name] = alone.about["losses"]
            alone.close()
        sides = {name: side(name, no_dropout=False) for name in names}
        turns = take_turns(sides, options.rounds)
    report = summarise(options, turns)
    compare(report, losses)
    timed = needed[options.steps : options.steps * (options.rounds + 1)]
    report["ours"] |= shares(timed, turns["ours"], report["ours"]["matrix_peak_gflops"])
    return report


def summarise(
    options: argparse.Namespace, turns: Mapping[str, list[dict[str, Any]]]
) -> dict[str, Any]:
    """Returns samples per second, milliseconds of each phase, memory, and the ratio."""
    report: dict[str, Any] = {
        "threads": options.threads,
        "clips": CLIPS,
        "captions": str(options.captions.name) if options.captions else "drawn",
        "peer_settings": "tuned" if options.tune_peer else "as it comes",
    }
    for name, done in turns.items():
        report[name] = {
            "milliseconds": {
                phase: spread([1e3 * turn["phases"][phase] / options.steps for turn in done])
                for phase in PHASES
            },
            "matrix_peak_gflops": max(turn["peak"] for turn in done),
            "peak_memory_gb": done[-1]["peak_memory_gb"],
        }
    samples = CLIPS * options.steps
    speeds = {n: [samples / turn["seconds"] for turn in done] for n, done in turns.items()}
    add_speeds(report, "samples", speeds)
    return report


def compare(report: dict[str, Any], losses: dict[str, list[float]]) -> None:
    """Adds the losses of both sides without dropout and their relative differences."""
    report["losses"] = losses
    if "peer" in losses:
        ours, theirs = (np.asarray(losses[name]) for name in ("ours", "peer"))
        differences = (abs(ours - theirs) / abs(theirs)).tolist()
        report["loss_differences"] = differences
        report["losses_agree"] = max(differences) < LARGEST_DIFFERENCE


def shares(
    needed: Sequence[float], turns: Sequence[dict[str, Any]], peak: float
) -> dict[str, float]:
    """Returns the GFLOP of a step, and the fraction of the matrix peak that it reaches.

    ``share_of_peak`` is of the whole step, ``share_of_peak_in_passes`` of forward and backward.
    """
    total = sum(turn["seconds"] for turn in turns)
    passes = total - sum(turn["phases"]["optimizer"] for turn in turns)
    return {
        "gflop_per_step": float(np.mean(needed)),
        "share_of_peak": sum(needed) / total / peak,
        "share_of_peak_in_passes": sum(needed) / passes / peak,
    }


def show(report: dict[str, Any]) -> None:
    """Prints the report."""
    print(
        f"steps of {report['clips']} clips, captions {report['captions']}, "
        f"{report['threads']} thread(s), peer {report['peer_settings']}"
    )
    show_sides(report, "samples", {n: note(report[n]) for n in ("peer", "ours") if n in report})
    ours = report["ours"]
    print(
        f"  ours: {ours['gflop_per_step']:.0f} GFLOP needed a step, "
        f"{100 * ours['share_of_peak']:.0f} % of the peak, "
        f"{100 * ours['share_of_peak_in_passes']:.0f} % in forward and backward"
    )
    if "losses_agree" in report:
        differences = " ".join(f"{x:.1e}" for x in report["loss_differences"])
        verdict = "agree" if report["losses_agree"] else "DIFFER"
        print(f"  losses without dropout {verdict}: relative differences {differences}")


def note(side: Mapping[str, Any]) -> str:
    """Returns the milliseconds of each phase, the matrix peak and the memory of a side as text."""
    phases = ", ".join(f"{name} {shown(x, 0).strip()}" for name, x in side["milliseconds"].items())
    return (
        f"; ms a step: {phases}; matrix peak {side['matrix_peak_gflops']:.0f} GFLOP/s, "
        f"memory {side['peak_memory_gb']:.2f} GB"
    )


if __name__ == "__main__":
    run_side(ours=serve_ours, peer=serve_peer)
