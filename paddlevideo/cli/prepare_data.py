r"""Makes, checks, shows and converts feature stores (docs/data.md says what is in one).

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

SHOWN = 10  # faults that validate prints
#: Kinds that are faults with --captions_needed alone.
UNHEARD = {"no caption": "no caption", "no known word": "a caption without a known word"}


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = Parser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for add in (_add_pack, _add_validate, _add_inspect, _add_convert):
        add(commands)
    options = parser.parse_args(arguments)
    if options.command == "convert" and options.to != "store" and (options.dtype or options.shards):
        parser.error("--dtype and --shards are for --to store")
    output = getattr(options, "output", None)
    if output is not None and not Path(os.path.abspath(output)).name:
        parser.error(f"--output {output} is the root of all folders: name one in it")
    return options


def _command(commands: argparse._SubParsersAction, name: str, text: str) -> argparse.ArgumentParser:
    return commands.add_parser(name, help=text.strip().splitlines()[0], description=text)


def _add_vocabulary(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--bert_model",
        default="bert-base-uncased",
        metavar="NAME",
        help="the vocabulary that captions are compared with, as in a recipe",
    )


def _add_pack(commands: argparse._SubParsersAction) -> None:
    from paddlevideo.loader.captions.files import KINDS as CAPTION_KINDS
    from paddlevideo.loader.clips.opening import KINDS as SOURCE_KINDS

    text = f"""clips and captions into a store, on from where it was interrupted

    paddlevideo pack clips/ --captions captions.jsonl --output clips.store

Clips come from
{SOURCE_KINDS}
A clip's file holds regions (n, F), boxes (n, 4) in pixels, image_h, image_w, actions (m, G) and,
for training, region_classes (n, C) and action_classes (m,). A .npy is a dictionary of them that
np.save wrote; features and action_features are known there too.

Captions come from
{CAPTION_KINDS}
Captions of a video, with times, go to its clips that overlap them."""
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
        help="of each region's class probability",
    )
    parser.add_argument("--shard_gigabytes", type=positive, default=4.0)
    parser.add_argument(
        "--skip_bad", type=count_or_zero, default=0, metavar="N", help="bad clips to skip"
    )
    parser.add_argument(
        "--require_captions", action="store_true", help="leave clips without one out"
    )
    _add_vocabulary(parser)


def _add_validate(commands: argparse._SubParsersAction) -> None:
    text = """every record against what it should be; exit code 1 if anything is wrong

    paddlevideo validate train.store --json faults.jsonl --fix repaired.store

--fix writes a new store: boxes up to 2 pixels outside are cut, blank captions dropped, damaged,
doubled and unusable clips left out and listed."""
    parser = _command(commands, "validate", text)
    parser.set_defaults(action=validate_command)
    parser.add_argument("store", type=as_path)
    parser.add_argument(
        "--json",
        type=as_path,
        metavar="FILE",
        help="the faults, one a line; without any a line of kind none",
    )
    parser.add_argument("--fix", type=as_path, metavar="NEW_STORE")
    parser.add_argument(
        "--captions_needed",
        action="store_true",
        help="a clip without a caption, or with one of no known word, is a fault",
    )
    _add_vocabulary(parser)


def _add_inspect(commands: argparse._SubParsersAction) -> None:
    text = """counts, sizes, lengths, a few records, and a picture of clips with their boxes

    paddlevideo inspect train.store --records 5
    paddlevideo inspect train.store --videos clips/ --sheet sheet.png

Frames come from the videos that the store names; --videos is for others, and for moved ones."""
    parser = _command(commands, "inspect", text)
    parser.set_defaults(action=inspect_command)
    parser.add_argument("store", type=as_path)
    parser.add_argument("--records", type=count_or_zero, default=3)
    parser.add_argument(
        "--sheet", type=as_path, metavar="PNG", help="frames with boxes and captions"
    )
    parser.add_argument(
        "--videos", type=as_path, metavar="DIR", help="videos or frames, for --sheet"
    )
    parser.add_argument("--clips", type=count, default=12, help="how many the sheet shows")
    _add_vocabulary(parser)


def _add_convert(commands: argparse._SubParsersAction) -> None:
    text = """to another dtype, to other shards, or back to PaddleVideo's files

    paddlevideo convert train.store --dtype float32 --shards 8 --output new.store
    paddlevideo convert train.store --to npy --output train_data.npy

