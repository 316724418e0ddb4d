"""Exact retrieval scoring: this project against PaddleVideo 2.3.1."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import peer
from benchmarks.sides import Side, matrix_peak, ratios, serve

MODULE = "benchmarks.retrieval"
WORDS, PADDED, REGIONS, ACTIONS, FEATURES = 12, 36, 36, 5, 2048
VIDEO_KEYS = ("image_feat", "image_loc", "image_mask", "action_feat", "action_mask")

#: With these the peer gets the process settings that this project makes for itself.
TUNED = {
    "MKL_DEBUG_CPU_TYPE": "5",
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``benchmark.py retrieval``."""
    parser.add_argument("--threads", type=int, default=2, help="on both sides (default 2)")
    parser.add_argument("--videos", type=int, default=100, help="size of the gallery")
    parser.add_argument("--captions", type=int, default=1, help="captions scored in a turn")
    parser.add_argument("--rounds", type=int, default=5, help="alternations (default 5)")
    parser.add_argument("--pair_batch", type=int, default=None, help="this project's chunk size")
    parser.add_argument("--no_peer", action="store_true", help="measure this project alone")
    parser.add_argument(
        "--tune_peer", action="store_true", help="give the peer this project's process settings"
    )
    parser.add_argument("--peer", type=Path, default=Path("build/peer"), help="where ppvideo goes")
    parser.add_argument("--json", type=Path, help="write the numbers here")


