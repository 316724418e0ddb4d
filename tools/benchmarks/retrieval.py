"""Retrieval scoring, exact or in two stages: this project against PaddleVideo 2.3.1."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import peer
from benchmarks.sides import (
    Side,
    add_speeds,
    add_threads,
    add_turns,
    matrix_peak,
    run_side,
    serve,
    show_sides,
    take_turns,
)

WORDS, PADDED, REGIONS, ACTIONS, FEATURES = 12, 36, 36, 5, 2048
VIDEO_KEYS = ("image_feat", "image_loc", "image_mask", "action_feat", "action_mask")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``benchmark.py retrieval``."""
    from paddlevideo.utils.ranges import count, count_or_zero

    add = parser.add_argument
    add("--videos", type=count, default=100, help="size of the gallery")
    add("--captions", type=count, default=1, help="captions scored in a turn")
    add("--top_k", type=count_or_zero, default=0, help="two stages: videos matched per caption")
    add("--peer_videos", type=count, default=100, help="the peer's gallery has at most N videos")
    add("--pair_batch", type=count, help="this project's chunk size")
    add_threads(parser)
    add_turns(parser)


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
    """Returns the GFLOP that one pair of the default model cannot do without.

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


def serve_ours(options: argparse.Namespace) -> None:
    """This project's side."""
    import paddle

    import paddlevideo as pv
    from paddlevideo.retrieval.test import MarginPredictor
    from paddlevideo.runtime import use_threads

    use_threads(options.threads)
    config: dict[str, Any] = {
        "framework": "ActBert",
        "backbone": {"name": "BertForMultiModalPreTraining"},
    }
    if options.pair_batch:
        config["pair_batch"] = options.pair_batch
    if options.top_k:
        config |= {"top_k": [options.top_k, 0], "retrieval_head": {"name": "RetrievalHead"}}
    paddle.seed(0)
    model = pv.build_model(config)
    spread_weights(model)
    if not options.no_peer:
        peer.save_weights(model, options.weights)
    model.eval()
    arrays = dict(np.load(options.inputs))
    videos = {key: arrays.pop(key) for key in VIDEO_KEYS}
    arrays["index"] = np.arange(len(arrays["text_ids"]))
    gallery, seconds = timed_twice(lambda: encode_all(model, videos))
    if len(arrays["text_ids"]) > gallery.size:
        serve_video_to_text(model, arrays, videos)
        return

    data = evaluation_data(arrays)

    def work() -> dict[str, Any]:
        predictor = MarginPredictor(model, data, gallery)
        (batch,) = predictor.batches(data.loader)
        predictions = predictor.predict(batch)
        if options.top_k:
            return {"pairs_matched": sum(len(row) for row in predictions)}
        return {"margins": predictions[:, : options.peer_videos].ravel().tolist()}

    serve(work, {"peak": matrix_peak(), "gallery_seconds": seconds})


def timed_twice(action: Callable[[], Any]) -> tuple[Any, float]:
    """Returns a result and the seconds it took, after a first time for warming up."""
    action()
    start = time.perf_counter()
    return action(), time.perf_counter() - start


def serve_video_to_text(model: Any, captions: Any, videos: Any) -> None:
    """More captions than videos: the captions are the gallery, encoded apart."""
    gallery, seconds = timed_twice(lambda: model.encode_captions(captions))

    def work() -> dict[str, Any]:
        margins = model.margins(gallery, model.encode_videos(videos))
        return {"margins": margins.numpy().ravel().tolist()}

    serve(work, {"peak": matrix_peak(), "gallery_seconds": seconds})


class Videos:
    """The gallery's arrays, in batches as a data set gives them."""

    def __init__(self, arrays: dict[str, np.ndarray], batch_size: int = 32) -> None:
        self.arrays, self.batch_size = arrays, batch_size

    def __len__(self) -> int:
        return len(self.arrays["image_feat"])

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        for start in range(0, len(self), self.batch_size):
            yield {key: x[start : start + self.batch_size] for key, x in self.arrays.items()}


def encode_all(model: Any, videos: dict[str, np.ndarray]) -> Any:
    """Returns the encoded gallery."""
    from paddlevideo.retrieval.gallery import Gallery

    return Gallery(model.encode_videos, Videos(videos), model.gallery_gigabytes)


def evaluation_data(captions: dict[str, np.ndarray]) -> Any:
    """Returns what a predictor is given, with all captions in one batch."""
    from paddlevideo.loader.build import BatchLoader, SampleReader
    from paddlevideo.loader.sampler import GridSampler
    from paddlevideo.metrics import EvaluationData

    count = len(captions["text_ids"])
    samples: Any = [{key: rows[at] for key, rows in captions.items()} for at in range(count)]
    loader = BatchLoader(SampleReader(samples), GridSampler(count, count))
    return EvaluationData(None, loader, lambda state: [state], lambda first, validating: None)


def spread_weights(model: Any) -> None:
    """Makes a fresh model's scores differ: embeddings and poolers five times as large."""
    for name, parameter in model.named_parameters():
        if "pooler" in name or "embeddings.feature" in name:
            parameter.set_value(parameter * 5.0)


