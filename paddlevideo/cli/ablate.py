r"""Trains and tests variants of a recipe, and tells what each of its parts is worth.

    paddlevideo ablate actbert_youcook2_mini.yaml \
      --variants tools/ablations/youcook2_mini.yaml \
      -o MODEL.backbone.pretrained=$BERT

The variants are a YAML list; the first one is what the others are compared with:

    - name: the recipe
    - name: without masked words
      train: [MODEL.loss.text_weight=0]
    - name: in two stages          # the weights of another one, tested otherwise
      weights_of: the recipe
      test: [MODEL.top_k=128]

``train`` holds for the test too. Every run goes through main.py; a run that is done is not done
again, and one that was interrupted goes on. Writes table.md, results.json and ablation.png.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.cli.compare_runs import aligned
from paddlevideo.files.whole import read_json, write_json_whole, write_text_whole
from paddlevideo.metrics.bootstrap import Difference, paired_difference
from paddlevideo.utils.children import Children, terminable, this_python
from paddlevideo.utils.command import DONE_IS_KEPT, exit_code_of
from paddlevideo.utils.errors import ConfigError, UserError
from paddlevideo.utils.options import Parser, add_override, as_path, as_path_text
from paddlevideo.utils.ranges import count, count_or_zero, positive

#: What main.py does, in a process of its own.
RUN = this_python("from paddlevideo.cli import run_command; sys.exit(run_command('run'))")
WAYS = {"text_to_video": "text to video", "video_to_text": "video to text"}
RECALLS = (1, 5, 10)


@dataclass(frozen=True)
class Variant:
    """A change of the recipe."""

    name: str
    train: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    weights_of: str = ""

    @property
    def folder(self) -> str:
        """Its name as that of a folder."""
        return "".join(c if c.isalnum() else "_" for c in self.name)


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = Parser(description=__doc__)
    parser.add_argument("config", type=as_path_text, help="the recipe, as main.py -c takes it")
    parser.add_argument("--variants", type=as_path, required=True, metavar="FILE")
    add_override(parser, text="for all of them")
    parser.add_argument(
        "--schedule", type=positive, default=0.25, metavar="PART",
        help="how much of the recipe's epochs each run gets (default 0.25)",
    )  # fmt: skip
    parser.add_argument("--seeds", type=count, default=1, help="runs of each variant (default 1)")
    parser.add_argument(
        "--closest", type=count_or_zero, default=3, metavar="N",
        help="give so many variants whose R@10 is nearest to the first one's, and the first one, "
        "three seeds (default 3; 0: none)",
    )  # fmt: skip
    parser.add_argument("--jobs", type=count, default=1, help="runs at a time (default 1)")
    parser.add_argument("--output", type=as_path, default=Path("output/ablation"), metavar="FOLDER")
    return parser.parse_args(arguments)


def read_variants(path: Path) -> list[Variant]:
    """The list in a YAML file. Raises ConfigError, naming file and entry."""
    from paddlevideo.config.yaml_text import parse_yaml

    try:
        entries = parse_yaml(path.read_text(encoding="utf-8-sig"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    if not isinstance(entries, list) or not entries:
        raise ConfigError(f"{path}: expected a list of variants, each with a name")
    variants: list[Variant] = []
    for number, entry in enumerate(entries, 1):
        where = f"{path}: variant {number}"
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise ConfigError(f"{where}: {entry!r:.60} is no map with a name")
        unknown = set(entry) - {"name", "train", "test", "weights_of"}
        lists = [entry.get(key) or [] for key in ("train", "test")]
        if unknown or not all(isinstance(each, list) for each in lists):
            raise ConfigError(
                f'{where} ("{entry["name"]}"): takes name, train and test (lists of a.b=value) and '
                f"weights_of, not {', '.join(map(str, sorted(unknown))) or 'other values'}"
            )
        train, test = (tuple(map(str, each)) for each in lists)
        variant = Variant(entry["name"], train, test, str(entry.get("weights_of") or ""))
        trained = {other.name for other in variants if not other.weights_of}
        if variant.weights_of and (train or variant.weights_of not in trained):
            raise ConfigError(
                f'{where} ("{variant.name}"): weights_of names a variant above that is trained, '
                "and leaves nothing to train"
            )
        if variant.folder in {other.folder for other in variants}:
            raise ConfigError(f'{where}: the name "{variant.name}" is taken, or nearly so')
        variants.append(variant)
    return variants


# ------------------------------------------------------------------------------------ runs


class Ablation:
    """Runs variants in folders of their own, each once."""

    def __init__(self, options: argparse.Namespace, variants: Sequence[Variant]) -> None:
        import paddlevideo as pv

        self.options, self.variants = options, list(variants)
        config = pv.load_config(options.config, options.override)
        self.model_name = config.get("model_name", "model")
        self.epochs = max(1, round(options.schedule * config.get("epochs", 1)))
        self.validates = bool(config.DATASET.get("valid"))
        self.children = Children()
        self.threads = max(1, (os.cpu_count() or 1) // options.jobs)

    def runs_of(self, chosen: Sequence[Variant], seeds: Sequence[int]) -> None:
        """Does all runs that are not done yet. Raises UserError naming those that failed."""
        wanted = [(variant, seed) for seed in seeds for variant in chosen]
        trained = [(v, s) for v, s in wanted if not v.weights_of]
        tested = [(v, s) for v, s in wanted if v.weights_of]
        failed: list[str] = []
        for part in (trained, tested):  # what is only tested needs others' weights
            with ThreadPoolExecutor(self.options.jobs) as pool:
                try:
                    failed += filter(None, pool.map(lambda run: self.run(*run), part))
                except BaseException:
                    pool.shutdown(wait=False, cancel_futures=True)
                    self.children.end()
                    raise
        if failed:
            raise UserError("\n".join([f"{len(failed)} run(s) failed:", *failed]))

    def run(self, variant: Variant, seed: int) -> str:
        """One run; what went wrong, or "" ."""
        folder = self.folder(variant, seed)
        lines = self.command_lines(variant, seed)
        if self.commands_done(folder) == lines:
            return ""
        began = time.monotonic()
        folder.mkdir(parents=True, exist_ok=True)
        for number, line in enumerate(lines):
            log = folder / f"{'test' if number + 1 == len(lines) else 'train'}.log"
            with open(log, "ab") as output:  # goes on after an interruption, as the run does
                code = self.children.call([*RUN, *line], output)
            if code:
                last = log.read_text(errors="replace").strip().splitlines()[-1:]
                return f'  {variant.name}, seed {seed}: {log} ends with "{"".join(last)}"'
        seconds = time.monotonic() - began
        write_json_whole(folder / "done.json", {"commands": lines, "seconds": seconds})
        found = self.results(variant, seed)["text_to_video"]["R@10"]
        print(f"{variant.name}, seed {seed}: R@10 {found:.1f} ({seconds:.0f} s)", flush=True)
        return ""

    def command_lines(self, variant: Variant, seed: int) -> list[list[str]]:
        """What main.py is given to train, if it is, and to test."""
        source = next((v for v in self.variants if v.name == variant.weights_of), variant)
        trained = self.folder(source, seed)
        common = [*self.options.override, *source.train, f"num_threads={self.threads}"]
        weights = trained / f"{self.model_name}_epoch_{self.epochs:05d}.pdparams"
        train = [
            *("-c", self.options.config, *(["--validate"] if self.validates else []), "-o"),
            *(*common, f"seed={seed}", f"epochs={self.epochs}", f"val_interval={self.epochs}"),
            *(f"save_interval={self.epochs}", "resume=auto", f"output_dir={trained}"),
        ]
        test = [
            *("--test", "-c", self.options.config, "-w", str(weights), "-o", *common),
            *(*variant.test, f"output_dir={self.folder(variant, seed) / 'test'}"),
        ]
        return [test] if variant.weights_of else [train, test]

    def folder(self, variant: Variant, seed: int) -> Path:
        """Where a run writes."""
        return self.options.output.resolve() / variant.folder / f"seed{seed}"

    def done(self, variant: Variant) -> list[int]:
        """Seeds of the runs that are there."""
        folders = self.folder(variant, 0).parent.glob("seed*")
        done = [folder for folder in folders if self.commands_done(folder) is not None]
        return sorted(int(folder.name[4:]) for folder in done if folder.name[4:].isdecimal())

    @staticmethod
    def commands_done(folder: Path) -> Any:
        """What a run that is done was given; None where it is not, or its files are damaged."""
        results, done = (read_json(folder / name) for name in ("test/results.json", "done.json"))
        try:
            return done["commands"] if "text_to_video" in results else None
        except (KeyError, TypeError):
            return None

    def results(self, variant: Variant, seed: int) -> dict[str, Any]:
        """The numbers of a run's test."""
        return read_json(self.folder(variant, seed) / "test" / "results.json")

    def recall(self, variant: Variant) -> float:
        """R@10 of text to video, the mean over the seeds."""
        found = [
            self.results(variant, seed)["text_to_video"]["R@10"] for seed in self.done(variant)
        ]
        return float(np.mean(found))

    def difference(self, variant: Variant) -> Difference:
        """R@10 of text to video against the first variant's."""
        first, second = (
            [self.folder(one, seed) / "test" / "queries.jsonl" for seed in self.done(one)]
            for one in (variant, self.variants[0])
        )
        return paired_difference(*aligned(first, second, "text_to_video"))


