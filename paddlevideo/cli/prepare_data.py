r"""Creates, checks, inspects and converts feature stores (described in docs/data.md).

paddlevideo pack train_data.npy --output train.store
paddlevideo pack msrvtt_test.lmdb --captions test.csv --output test.store
paddlevideo validate train.store
paddlevideo inspect train.store
paddlevideo convert train.store --to npy --output train_data.npy
"""

from __future__ import annotations

import argparse
import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path

from paddlevideo.utils.command import STARTS_OVER, exit_code_of, exit_on_interrupt
from paddlevideo.utils.options import Parser, as_path
from paddlevideo.utils.ranges import Range, count, count_or_zero, number, positive

SHOWN = 10  # problems that validate prints
#: Kinds that count as problems only with --captions_needed.
CAPTION_PROBLEMS = {"no caption": "no caption", "no known word": "a caption without a known word"}


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = Parser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for add in (_add_pack, _add_validate, _add_inspect, _add_convert):
        add(commands)
    options = parser.parse_args(arguments)
    if options.command == "convert":
        if options.dtype and options.to != "store":
            parser.error("--dtype is for --to store")
        if options.shards and options.to not in {"store", "webdataset"}:
            parser.error("--shards is for --to store and --to webdataset")
    output = getattr(options, "output", None)
    if output is not None and not Path(os.path.abspath(output)).name:
        parser.error(f"--output {output} is the root folder: choose a folder in it")
    return options


def _command(commands: argparse._SubParsersAction, name: str, text: str) -> argparse.ArgumentParser:
    return commands.add_parser(name, help=text.strip().splitlines()[0], description=text)


def _add_vocabulary(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--bert_model",
        default="bert-base-uncased",
        metavar="NAME",
        help="vocabulary to check captions with, as in a recipe",
    )


def _add_pack(commands: argparse._SubParsersAction) -> None:
    from paddlevideo.loader.captions.files import KINDS as CAPTION_KINDS
    from paddlevideo.loader.clips.opening import KINDS as SOURCE_KINDS

    text = f"""pack clips and captions into a store; continues after an interruption

    paddlevideo pack clips/ --captions captions.jsonl --output clips.store

Clips come from
{SOURCE_KINDS}
A clip's file contains regions (n, F), boxes (n, 4) in pixels, image_h, image_w, actions (m, G) and,
for training, region_classes (n, C) and action_classes (m,). A .npy is a dictionary of these,
written by np.save; there, regions and actions may also be called features and action_features.

Captions come from
{CAPTION_KINDS}
Captions of a video, with times, are assigned to the clips that overlap them."""
    parser = _command(commands, "pack", text)
    parser.set_defaults(action=pack_command)
    parser.add_argument("sources", nargs="+", type=as_path, metavar="SOURCE")
    parser.add_argument("--output", type=as_path, required=True, metavar="STORE")
    parser.add_argument("--captions", nargs="+", type=as_path, default=[], metavar="FILE")
    parser.add_argument("--dtype", choices=("float16", "float32"), default="float16")
    parser.add_argument(
        "--kept_mass",
        type=number(float, Range(above=0, at_most=1)),
        default=0.999,
        help="fraction of each region's class probability to keep (default: 0.999)",
    )
    parser.add_argument("--shard_gigabytes", type=positive, default=4.0)
    parser.add_argument(
        "--skip_bad", type=count_or_zero, default=0, metavar="N", help="skip at most N bad clips"
    )
    parser.add_argument(
        "--require_captions", action="store_true", help="leave out clips without a caption"
    )
    _add_vocabulary(parser)


def _add_validate(commands: argparse._SubParsersAction) -> None:
    text = """check every record; the exit code is 1 if anything is wrong

    paddlevideo validate train.store --json faults.jsonl --fix repaired.store

--fix writes a new store: boxes up to 2 pixels outside the picture are clipped, blank captions
dropped, and damaged, duplicate and unusable clips left out and listed."""
    parser = _command(commands, "validate", text)
    parser.set_defaults(action=validate_command)
    parser.add_argument("store", type=as_path)
    parser.add_argument(
        "--json",
        type=as_path,
        metavar="FILE",
        help="the problems, one per line, or a line of kind none",
    )
    parser.add_argument("--fix", type=as_path, metavar="NEW_STORE")
    parser.add_argument(
        "--captions_needed",
        action="store_true",
        help="also report clips without a caption, or with one without a known word",
    )
    _add_vocabulary(parser)


def _add_inspect(commands: argparse._SubParsersAction) -> None:
    text = """show counts, sizes, lengths and a few records, and draw clips with their boxes

    paddlevideo inspect train.store --records 5
    paddlevideo inspect train.store --videos clips/ --sheet sheet.png

Frames come from the videos that the store names; --videos is for other or moved videos."""
    parser = _command(commands, "inspect", text)
    parser.set_defaults(action=inspect_command)
    parser.add_argument("store", type=as_path)
    parser.add_argument(
        "--records", type=count_or_zero, default=3, help="records to show; default: 3"
    )
    parser.add_argument(
        "--sheet", type=as_path, metavar="PNG", help="frames with boxes and captions"
    )
    parser.add_argument(
        "--videos", type=as_path, metavar="DIR", help="videos or frames, for --sheet"
    )
    parser.add_argument("--clips", type=count, default=12, help="clips on the sheet; default: 12")
    _add_vocabulary(parser)