npy: HowTo100M rows; that format holds all of them in memory. lmdb: MSR-VTT records, and the
captions in a .csv beside them."""
    parser = _command(commands, "convert", text)
    parser.set_defaults(action=convert_command)
    parser.add_argument("store", type=as_path)
    parser.add_argument("--to", choices=("store", "npy", "lmdb"), default="store")
    parser.add_argument("--output", type=as_path, required=True)
    parser.add_argument("--dtype", choices=("float16", "float32"), help="default: as it is")
    parser.add_argument("--shards", type=count, help="how many; default: one for every 4 GB")


# -------------------------------------------------------------------------- the commands


def pack_command(options: argparse.Namespace) -> int:
    """``pack``."""
    from paddlevideo.prepare import PackOptions, pack

    names = (
        *("sources", "output", "captions", "dtype", "kept_mass", "shard_gigabytes"),
        *("skip_bad", "require_captions", "bert_model"),
    )
    summary = pack(PackOptions(**{name: getattr(options, name) for name in names}))
    print("\n".join(summary.lines()))
    return 0


def validate_command(options: argparse.Namespace) -> int:
    """``validate``; 1 where there are faults, those that ``--fix`` mends too."""
    from paddlevideo.files.whole import write_whole
    from paddlevideo.files.writable import check_folder
    from paddlevideo.loader.captions.coverage import Coverage
    from paddlevideo.loader.store import FeatureStore
    from paddlevideo.prepare import faults_of, fix, unknown_captions
    from paddlevideo.utils.printable import printable

    check_folder(options.fix and options.fix.parent, "--fix")
    store = FeatureStore(options.store)
    kinds: Counter[str] = Counter()
    silent: Counter[str] = Counter()
    coverage = Coverage(options.bert_model)

    def check(path: Path = Path(os.devnull)) -> None:
        # A file's name need not be valid UTF-8.
        with open(path, "w", encoding="utf-8", errors="backslashreplace") as file:
            for fault in chain(faults_of(store), unknown_captions(store, coverage)):
                if fault.kind in UNHEARD and not options.captions_needed:
                    silent[UNHEARD[fault.kind]] += 1
                    continue
                kinds[fault.kind] += 1
                line = json.dumps(asdict(fault), ensure_ascii=False)
                if kinds.total() <= SHOWN:
                    print(printable(line))
                file.write(line + "\n")
            if not kinds:  # an empty file would look like one that was cut off
                nothing = {"kind": "none", "shard": "", "clip": "", "fault": "no faults"}
                file.write(json.dumps(nothing) + "\n")

    if options.json is None:
        check()
    else:
        write_whole(options.json, check)
    counted = ", ".join(f"{kind} {count}" for kind, count in kinds.most_common()) or "none"
    print(f"{options.store}: {len(store)} clips, faults: {counted}")
    for what, clips in silent.items():
        print(f"  {clips} clips have {what}")
    if coverage.captions:
        print(f"  {printable(coverage.line())}")
    if options.fix:
        print("\n".join(fix(store, options.fix).lines()))
    return 1 if kinds else 0


def inspect_command(options: argparse.Namespace) -> int:
    """``inspect``."""
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
    """``convert``."""
    from paddlevideo.files.walk import refuse_inside
    from paddlevideo.files.writable import check_folder
    from paddlevideo.loader.store import FeatureStore
    from paddlevideo.prepare import PackOptions, pack, to_lmdb, to_npy

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

    return exit_code_of(work, again=f"{STARTS_OVER}: pack keeps what is done")
