"""Optimizer steps of pre-training, full-size model: this project against PaddleVideo 2.3.1."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import peer
from benchmarks.sides import Side, matrix_peak, ratios, serve
from benchmarks.train_batches import (
    CLIPS,
    read_batches,
    read_captions,
    write_batches,
)

MODULE = "benchmarks.train"
PHASES = ("forward", "backward", "optimizer")
COMPARED_STEPS, LARGEST_DIFFERENCE = 5, 1e-4
DECAY = 1e-4  # L2, as in configs/multimodal/actbert/actbert.yaml
#: What PaddleVideo's backbone takes, in its order.
BACKBONE_KEYS = (
    *("text_ids", "action_feat", "image_feat", "image_loc"),
    *("token_type_ids", "text_mask", "image_mask", "action_mask"),
)
LOSS_KEYS = ("text_labels", "image_label", "image_target", "action_label", "next_sentence_label")

#: Forward, backward and optimizer on one batch: seconds of each, and the loss.
Step = Callable[[dict[str, Any]], tuple[list[float], float]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``benchmark.py train``."""
    from paddlevideo.utils.options import as_path
    from paddlevideo.utils.ranges import count, positive

    parser.add_argument("--threads", type=count, default=2, help="on both sides (default 2)")
    parser.add_argument("--captions", type=as_path, help="CSV with a header, captions in the last")
    parser.add_argument("--rounds", type=count, default=5, help="alternations (default 5)")
    parser.add_argument("--steps", type=count, default=2, help="optimizer steps in a turn")
    parser.add_argument("--learning_rate", type=positive, default=1e-5, help="on both sides")
    parser.add_argument("--no_peer", action="store_true", help="measure this project alone")
    parser.add_argument(
        "--tune_peer", action="store_true", help="give the peer this project's process settings"
    )
    parser.add_argument(
        "--peer", type=as_path, default=Path("build/peer"), help="where ppvideo goes"
    )
    parser.add_argument("--json", type=as_path, help="write the numbers here")


# ---------------------------------------------------------------------------- the sides


def our_step(arguments: argparse.Namespace) -> tuple[Step, Callable[[], list[Any]]]:
    """This project's side: the trainer's own step, as ``main.py -c actbert.yaml`` takes it.

    What the trainer does before the forward pass (it waits for the other ranks) counts as forward,
    what it does after the backward pass (gradient norm, meters) as optimizer.
    """
    trainer = trainer_of(arguments)
    prepare(trainer.model, arguments.no_dropout)
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

    return step, lambda: read_batches(arguments.inputs)


def trainer_of(arguments: argparse.Namespace) -> Any:
    """A trainer of the shipped recipe, which starts from the weights that both sides share."""
    import paddle

    import paddlevideo as pv
    from paddlevideo.config import import_parts
    from paddlevideo.tasks.setup import start_run
    from paddlevideo.tasks.train import Trainer

    import_parts()
    known = arguments.weights.exists()
    captions = arguments.inputs / "captions.json"
    optimizer = f"{{name: Adam, learning_rate: {arguments.learning_rate}, weight_decay: {DECAY}}}"
    overrides = [
        f"DATASET.train.file_path={arguments.inputs / 'rows.npy'}",
        f"PIPELINE.train.transform.1.RandomCap.caption_path={captions}",
        f"DATASET.batch_size={CLIPS}",
        f"OPTIMIZER={optimizer}",
        f"num_threads={arguments.threads}",
        f"log_interval={1 << 30}",
        "log_level=ERROR",
        *([f"weights={arguments.weights}"] if known else []),
    ]
    config = pv.load_config("actbert.yaml", overrides)
    run = start_run(config, "train", folder=arguments.inputs / "run")
    trainer = Trainer(run, None)
    if not known:
        state = trainer.model.to_released(trainer.model.state_dict())
        paddle.save(state, str(arguments.weights))
    return trainer


def peer_step(arguments: argparse.Namespace) -> tuple[Step, Callable[[], list[Any]]]:
    """PaddleVideo's side: the lines of its train step and of its training loop.

    Its batches are tensors before the clock starts, as its loader hands them out.
    """
    import paddle

    names = ("modeling.backbones.actbert", "modeling.losses.actbert_loss")
    backbones, losses = peer.load(arguments.peer, names)
    paddle.base.core.set_num_threads(arguments.threads)
    model, criterion = backbones.BertForMultiModalPreTraining(), losses.ActBertLoss()
    state = paddle.load(str(arguments.weights))
    model.set_state_dict({name.removeprefix("backbone."): x for name, x in state.items()})
    prepare(model, arguments.no_dropout)
    optimizer = paddle.optimizer.Adam(
        learning_rate=arguments.learning_rate,
        parameters=model.parameters(),
        weight_decay=paddle.regularizer.L2Decay(DECAY),
    )

    def step(batch: dict[str, Any]) -> tuple[list[float], float]:
        times = [time.perf_counter()]
        predictions = model(*(batch[key] for key in BACKBONE_KEYS))
        loss = paddle.mean(criterion(*predictions, *(batch[key] for key in LOSS_KEYS)))
        times.append(time.perf_counter())
        loss.backward()
        times.append(time.perf_counter())
        optimizer.step()
        optimizer.clear_grad()
        times.append(time.perf_counter())
        return np.diff(times).tolist(), float(loss)

    def batches() -> list[Any]:
        read = read_batches(arguments.inputs)
        return [{k: paddle.to_tensor(x) for k, x in batch.items()} for batch in read]

    return step, batches


def prepare(model: Any, no_dropout: bool) -> None:
    """Training mode, without dropout if so asked."""
    import paddle

    model.train()
    if no_dropout:
        for layer in model.sublayers(include_self=True):
            if isinstance(layer, paddle.nn.Dropout):
                layer.p = 0.0