def _add_convert(commands: argparse._SubParsersAction) -> None:
    text = """convert to another dtype, to other shards, to tar files, or to PaddleVideo's files

    paddlevideo convert train.store --dtype float32 --shards 8 --output new.store
    paddlevideo convert train.store --to webdataset --shards 64 --output train.tars
    paddlevideo convert train.store --to npy --output train_data.npy

webdataset: a store of tar files in WebDataset's layout, which trains as it is; --to store converts
it back. npy: HowTo100M rows, all of which must fit into memory. lmdb: MSR-VTT records, with the
captions in a .csv beside them."""
    parser = _command(commands, "convert", text)
    parser.set_defaults(action=convert_command)
    parser.add_argument("store", type=as_path)
    parser.add_argument("--to", choices=("store", "webdataset", "npy", "lmdb"), default="store")
    parser.add_argument("--output", type=as_path, required=True)
    parser.add_argument("--dtype", choices=("float16", "float32"), help="default: unchanged")
    parser.add_argument(
        "--shards", type=count, help="number of shards; default: of 4 GB each, or 1 GB as tar files"
    )


# -------------------------------------------------------------------------- the commands


def pack_command(options: argparse.Namespace) -> int:
    """Runs ``pack``."""
    from paddlevideo.prepare import PackOptions, pack

    names = (
        *("sources", "output", "captions", "dtype", "kept_mass", "shard_gigabytes"),
        *("skip_bad", "require_captions", "bert_model"),
    )
    summary = pack(PackOptions(**{name: getattr(options, name) for name in names}))
    print("\n".join(summary.lines()))
    return 0


def validate_command(options: argparse.Namespace) -> int:
    """Runs ``validate``; returns 1 if there are problems, including those ``--fix`` repairs."""
    from paddlevideo.files.whole import write_whole
    from paddlevideo.files.writable import check_folder
    from paddlevideo.loader.captions.coverage import Coverage
    from paddlevideo.loader.store import FeatureStore
    from paddlevideo.prepare import faults_of, fix, unknown_captions
    from paddlevideo.utils.printable import printable

    check_folder(options.fix and options.fix.parent, "--fix")
    store = FeatureStore(options.store)
    kinds: Counter[str] = Counter()
    uncounted: Counter[str] = Counter()
    coverage = Coverage(options.bert_model)

    def check(path: Path = Path(os.devnull)) -> None:
        # A file's name need not be valid UTF-8.
        with open(path, "w", encoding="utf-8", errors="backslashreplace") as file:
            for fault in chain(faults_of(store), unknown_captions(store, coverage)):
                if fault.kind in CAPTION_PROBLEMS and not options.captions_needed:
                    uncounted[CAPTION_PROBLEMS[fault.kind]] += 1
                    continue
                kinds[fault.kind] += 1
                line = json.dumps(asdict(fault), ensure_ascii=False)
                if kinds.total() <= SHOWN:
                    print(printable(line))
                file.write(line + "\n")
            if not kinds:  # an empty file would look truncated
                nothing = {"kind": "none", "shard": "", "clip": "", "fault": "no faults"}
                file.write(json.dumps(nothing) + "\n")

    if options.json is None:
        check()
    else:
        write_whole(options.json, check)
    counted = ", ".join(f"{kind} {count}" for kind, count in kinds.most_common()) or "none"
    print(f"{options.store}: {len(store)} clips, faults: {counted}")
    for what, clips in uncounted.items():
        print(f"  {clips} clips have {what}")
    if coverage.captions:
        print(f"  {printable(coverage.line())}")
    if options.fix:
        print("\n".join(fix(store, options.fix).lines()))
    return 1 if kinds else 0


def inspect_command(options: argparse.Namespace) -> int:
    """Runs ``inspect``."""
    from paddlevideo.files.writable import check_file
    from paddlevideo.loader.store import FeatureStore
    from paddlevideo.prepare import contact_sheet, describe
    from paddlevideo.report.clip_videos import check_videos
    from paddlevideo.utils.printable import printable

    check_file(options.sheet, "--sheet")
    check_videos(options.videos)
    store = FeatureStore(options.store)
    for line in describe(store, options.records, bert_model=options.bert_model):
        print(printable(line))
    if options.sheet:
        shown, remarks = contact_sheet(store, options.videos, options.sheet, options.clips)
        print("\n".join([f"{options.sheet}: {shown} clips", *remarks]))
    return 0


def convert_command(options: argparse.Namespace) -> int:
    """Runs ``convert``."""
    from paddlevideo.files.walk import refuse_inside
    from paddlevideo.files.writable import check_folder
    from paddlevideo.loader.store import FeatureStore
    from paddlevideo.prepare import PackOptions, pack, to_lmdb, to_npy, to_tars
    from paddlevideo.prepare.writing import Summary

    check_folder(options.output.parent, "--output")
    store = FeatureStore(options.store)
    if options.to != "store":
        refuse_inside("--output", options.output, options.store)
    if options.to == "store":
        summary = pack(
            PackOptions(
                [options.store],
                options.output,
                dtype=options.dtype or store.manifest.dtype,
                shard_gigabytes=1e9 if options.shards else 4.0,
                skip_bad=None,
                vocabularies=store.manifest.vocabularies,
                shard_clips=options.shards and -(-len(store) // options.shards),
            )
        )
        print("\n".join(summary.lines()))
    elif options.to == "webdataset":
        manifest = to_tars(store, options.output, options.shards)
        print(Summary(options.output, manifest).lines()[0])
    elif options.to == "npy":
        print(f"{options.output}: {to_npy(store, options.output)} rows")
    else:
        clips, captions = to_lmdb(store, options.output)
        print(f"{options.output}: {clips} records, {captions} captions in the .csv beside it")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""

    def work() -> int:
        with exit_on_interrupt():
            options = parse_arguments(arguments)
        return options.action(options)

    return exit_code_of(
        work, again=f"{STARTS_OVER}: pack, and convert to a store, keep what is done"
    )