def serve_peer(options: argparse.Namespace) -> None:
    """PaddleVideo's side: its forward as its test step calls it, one caption x all videos.

    From video to text, one video x all captions.
    """
    import paddle

    (module,) = peer.load(options.peer, ("modeling.backbones.actbert",))
    paddle.base.core.set_num_threads(options.threads)
    model = peer.with_weights(module.BertForMultiModalPreTraining(), options.weights)
    model.eval()
    arrays = {key: paddle.to_tensor(value) for key, value in np.load(options.inputs).items()}
    for key in VIDEO_KEYS:
        arrays[key] = arrays[key][: options.peer_videos]
    captions, videos = arrays["text_ids"].shape[0], arrays["image_feat"].shape[0]

    @paddle.no_grad()
    def work() -> dict[str, Any]:
        rows = []
        # One caption with all videos, or one video with all captions: whichever are more.
        for index in range(min(captions, videos)):
            pairs = {
                key: x
                if (key in VIDEO_KEYS) == (captions <= videos)
                else x[index : index + 1].expand([max(captions, videos), *x.shape[1:]])
                for key, x in arrays.items()
            }
            logits = model(*(pairs[key] for key in peer.BACKBONE_KEYS))[3]
            rows.append((logits[:, 0] - logits[:, 1]).numpy())
        margins = np.stack(rows) if captions <= videos else np.stack(rows, axis=1)
        return {"margins": margins.ravel().tolist()}

    serve(work, {"peak": matrix_peak()})


# ------------------------------------------------------------------------ comparison


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Alternates both sides and returns the measurements."""
    options.peer_videos = min(options.peer_videos, options.videos)
    with tempfile.TemporaryDirectory() as folder:
        files = {"inputs": f"{folder}/inputs.npz", "weights": f"{folder}/weights.pdparams"}
        make_inputs(Path(files["inputs"]), options.captions, options.videos)
        names = ["ours"] if options.no_peer else ["ours", "peer"]
        sides = {name: Side("benchmarks.retrieval", name, options, **files) for name in names}
        turns = take_turns(sides, options.rounds)
    return summarise(sides, turns, options)


def summarise(
    sides: dict[str, Side], turns: dict[str, list[dict[str, Any]]], options: argparse.Namespace
) -> dict[str, Any]:
    """Returns speeds, ratio, share of the matrix peak, memory, and the difference of the scores.

    Pairs a second count the whole gallery, also where only its ``top_k`` are matched.
    """
    pairs = {"ours": options.videos * options.captions}
    pairs["peer"] = options.peer_videos * options.captions
    report: dict[str, Any] = {
        "threads": options.threads,
        "videos": options.videos,
        "captions": options.captions,
        "top_k": options.top_k,
        "peer_settings": "tuned" if options.tune_peer else "as it comes",
    }
    for name, done in turns.items():
        memory = done[-1]["peak_memory_gb"]
        report[name] = {
            "matrix_peak_gflops": sides[name].about["peak"],
            "peak_memory_gb": memory,
        }
    speeds = {n: [pairs[n] / turn["seconds"] for turn in done] for n, done in turns.items()}
    add_speeds(report, "pairs", speeds)
    ours = report["ours"]
    ours["gallery_seconds"] = sides["ours"].about["gallery_seconds"]
    ours["pairs_matched"] = turns["ours"][-1].get("pairs_matched", pairs["ours"])
    ours["gflop_per_pair"] = needed_gflop()
    matched = ours["pairs_matched"] / pairs["ours"]
    ours["gflops"] = ours["pairs_per_second"]["median"] * matched * needed_gflop()
    ours["share_of_peak"] = ours["gflops"] / ours["matrix_peak_gflops"]
    if "peer" in turns and not options.top_k:
        first, second = (np.asarray(turns[name][-1]["margins"]) for name in ("ours", "peer"))
        difference = abs(first - second).max() / second.std()
        report["score_difference_over_spread"] = float(difference)
    return report


def show(report: dict[str, Any]) -> None:
    """Prints the report."""
    stages = f", the {report['top_k']} best of each matched" if report["top_k"] else ""
    print(
        f"{report['captions']} caption(s) x {report['videos']} video(s){stages}, "
        f"{report['threads']} thread(s), peer {report['peer_settings']}"
    )
    notes = {
        name: f", matrix peak {report[name]['matrix_peak_gflops']:.0f} GFLOP/s, "
        f"peak memory {report[name]['peak_memory_gb']:.2f} GB"
        for name in ("peer", "ours")
        if name in report
    }
    show_sides(report, "pairs", notes)
    ours = report["ours"]
    print(
        f"  ours: {ours['gflop_per_pair']:.2f} GFLOP a pair, {ours['gflops']:.0f} GFLOP/s, "
        f"{100 * ours['share_of_peak']:.0f} % of the peak; "
        f"gallery encoded in {ours['gallery_seconds']:.1f} s, {ours['pairs_matched']} pairs matched"
    )
    if "score_difference_over_spread" in report:
        difference = report["score_difference_over_spread"]
        print(f"  scores differ by {difference:.1e} of their spread")


if __name__ == "__main__":
    run_side(ours=serve_ours, peer=serve_peer)
