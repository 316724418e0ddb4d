r"""Finds the clips that fit a caption, with an exported model.

    python tools/predict.py --model exported --features data/msrvtt/msrvtt_test.lmdb \
        'a man is cooking' 'two dogs play' --best 5

The model is what tools/export_model.py wrote; neither its weights nor its code are needed. All
clips of the feature file are compared with every caption. On a terminal this prints a table, in a
pipe lines of rank, score, clip and caption with tabs between them, with --json one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from paddlevideo.utils.command import exit_code_of
from paddlevideo.utils.options import Parser, as_path, as_path_text
from paddlevideo.utils.ranges import count, count_or_zero
from paddlevideo.utils.script import ending_at_once

if TYPE_CHECKING:
    from paddlevideo.export.run import ExportedModel
    from paddlevideo.loader.clips.gallery import ClipReader
    from paddlevideo.loader.tokenizer import BertTokenizer


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line. Printing its help loads no Paddle."""
    parser = Parser(description=__doc__)
    parser.add_argument("captions", nargs="+", metavar="CAPTION", help="what to look for")
    parser.add_argument("--model", type=as_path, required=True, help="folder of export_model.py")
    parser.add_argument(
        "--features",
        type=as_path_text,
        required=True,
        help="LMDB of clips, the folder or its data.mdb",
    )
    parser.add_argument("--best", type=count, default=5, help="clips to print; default: 5")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--vocabulary",
        type=as_path_text,
        help="bert_model, if it lies elsewhere than at the export",
    )
    parser.add_argument("--pair_batch", type=count, help="pairs scored at once: bounds the memory")
    parser.add_argument(
        "--num_threads", type=count_or_zero, default=0, help="0, the default: all cores"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, gpu or gpu:1")
    options = parser.parse_args(arguments)
    if not all(caption.strip() for caption in options.captions):
        parser.error("a caption is empty")
    return options


def open_vocabulary(model: ExportedModel, name: str | None) -> BertTokenizer:
    """The tokenizer of the export. Raises ConfigError where it is absent or another one."""
    from paddlevideo.loader import load_tokenizer
    from paddlevideo.utils.errors import ConfigError

    wanted = model.manifest.vocabulary
    tokenizer = load_tokenizer(name or wanted.bert_model)
    if tokenizer.vocabulary_size != wanted.size:
        raise ConfigError(
            f"{tokenizer.source} has {tokenizer.vocabulary_size} words, the exported model's "
            f'vocabulary "{wanted.bert_model}" has {wanted.size}: give --vocabulary'
        )
    return tokenizer


def open_clips(model: ExportedModel, features: str) -> tuple[ClipReader, list[str]]:
    """The feature file and its clips' ids.

    Raises DataError where it is empty or its features have other widths than the model's.
    """
    from paddlevideo.loader.clips.gallery import ClipReader
    from paddlevideo.utils.errors import DataError

    sizes = model.sizes
    reader = ClipReader(
        features, sizes.regions, sizes.actions, sizes.region_width, sizes.action_width
    )
    names = list(reader.source.ids())
    if not names:
        raise DataError(f"{features}: holds no clips")
    first = reader.source.read(0)
    for key, array, width in (
        ("features", first.regions, sizes.region_width),
        ("action_features", first.actions, sizes.action_width),
    ):
        if array.shape[1] != width:
            raise DataError(
                f"{features}: {key} are {array.shape[1]} wide, where the model in "
                f"{model.folder} takes {width}: use the features it was trained with"
            )
    return reader, names


def encode_caption(model: ExportedModel, tokenizer: BertTokenizer, caption: str) -> dict[str, Any]:
    """One caption's cache. It is as long as its words: padding would only cost time.

    Raises ConfigError where the vocabulary has none of its words.
    """
    from paddlevideo.loader.tokenizer import check_query

    length = model.sizes.text_length
    if warning := check_query(tokenizer, caption, length):
        print(f"predict: {warning}", file=sys.stderr)
    ids = np.array([tokenizer.encode(caption, length)], np.int64)
    arrays = {"text_ids": ids, "token_type_ids": np.zeros_like(ids), "text_mask": np.ones_like(ids)}
    return model.encode_captions(arrays)


def score_all(
    model: ExportedModel,
    captions: Sequence[dict[str, Any]],
    reader: ClipReader,
    names: Sequence[str],
    pair_batch: int,
) -> np.ndarray:
    """Scores (captions, clips). Clips are read once, and held ``pair_batch`` at a time."""
    from paddlevideo.loader.clips.gallery import ClipBatches
    from paddlevideo.utils.progress import track

    columns = []
    batches = ClipBatches(reader, names, pair_batch)
    count = -(-len(names) // pair_batch)
    for clips in track(batches, "clips", count, "pairs", pair_batch * len(captions)):
        videos = model.encode_videos(clips)
        columns.append(np.stack([model.scores(caption, videos) for caption in captions]))
    return np.concatenate(columns, axis=1)


def best_clips(
    scores: np.ndarray, names: Sequence[str], count: int, features: str
) -> list[list[tuple[str, float]]]:
    """For each caption the ``count`` best (clip, score), the best first.

    Raises DataError on scores that are not finite.
    """
    from paddlevideo.utils.errors import DataError

    if not np.isfinite(scores).all():
        bad = names[int(np.flatnonzero(~np.isfinite(scores).all(axis=0))[0])]
        raise DataError(f'{features}: clip "{bad}" has a score that is not a finite number')
    orders = np.argsort(-scores, axis=1, kind="stable")[:, :count]
    return [
        [(names[place], float(row[place])) for place in order]
        for row, order in zip(scores, orders, strict=True)
    ]


def print_answers(
    captions: Sequence[str], answers: Sequence[Sequence[tuple[str, float]]], as_json: bool
) -> None:
    """JSON, a table on a terminal, or lines with tabs; and what a score below 0 says."""
    from paddlevideo.report.queries import SCORES

    if any(score < 0 for answer in answers for _, score in answer):
        print(SCORES, file=sys.stderr)
    if as_json:
        found = [
            {"caption": caption, "best": [{"clip": c, "score": s} for c, s in answer]}
            for caption, answer in zip(captions, answers, strict=True)
        ]
        print(json.dumps(found, indent=1, ensure_ascii=False))
        return
    on_terminal = sys.stdout.isatty()
    for caption, answer in zip(captions, answers, strict=True):
        if on_terminal:
            _print_table(caption, answer)
            continue
        line = " ".join(caption.split())
        for rank, (clip, score) in enumerate(answer, 1):
            print(rank, f"{score:.4f}", clip, line, sep="\t")


def _print_table(caption: str, answer: Sequence[tuple[str, float]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("rank", "score", "clip", title=Text(caption), title_justify="left")
    for rank, (clip, score) in enumerate(answer, 1):
        table.add_row(str(rank), f"{score:.4f}", Text(clip))
    Console().print(table)


def predict(options: argparse.Namespace) -> list[list[tuple[str, float]]]:
    """Loads, encodes and compares. Raises UserError."""
    with ending_at_once():
        from paddlevideo.export.run import ExportedModel
        from paddlevideo.runtime import select_device, use_threads
    select_device(options.device)
    use_threads(options.num_threads)
    model = ExportedModel(options.model)
    tokenizer = open_vocabulary(model, options.vocabulary)
    captions = [encode_caption(model, tokenizer, caption) for caption in options.captions]
    reader, names = open_clips(model, options.features)
    pair_batch = options.pair_batch or model.manifest.pair_batch
    scores = score_all(model, captions, reader, names, pair_batch)
    return best_clips(scores, names, options.best, options.features)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code: 0, 1 data or model, 2 command line."""
    options = parse_arguments(arguments)
    os.environ.setdefault("GLOG_minloglevel", "2")  # Paddle's notes about its executor
    return exit_code_of(lambda: print_answers(options.captions, predict(options), options.json))
