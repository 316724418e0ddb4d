"""What initial weights leave of the differences between captions and between clips, by width."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

EXAMPLES, WORDS, REGIONS, ACTIONS, FEATURES = 16, 12, 10, 5, 512
#: Deviations of the streams' layers and of the match path.
STARTS = {
    "BERT's": (0.02, 0.02),
    "fan_in in the match path": (0.02, "fan_in"),
    "fan_in everywhere": ("fan_in", "fan_in"),
}
COLUMNS = ("[CLS] below", "[CLS]", "region", "fused", "margin")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``benchmark.py initialization``."""
    from paddlevideo.utils.ranges import count

    parser.add_argument("--widths", type=count, nargs="+", default=[128, 256, 384, 768])
    parser.add_argument("--seeds", type=count, default=3)
    parser.add_argument("--no_published", action="store_true", help="leave out the default sizes")


def run(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Returns a row for each width and start, and for the published sizes."""
    rows = []
    for width in (*options.widths, *([] if options.no_published else [0])):
        for name, start in STARTS.items():
            spreads = [spreads_of(width, start, seed) for seed in range(options.seeds)]
            means = np.mean(spreads, axis=0).tolist()
            rows.append({"width": width, "start": name, **dict(zip(COLUMNS, means, strict=True))})
    return rows


def spreads_of(width: int, start: tuple[Any, Any], seed: int) -> list[float]:
    """Returns the spreads of a new model's states over random captions and clips.

    Those of text and region states and of the fused vector are relative to their length. That of
    the margins is what depends on both the caption and the clip.
    """
    import paddle

    import paddlevideo as pv

    paddle.seed(seed)
    model = pv.build_model({"framework": "ActBert", "backbone": backbone(width, start)})
    model.eval()
    batch = {name: paddle.to_tensor(array) for name, array in random_batch(seed).items()}
    with paddle.no_grad():
        net = model.backbone
        lower = net.lower(batch)
        states = net.upper(lower)
        text, regions = net.text_pooler(states.text), net.region_pooler(states.regions)
        fused = text * regions + net.action_pooler(states.actions)
        captions, videos = model.encode_captions(batch), model.encode_videos(batch)
        margins = model.margins(captions, videos).numpy()
    vectors = (lower.states.text[:, 0], states.text[:, 0], states.regions[:, 0], fused)
    by_side = margins.mean(0) + margins.mean(1, keepdims=True) - margins.mean()
    return [*(relative_spread(each.numpy()) for each in vectors), float((margins - by_side).std())]


def backbone(width: int, start: tuple[Any, Any]) -> dict[str, Any]:
    """Returns the arguments of a small model of one width; width 0: of the published sizes."""
    common = {
        "name": "BertForMultiModalPreTraining",
        "v_feature_size": FEATURES,
        "a_feature_size": FEATURES,
        "initializer_range": start[0],
        "match_initializer_range": start[1],
    }
    if not width:
        return common
    sizes = {
        f"{stream}{name}": value
        for stream in ("", "v_", "a_", "bi_")
        for name, value in (
            ("hidden_size", width), ("intermediate_size", 2 * width), ("num_attention_heads", 4),
        )
    }  # fmt: skip
    del sizes["bi_intermediate_size"]
    return {**common, **sizes, "num_hidden_layers": 3, "t_ent_attention_id": [1, 2]}


def random_batch(seed: int) -> dict[str, np.ndarray]:
    """Returns captions of random words, and clips with features as a network's pooling gives."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(1000, 30000, (EXAMPLES, WORDS))
    ids[:, 0], ids[:, -1] = 101, 102
    regions, actions = ((EXAMPLES, count) for count in (REGIONS, ACTIONS))

    def features(rows: tuple[int, int]) -> np.ndarray:
        return np.abs(rng.normal(0, 0.5, (*rows, FEATURES))).astype("float32")

    return {
        "text_ids": ids,
        "token_type_ids": np.zeros_like(ids),
        "text_mask": np.ones_like(ids),
        "image_feat": features(regions),
        "image_loc": rng.random((*regions, 5)).astype("float32"),
        "image_mask": np.ones(regions, "int64"),
        "action_feat": features(actions),
        "action_mask": np.ones(actions, "int64"),
    }


def relative_spread(vectors: np.ndarray) -> float:
    """Returns the root mean square distance of (N, D) from their mean, over their length."""
    distances = ((vectors - vectors.mean(0)) ** 2).sum(1)
    return float(np.sqrt(distances.mean() / (vectors**2).sum(1).mean()))


def show(report: list[dict[str, Any]]) -> None:
    """Prints a line for each row."""
    print(f"{'width':>9s}  {'initial weights':26s}" + "".join(f"{c:>12s}" for c in COLUMNS))
    for row in report:
        width = str(row["width"] or "published")
        print(f"{width:>9s}  {row['start']:26s}" + "".join(f"{row[c]:12.5f}" for c in COLUMNS))
