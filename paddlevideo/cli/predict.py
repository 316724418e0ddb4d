r"""Finds the clips that match a caption, with an exported model.

    paddlevideo predict --model exported --features data/msrvtt/msrvtt_test.lmdb \
        'a man is cooking' 'two dogs play' --best 5

The model was written by paddlevideo export; its weights and code are not needed. Every clip of the
feature file is compared with every caption. Prints a table on a terminal; tab-separated lines of
rank, score, clip and caption in a pipe; JSON with --json.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from paddlevideo.utils.command import exit_code_of, exit_on_interrupt
from paddlevideo.utils.options import Parser, as_path, as_path_text
from paddlevideo.utils.ranges import count, count_or_zero

if TYPE_CHECKING:
    from paddlevideo.export.run import ExportedModel
    from paddlevideo.loader.clips.gallery import ClipReader
    from paddlevideo.loader.tokenizer import BertTokenizer


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses the command line, without loading Paddle."""
    parser = Parser(description=__doc__)
    parser.add_argument("captions", nargs="+", metavar="CAPTION", help="what to look for")
    parser.add_argument(
        "--model", type=as_path, required=True, help="folder written by paddlevideo export"
    )
    parser.add_argument(
        "--features",
        type=as_path_text,
        required=True,
        help="store or LMDB of clips, or its data.mdb",
    )
    parser.add_argument("--best", type=count, default=5, help="clips to print; default: 5")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--vocabulary",
        type=as_path_text,
        help="bert_model, if it has moved since the export",
    )
    parser.add_argument("--pair_batch", type=count, help="pairs scored at once; bounds the memory")
    parser.add_argument(
        "--num_threads", type=count_or_zero, default=0, help="0, the default: all cores"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, gpu or gpu:1")
    options = parser.parse_args(arguments)
    if not all(caption.strip() for caption in options.captions):
        parser.error("a caption is empty")
    return options


def open_vocabulary(model: ExportedModel, name: str | None) -> BertTokenizer:
    """Returns the tokenizer of the export. Raises ConfigError if its vocabulary differs."""
    from paddlevideo.loader import load_tokenizer
    from paddlevideo.utils.errors import ConfigError

    wanted = model.manifest.vocabulary
    tokenizer = load_tokenizer(name or wanted.bert_model)
    if tokenizer.vocabulary_size != wanted.size:
        raise ConfigError(
            f"{tokenizer.source} has {tokenizer.vocabulary_size} words, but the vocabulary of the "
            f'exported model, "{wanted.bert_model}", has {wanted.size}: set --vocabulary'
        )
    return tokenizer


def open_clips(model: ExportedModel, features: str) -> tuple[ClipReader, list[str]]:
    """Returns the feature file and the ids of its clips.

    Raises DataError if it is empty, or if the widths of its features do not fit the model.
    """
    from paddlevideo.loader.clips.gallery import ClipReader
    from paddlevideo.utils.errors import DataError

    sizes = model.sizes
    reader = ClipReader(
        features, sizes.regions, sizes.actions, sizes.region_width, sizes.action_width
    )
    names = list(reader.source.ids())
    if not names:
        raise DataError(f"{features}: contains no clips")
    first = reader.source.read(0)
    for key, array, width in (
        ("features", first.regions, sizes.region_width),
        ("action_features", first.actions, sizes.action_width),
    ):
        if array.shape[1] != width:
            raise DataError(
                f"{features}: {key} have width {array.shape[1]}, but the model in {model.folder} "
                f"expects {width}: use the features it was trained with"
            )
    return reader, names


def encode_caption(model: ExportedModel, tokenizer: BertTokenizer, caption: str) -> dict[str, Any]:
    """Returns the cache of one caption, without padding.

    Raises ConfigError if none of its words is in the vocabulary.
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
    """Returns scores (captions, clips). Clips are read once, ``pair_batch`` at a time."""
    from paddlevideo.loader.clips.gallery import ClipBatches
    from paddlevideo.utils.progress import track

    columns = []
    batches = ClipBatches(reader, names, pair_batch)
    count = -(-len(names) // pair_batch)
    for clips in track(batches, "clips", count, "pairs", pair_batch * len(captions)):
        videos = model.encode_videos(clips)
        columns.append(np.stack([model.scores(caption, videos) for caption in captions]))
    return np.concatenate(columns, axis=1)


def check_finite(scores: np.ndarray, names: Sequence[str], features: str) -> None:
    """Raises DataError, with the clip's name, unless all scores (captions, clips) are finite."""
    from paddlevideo.utils.errors import DataError

    if not np.isfinite(scores).all():
        bad = names[int(np.flatnonzero(~np.isfinite(scores).all(axis=0))[0])]
        raise DataError(f'{features}: clip "{bad}" has a score that is not a finite number')


def print_answers(
    captions: Sequence[str], answers: Sequence[Sequence[tuple[str, float]]], as_json: bool
) -> None:
    """Prints JSON, a table on a terminal, or tab-separated lines; explains scores below 0."""
    from paddlevideo.retrieval.answers import explain_scores, print_clips

    explain_scores([score for answer in answers for _, score in answer])
    if as_json:
        entries = [
            {"caption": caption, "best": [{"clip": c, "score": s} for c, s in answer]}
            for caption, answer in zip(captions, answers, strict=True)
        ]
        print(json.dumps(entries, indent=1, ensure_ascii=False))
        return
    for caption, answer in zip(captions, answers, strict=True):
        clips, scores = zip(*answer, strict=True)
        print_clips(caption, clips, {"score": scores}, digits=4)


def predict(options: argparse.Namespace) -> list[list[tuple[str, float]]]:
    """Returns the best clips of each caption with their scores, best first. Raises UserError."""
    with exit_on_interrupt():
        from paddlevideo.export.run import ExportedModel
        from paddlevideo.retrieval.answers import best_clips
        from paddlevideo.runtime import select_device, use_threads
    select_device(options.device)
    use_threads(options.num_threads)
    model = ExportedModel(options.model)
    tokenizer = open_vocabulary(model, options.vocabulary)
    captions = [encode_caption(model, tokenizer, caption) for caption in options.captions]
    reader, names = open_clips(model, options.features)
    pair_batch = options.pair_batch or model.manifest.pair_batch
    scores = score_all(model, captions, reader, names, pair_batch)
    check_finite(scores, names, options.features)
    return [
        [(name, float(row[at])) for at, name in best_clips(row, names, options.best)]
        for row in scores
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code: 0, 1 for data or model, 2 for arguments."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not any(word == "--model" or word.startswith("--model=") for word in given):
        from paddlevideo.cli import predict_videos

        return predict_videos.main(arguments)
    options = parse_arguments(arguments)
    os.environ.setdefault("GLOG_minloglevel", "2")  # hides notes about Paddle's executor
    return exit_code_of(lambda: print_answers(options.captions, predict(options), options.json))