def serve_steps(step: Step, batches: Sequence[Any], count: int) -> None:
    """Works through the batches, ``count`` of them a turn, round and round."""
    following = cycle(batches)

    def work() -> dict[str, Any]:
        times = [step(next(following))[0] for _ in range(count)]
        phases = dict(zip(PHASES, np.sum(times, axis=0).tolist(), strict=True))
        # The clock stands still. On a busy machine the best of many turns is nearest to the peak.
        return {"seconds": float(np.sum(times)), "phases": phases, "peak": matrix_peak()}

    serve(work, {"peak": matrix_peak()})


# --------------------------------------------------------------------------- the judge


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Compares the losses without dropout, then alternates both sides with it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # The first ones warm both sides up.
        count = max((options.rounds + 1) * options.steps, COMPARED_STEPS)
        needed = write_batches(folder, read_captions(options.captions), count)
        names = ["ours"] if options.no_peer else ["ours", "peer"]

        def side(which: str, *more: str) -> Side:
            tuned = which == "peer" and options.tune_peer
            return Side(
                MODULE,
                [which, "--inputs", name, *arguments_of(options), *more],
                peer.TUNED if tuned else None,
            )

        losses = {}
        for which in names:
            alone = side(which, "--no_dropout")
            losses[which] = alone.about["losses"]
            alone.close()
        sides = {which: side(which) for which in names}
        turns: dict[str, list[dict[str, Any]]] = {which: [] for which in names}
        for _ in range(options.rounds):
            for which, one in sides.items():
                turns[which].append(one.work())
        peaks = {which: max(turn["peak"] for turn in done) for which, done in turns.items()}
        for one in sides.values():
            one.close()
    report = summarise(options, turns, peaks)
    compare(report, losses)
    timed = needed[options.steps : options.steps * (options.rounds + 1)]
    report["ours"] |= shares(timed, turns["ours"], peaks["ours"])
    return report


def arguments_of(options: argparse.Namespace) -> list[str]:
    """What the sides are told."""
    return [
        *("--threads", str(options.threads), "--steps", str(options.steps)),
        *("--learning_rate", str(options.learning_rate), "--peer", str(options.peer)),
    ]


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, smallest and largest."""
    return {"median": float(np.median(values)), "min": min(values), "max": max(values)}


def summarise(
    options: argparse.Namespace, turns: dict[str, list[dict[str, Any]]], peaks: dict[str, float]
) -> dict[str, Any]:
    """Samples a second, milliseconds of each part of a step, memory, and the ratio."""
    report: dict[str, Any] = {
        "threads": options.threads,
        "clips": CLIPS,
        "captions": str(options.captions.name) if options.captions else "drawn",
        "peer_settings": "tuned" if options.tune_peer else "as it comes",
    }
    speeds = {}
    for name, done in turns.items():
        speeds[name] = [CLIPS * options.steps / turn["seconds"] for turn in done]
        report[name] = {
            "samples_per_second": spread(speeds[name]),
            "milliseconds": {
                phase: spread([1e3 * turn["phases"][phase] / options.steps for turn in done])
                for phase in PHASES
            },
            "matrix_peak_gflops": peaks[name],
            "peak_memory_gb": done[-1]["peak_memory_gb"],
        }
    if "peer" in turns:
        report["ratio"] = ratios(speeds["ours"], speeds["peer"])
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
    """GFLOP a step needs, and the share of the matrix peak that they make up of the time.

    ``share_of_peak`` counts the whole step, ``share_of_peak_in_passes`` forward and backward.
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
    for name in ("peer", "ours"):
        if name in report:
            side, speed = report[name], report[name]["samples_per_second"]
            parts = ", ".join(
                f"{phase} {x['median']:.0f} ({x['min']:.0f} to {x['max']:.0f})"
                for phase, x in side["milliseconds"].items()
            )
            print(
                f"  {name}: {speed['median']:6.2f} samples/s ({speed['min']:.2f} to "
                f"{speed['max']:.2f}); ms a step: {parts}; matrix peak "
                f"{side['matrix_peak_gflops']:.0f} GFLOP/s, memory {side['peak_memory_gb']:.2f} GB"
            )
    ours = report["ours"]
    print(
        f"  ours: {ours['gflop_per_step']:.0f} GFLOP needed a step, "
        f"{100 * ours['share_of_peak']:.0f} % of the peak, "
        f"{100 * ours['share_of_peak_in_passes']:.0f} % in forward and backward"
    )
    if "ratio" in report:
        ratio = report["ratio"]
        print(f"  ratio {ratio['median']:.2f} ({ratio['min']:.2f} to {ratio['max']:.2f})")
        differences = " ".join(f"{x:.1e}" for x in report["loss_differences"])
        verdict = "agree" if report["losses_agree"] else "DIFFER"
        print(f"  losses without dropout {verdict}: relative differences {differences}")


def serve_side(arguments: list[str]) -> None:
    """What a side's process runs."""
    parser = argparse.ArgumentParser()
    parser.add_argument("side", choices=("ours", "peer"))
    parser.add_argument("--inputs", type=Path)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--learning_rate", type=float)
    parser.add_argument("--no_dropout", action="store_true")
    parser.add_argument("--peer", type=Path)
    options = parser.parse_args(arguments)
    options.weights = options.inputs / "weights.pdparams"
    step, batches = (our_step if options.side == "ours" else peer_step)(options)
    if options.no_dropout:
        losses = [step(batch)[1] for batch in batches()[:COMPARED_STEPS]]
        print(json.dumps({"losses": losses}), flush=True)
    else:
        serve_steps(step, batches(), options.steps)


if __name__ == "__main__":
    serve_side(sys.argv[1:])