def closest(ablation: Ablation, count: int) -> list[Variant]:
    """The first variant and those whose recall is nearest to its own."""
    first, *others = ablation.variants
    at = ablation.recall(first)
    near = sorted(others, key=lambda one: abs(ablation.recall(one) - at))[:count]
    needed = {one.weights_of for one in near}
    return [one for one in ablation.variants if one in (first, *near) or one.name in needed]


# ----------------------------------------------------------------------------------- table


def rows_of(ablation: Ablation) -> list[dict[str, Any]]:
    """The numbers of each variant."""
    rows = []
    for variant in ablation.variants:
        seeds = ablation.done(variant)
        found = [ablation.results(variant, seed) for seed in seeds]
        row: dict[str, Any] = {"name": variant.name, "seeds": seeds}
        for way in WAYS:
            for name in (*(f"R@{k}" for k in RECALLS), "MedianR"):
                values = [each[way][name] for each in found]
                row[f"{way}.{name}"] = float(np.mean(values))
                row[f"{way}.{name}.spread"] = float(np.std(values, ddof=1)) if seeds[1:] else None
        alone = [
            each["match_alone"]["text_to_video"]["R@10"] for each in found if "match_alone" in each
        ]
        row["match_alone"] = float(np.mean(alone)) if alone else None
        row["difference"] = asdict(ablation.difference(variant))
        rows.append(row)
    return rows


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as Markdown."""
    lines = [
        "| variant | R@1 | R@5 | R@10 | median rank | R@10 video to text | R@10 match margin alone "
        "| R@10 against the first (95 %) | seeds |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for number, row in enumerate(rows):
        cells = [f"{row[f'text_to_video.R@{k}']:.1f}" for k in RECALLS]
        if row["text_to_video.R@10.spread"] is not None:
            cells[-1] += f" +- {row['text_to_video.R@10.spread']:.1f}"
        gap = row["difference"]
        value = gap["first"] - gap["second"]
        against = f"{value:+.1f} ({gap['low']:+.1f} to {gap['high']:+.1f})" if number else ""
        median = f"{row['text_to_video.MedianR']:.0f}"
        alone = "" if row["match_alone"] is None else f"{row['match_alone']:.1f}"
        other = f"{row['video_to_text.R@10']:.1f}"
        cells += [median, other, alone, against, str(len(row["seeds"]))]
        lines.append(f"| {row['name']} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def write_tables(ablation: Ablation) -> None:
    """Prints the table and writes it, its numbers and its picture."""
    from paddlevideo.report.bars import Bar, write_bars

    rows, output = rows_of(ablation), ablation.options.output
    text = table(rows)
    write_text_whole(output / "table.md", text)
    write_json_whole(output / "results.json", rows)
    bars = []
    for number, row in enumerate(rows):
        value, gap = row["text_to_video.R@10"], row["difference"]
        ends = (gap["second"] + gap["low"], gap["second"] + gap["high"]) if number else (None, None)
        bars.append(Bar(row["name"], value, *ends))
    what = f"{ablation.model_name}: R@10, text to video"
    note = f"{ablation.epochs} epoch(s) each; 95 % of the paired differences to the first"
    write_bars(output / "ablation.png", what, note, bars)
    print(text)
    print(f"wrote {output}/table.md, results.json and ablation.png")


def run(options: argparse.Namespace) -> None:
    """All of it."""
    variants = read_variants(options.variants)
    ablation = Ablation(options, variants)
    print(
        f"{len(variants)} variants, {ablation.epochs} epoch(s) each, {options.jobs} at a time with "
        f"{ablation.threads} thread(s)",
        flush=True,
    )
    with terminable():
        ablation.runs_of(variants, range(options.seeds))
        if options.closest and options.seeds < 3 and variants[1:]:
            ablation.runs_of(closest(ablation, options.closest), range(options.seeds, 3))
    write_tables(ablation)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    options = parse_arguments(arguments)
    return exit_code_of(lambda: run(options), again=DONE_IS_KEPT)