def make_inputs(path: Path, captions: int, videos: int) -> None:
    """Writes the same captions and videos for both sides."""
    rng = np.random.default_rng(0)
    ids = np.zeros((captions, PADDED), dtype=np.int64)
    ids[:, :WORDS] = rng.integers(1000, 20000, (captions, WORDS))
    boxes = np.sort(rng.random((videos, REGIONS, 2, 2), dtype=np.float32), axis=2)
    boxes = boxes.reshape(videos, REGIONS, 4)
    area = (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
    np.savez(
        path,
        text_ids=ids,
        text_mask=(ids > 0).astype(np.int64),
        token_type_ids=np.zeros_like(ids),
        image_feat=rng.random((videos, REGIONS, FEATURES), dtype=np.float32),
        image_loc=np.concatenate([boxes, area[..., None]], axis=-1),
        image_mask=np.ones((videos, REGIONS), dtype=np.int64),
        action_feat=rng.random((videos, ACTIONS, FEATURES), dtype=np.float32),
        action_mask=np.ones((videos, ACTIONS), dtype=np.int64),
    )


def needed_gflop() -> float:
    """Multiplications and additions that one pair of the default model cannot do without.

    Regions: two feed-forwards and outputs in tangled layers, one full transformer layer, the
    second tangled layer's projections, keys and values of the last layer. Text the same, twelve
    words long; four small products of the messages. Attention itself is 1 % and counted.
    """
    wide, text, inner = 1024, 768, 3072
    square = REGIONS * wide * wide
    regions = (1 + 2) + (4 + 2) + (3 + 1 + 2) + 2  # products of R x 1024 x 1024
    per_word = (wide * text + 2 * text * inner) + (4 * text * text + 2 * text * inner)
    per_word += (4 * text * wide + 2 * text * inner) + 2 * text * text
    messages = 2 * 2 * ACTIONS * wide * wide + 2 * ACTIONS * wide * wide
    attention = 3 * 2 * REGIONS * REGIONS * wide + 3 * 2 * WORDS * WORDS * wide
    return 2 * (regions * square + WORDS * per_word + messages + attention) / 1e9


# ---------------------------------------------------------------------------- the sides


def serve_ours(arguments: argparse.Namespace) -> None:
    """This project's side."""
    import paddle

    import paddlevideo as pv
    from paddlevideo.runtime import use_threads

    use_threads(arguments.threads)
    config: dict[str, Any] = {
        "framework": "ActBert",
        "backbone": {"name": "BertForMultiModalPreTraining"},
    }
    if arguments.pair_batch:
        config["pair_batch"] = arguments.pair_batch
    paddle.seed(0)
    model = pv.build_model(config)
    spread_weights(model)
    if arguments.weights:
        paddle.save(model.to_released(model.state_dict()), str(arguments.weights))
    model.eval()
    arrays = dict(np.load(arguments.inputs))
    gallery = model.encode_videos({key: arrays.pop(key) for key in VIDEO_KEYS})

    def work() -> dict[str, Any]:
        margins = model.margins(model.encode_captions(arrays), gallery)
        return {"margins": margins.numpy().ravel().tolist()}

    serve(work, {"peak": matrix_peak()})


def spread_weights(model: Any) -> None:
    """Makes a fresh model's scores differ: embeddings and poolers five times as large."""
    for name, parameter in model.named_parameters():
        if "pooler" in name or "embeddings.feature" in name:
            parameter.set_value(parameter * 5.0)


def serve_peer(arguments: argparse.Namespace) -> None:
    """PaddleVideo's side: its forward as its test step calls it, one caption x all videos."""
    import paddle

    (module,) = peer.load(arguments.peer, ("modeling.backbones.actbert",))
    paddle.base.core.set_num_threads(arguments.threads)
    model = module.BertForMultiModalPreTraining()
    state = paddle.load(str(arguments.weights))
    model.set_state_dict({name.removeprefix("backbone."): x for name, x in state.items()})
    model.eval()
    arrays = {key: paddle.to_tensor(value) for key, value in np.load(arguments.inputs).items()}
    videos = arrays["image_feat"].shape[0]

    @paddle.no_grad()
    def work() -> dict[str, Any]:
        rows = []
        for number in range(arrays["text_ids"].shape[0]):
            text = {
                key: arrays[key][number : number + 1].expand([videos, PADDED])
                for key in ("text_ids", "token_type_ids", "text_mask")
            }
            logits = model(
                text["text_ids"],
                arrays["action_feat"],
                arrays["image_feat"],
                arrays["image_loc"],
                text["token_type_ids"],
                text["text_mask"],
                arrays["image_mask"],
                arrays["action_mask"],
            )[3]
            rows.append((logits[:, 0] - logits[:, 1]).numpy())
        return {"margins": np.concatenate(rows).tolist()}

    serve(work, {"peak": matrix_peak()})


# --------------------------------------------------------------------------- the judge


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Alternates both sides and prints what was measured."""
    pairs = options.videos * options.captions
    with tempfile.TemporaryDirectory() as folder:
        inputs, weights = Path(folder, "inputs.npz"), Path(folder, "weights.pdparams")
        make_inputs(inputs, options.captions, options.videos)
        common = ["--threads", str(options.threads), "--inputs", str(inputs)]
        chunk = ["--pair_batch", str(options.pair_batch)] if options.pair_batch else []
        saved = [] if options.no_peer else ["--weights", str(weights)]
        sides = {"ours": Side(MODULE, ["ours", *common, *saved, *chunk])}
        if not options.no_peer:
            theirs = ["peer", *common, *saved, "--peer", str(options.peer)]
            sides["peer"] = Side(MODULE, theirs, TUNED if options.tune_peer else None)
        turns: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
        for _ in range(options.rounds):
            for name, side in sides.items():
                turns[name].append(side.work())
        report = summarise(sides, turns, pairs, options)
        for side in sides.values():
            side.close()
    return report


def summarise(
    sides: dict[str, Side],
    turns: dict[str, list[dict[str, Any]]],
    pairs: int,
    options: argparse.Namespace,
) -> dict[str, Any]:
    """The report: speeds, ratio, share of the matrix peak, memory, difference of the scores."""
    report: dict[str, Any] = {
        "threads": options.threads,
        "videos": options.videos,
        "captions": options.captions,
        "peer_settings": "tuned" if options.tune_peer else "as it comes",
    }
    speeds = {n: [pairs / turn["seconds"] for turn in done] for n, done in turns.items()}
    for name, done in turns.items():
        peak = sides[name].about["peak"]
        report[name] = {
            "pairs_per_second": {
                "median": float(np.median(speeds[name])),
                "min": min(speeds[name]),
                "max": max(speeds[name]),
            },
            "matrix_peak_gflops": peak,
            "peak_memory_gb": done[-1]["peak_memory_gb"],
        }
    ours = report["ours"]
    ours["gflop_per_pair"] = needed_gflop()
    ours["gflops"] = ours["pairs_per_second"]["median"] * needed_gflop()
    ours["share_of_peak"] = ours["gflops"] / ours["matrix_peak_gflops"]
    if "peer" in turns:
        report["ratio"] = ratios(speeds["ours"], speeds["peer"])
        first, second = (np.asarray(turns[name][-1]["margins"]) for name in ("ours", "peer"))
        report["score_difference_over_spread"] = float(abs(first - second).max() / second.std())
    return report


def show(report: dict[str, Any]) -> None:
    """Prints the report."""
    print(
        f"{report['captions']} caption(s) x {report['videos']} videos, "
        f"{report['threads']} thread(s), peer {report['peer_settings']}"
    )
    for name in ("peer", "ours"):
        if name in report:
            side, speed = report[name], report[name]["pairs_per_second"]
            print(
                f"  {name}: {speed['median']:7.1f} pairs/s ({speed['min']:.1f} to "
                f"{speed['max']:.1f}), matrix peak {side['matrix_peak_gflops']:.0f} GFLOP/s, "
                f"peak memory {side['peak_memory_gb']:.2f} GB"
            )
    ours = report["ours"]
    print(
        f"  ours: {ours['gflop_per_pair']:.2f} GFLOP a pair, {ours['gflops']:.0f} GFLOP/s, "
        f"{100 * ours['share_of_peak']:.0f} % of the peak"
    )
    if "ratio" in report:
        ratio = report["ratio"]
        print(
            f"  ratio {ratio['median']:.2f} ({ratio['min']:.2f} to {ratio['max']:.2f}); scores "
            f"differ by {report['score_difference_over_spread']:.1e} of their spread"
        )


def serve_side(arguments: list[str]) -> None:
    """What a side's process runs."""
    parser = argparse.ArgumentParser()
    parser.add_argument("side", choices=("ours", "peer"))
    parser.add_argument("--threads", type=int)
    parser.add_argument("--inputs", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--pair_batch", type=int)
    parser.add_argument("--peer", type=Path)
    options = parser.parse_args(arguments)
    if options.side == "ours":
        sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
        serve_ours(options)
    else:
        serve_peer(options)


if __name__ == "__main__":
    serve_side(sys.argv[1:])
