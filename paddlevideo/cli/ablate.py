r"""Trains and tests variants of a recipe: what is each of its parts worth?

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

``train`` holds for the test too. Every run goes through main.py; a run that is done is not
repeated, and one that was interrupted is continued. Writes table.md, results.json and ablation.png.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.cli.report import aligned
from paddlevideo.files.whole import read_json, write_json_whole, write_text_whole
from paddlevideo.metrics.bootstrap import paired_difference
from paddlevideo.utils.children import Children, terminable, this_python
from paddlevideo.utils.command import RESUMES, exit_code_of
from paddlevideo.utils.errors import ConfigError, UserError
from paddlevideo.utils.options import Parser, add_override, as_path, as_path_text
from paddlevideo.utils.ranges import count, count_or_zero, positive

#: What main.py does, in a process of its own.
RUN = this_python("from paddlevideo.cli import run_command; sys.exit(run_command('run'))")
TEXT, VIDEO = "text_to_video", "video_to_text"
METRICS = ("R@1", "R@5", "R@10", "MedianR")
STAGES = ("first_stage", "match_alone")


@dataclass(frozen=True)
class Variant:
    """A change of the recipe."""

    name: str
    train: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    weights_of: str = ""

    @property
    def folder(self) -> str:
        """The name of its folder."""
        return "".join(c if c.isalnum() else "_" for c in self.name)


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Returns the options of the command line."""
    parser = Parser(description=__doc__)
    parser.add_argument("config", type=as_path_text, help="the recipe, as main.py -c takes it")
    parser.add_argument("--variants", type=as_path, required=True, metavar="FILE")
    add_override(parser, text="for all of them")
    parser.add_argument(
        "--schedule", type=positive, default=0.25, metavar="PART",
        help="share of the recipe's epochs that each run gets (default 0.25)",
    )  # fmt: skip
    parser.add_argument("--seeds", type=count, default=1, help="runs of each variant (default 1)")
    parser.add_argument(
        "--closest", type=count_or_zero, default=3, metavar="N",
        help="the first variant, and the N whose recall is nearest to its, get three seeds "
        "(default 3; 0: none)",
    )  # fmt: skip
    parser.add_argument("--jobs", type=count, default=1, help="runs at a time (default 1)")
    parser.add_argument("--output", type=as_path, default=Path("output/ablation"), metavar="FOLDER")
    return parser.parse_args(arguments)


def read_variants(path: Path) -> list[Variant]:
    """Returns the list in a YAML file. Raises ConfigError, naming file and entry."""
    from paddlevideo.config.yaml_text import parse_yaml

    try:
        entries = parse_yaml(path.read_text(encoding="utf-8-sig"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    if not isinstance(entries, list) or not entries:
        raise ConfigError(f"{path}: expected a list of variants, each with a name")
    variants: list[Variant] = []
    for index, entry in enumerate(entries, 1):
        where = f"{path}: variant {index}"
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise ConfigError(f"{where}: {entry!r:.60} is not a map with a name")
        variants.append(_variant(entry, f'{where} ("{entry["name"]}")', variants))
    return variants


def _variant(entry: dict[str, Any], where: str, above: Sequence[Variant]) -> Variant:
    """Returns a variant; ``above``: the entries before it. Raises ConfigError."""
    unknown = set(entry) - {"name", "train", "test", "weights_of"}
    lists = [entry.get(key) or [] for key in ("train", "test")]
    if unknown or not all(isinstance(each, list) for each in lists):
        raise ConfigError(
            f"{where}: takes name, train and test (lists of a.b=value) and weights_of, "
            f"not {', '.join(map(str, sorted(unknown))) or 'other values'}"
        )
    train, test = (tuple(map(str, each)) for each in lists)
    variant = Variant(entry["name"], train, test, str(entry.get("weights_of") or ""))
    trained = {other.name for other in above if not other.weights_of}
    if variant.weights_of and (train or variant.weights_of not in trained):
        raise ConfigError(
            f"{where}: weights_of must name a variant above that is trained, and then nothing is "
            "left to train"
        )
    if variant.folder in {other.folder for other in above}:
        raise ConfigError(
            f"{where}: another variant has this name, or one that differs in punctuation only"
        )
    return variant


# ------------------------------------------------------------------------------------ runs


class Ablation:
    """Runs variants in folders of their own, each once."""

    def __init__(self, options: argparse.Namespace, variants: Sequence[Variant]) -> None:
        import paddlevideo as pv

        self.options, self.variants = options, list(variants)
        config = pv.load_config(options.config, options.override)
        self.recipe = json.loads(json.dumps(config.to_dict()))  # as ``done.json`` will hold it
        self.model_name = config.get("model_name", "model")
        self.epochs = max(1, round(options.schedule * config.get("epochs", 1)))
        self.validates = bool(config.DATASET.get("valid"))
        best = (config.get("METRIC") or {}).get("best") or ""
        #: The recall that variants are compared by: that which chooses the recipe's best weights.
        self.recall = best.split(".")[-1] if ".R@" in best else "R@10"
        self.children = Children()
        self.threads = max(1, (os.cpu_count() or 1) // options.jobs)

    def run_all(self, variants: Sequence[Variant], seeds: Sequence[int]) -> None:
        """Does all runs that are missing. Raises UserError naming those that failed."""
        runs = [(variant, seed) for seed in seeds for variant in variants]
        # What is only tested needs the weights of others.
        stages = ([r for r in runs if not r[0].weights_of], [r for r in runs if r[0].weights_of])
        failed: list[str] = []
        for stage in stages:
            with ThreadPoolExecutor(self.options.jobs) as pool:
                try:
                    failed += filter(None, pool.map(lambda run: self.run(*run), stage))
                except BaseException:
                    pool.shutdown(wait=False, cancel_futures=True)
                    self.children.end()
                    raise
        if failed:
            raise UserError("\n".join([f"{len(failed)} run(s) failed:", *failed]))

    def run(self, variant: Variant, seed: int) -> str:
        """Does one run; returns what failed, or an empty text."""
        folder = self.folder(variant, seed)
        commands = self.commands(variant, seed)
        if self.is_done(variant, seed):
            return ""
        began = time.monotonic()
        folder.mkdir(parents=True, exist_ok=True)
        for index, command in enumerate(commands):
            log = folder / f"{'test' if index + 1 == len(commands) else 'train'}.log"
            with open(log, "ab") as output:  # continued after an interruption, as the run is
                code = self.children.call([*RUN, *command], output)
            if code:
                last = log.read_text(errors="replace").strip().splitlines()[-1:]
                return f'  {variant.name}, seed {seed}: {log} ends with "{"".join(last)}"'
        seconds = time.monotonic() - began
        done = {"commands": commands, "recipe": self.recipe, "seconds": seconds}
        write_json_whole(folder / "done.json", done)
        recall = read_json(folder / "test" / "results.json")[TEXT][self.recall]
        print(
            f"{variant.name}, seed {seed}: {self.recall} {recall:.1f} ({seconds:.0f} s)", flush=True
        )
        return ""

    def commands(self, variant: Variant, seed: int) -> list[list[str]]:
        """Returns arguments of main.py to train, unless weights exist, and to test."""
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
        """Returns the folder of a run."""
        return self.options.output.resolve() / variant.folder / f"seed{seed}"

    def done(self, variant: Variant) -> list[int]:
        """Returns the seeds of the runs that are done."""
        names = [folder.name[4:] for folder in self.folder(variant, 0).parent.glob("seed*")]
        seeds = sorted(int(name) for name in names if name.isdecimal())
        return [seed for seed in seeds if self.is_done(variant, seed)]

    def is_done(self, variant: Variant, seed: int) -> bool:
        """Whether a run is done with these commands and this recipe, and its files are whole."""
        folder = self.folder(variant, seed)
        results, done = (read_json(folder / name) for name in ("test/results.json", "done.json"))
        try:
            same = done["commands"] == self.commands(variant, seed)
            # Earlier releases did not record the recipe.
            return same and done.get("recipe", self.recipe) == self.recipe and TEXT in results
        except (AttributeError, KeyError, TypeError):
            return False

    def tests(self, variant: Variant, name: str) -> list[Path]:
        """Returns the files of that name that a variant's tests wrote, one for each seed."""
        return [self.folder(variant, seed) / "test" / name for seed in self.done(variant)]

    def row(self, variant: Variant) -> dict[str, Any]:
        """Returns means over a variant's seeds, and the difference from the first variant."""
        results = [read_json(path) for path in self.tests(variant, "results.json")]
        row: dict[str, Any] = {"name": variant.name, "seeds": self.done(variant)}
        row["recall"] = self.recall
        for direction in (TEXT, VIDEO):
            for name in METRICS:
                values = [each[direction][name] for each in results]
                row[f"{direction}.{name}"] = float(np.mean(values))
                spread = float(np.std(values, ddof=1)) if values[1:] else None
                row[f"{direction}.{name}.spread"] = spread
        for stage in STAGES:
            alone = [each[stage][TEXT][self.recall] for each in results if stage in each]
            row[stage] = float(np.mean(alone)) if alone else None
        sides = [self.tests(each, "queries.jsonl") for each in (variant, self.variants[0])]
        ranks = aligned(sides[0], sides[1], TEXT)
        row["difference"] = asdict(paired_difference(*ranks, k=int(self.recall[2:])))
        return row

    def closest(self, count: int) -> list[Variant]:
        """Returns the first variant, the ``count`` nearest in recall, and sources of weights."""
        recall = {each: self.row(each)[f"{TEXT}.{self.recall}"] for each in self.variants}
        first, *others = self.variants
        near = sorted(others, key=lambda each: abs(recall[each] - recall[first]))[:count]
        needed = {each.weights_of for each in near}
        return [v for v in self.variants if v in (first, *near) or v.name in needed]


# ----------------------------------------------------------------------------------- table


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns the rows of ``results.json`` as Markdown."""
    recall = rows[0]["recall"]  # what variants are compared by
    lines = [
        f"| variant | {' | '.join(METRICS[:3])} | median rank | {recall} video to text "
        f"| {recall} first stage | {recall} match margin | {recall} against the first (95 %) "
        "| seeds |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for index, row in enumerate(rows):
        cells = [_mean(row, f"{TEXT}.{name}") for name in METRICS[:3]]
        cells += [f"{row[f'{TEXT}.MedianR']:.0f}", _mean(row, f"{VIDEO}.{recall}")]
        cells += ["" if row[stage] is None else f"{row[stage]:.1f}" for stage in STAGES]
        gap = row["difference"]
        value = gap["first"] - gap["second"]
        cells.append(f"{value:+.1f} ({gap['low']:+.1f} to {gap['high']:+.1f})" if index else "")
        lines.append(f"| {row['name']} | " + " | ".join([*cells, str(len(row["seeds"]))]) + " |")
    return "\n".join(lines) + "\n"


def _mean(row: Mapping[str, Any], name: str) -> str:
    """Returns a number's mean and, with several seeds, its standard deviation."""
    spread = row[f"{name}.spread"]
    return f"{row[name]:.1f}" + ("" if spread is None else f" +- {spread:.1f}")


def write_tables(ablation: Ablation) -> None:
    """Prints the table, and writes it as Markdown, JSON and a plot."""
    from paddlevideo.report.bars import Bar, write_bars

    rows, output = [ablation.row(each) for each in ablation.variants], ablation.options.output
    recall = ablation.recall
    text = table(rows)
    write_text_whole(output / "table.md", text)
    write_json_whole(output / "results.json", rows)
    bars = [Bar(rows[0]["name"], rows[0][f"{TEXT}.{recall}"])]
    for row in rows[1:]:
        low, high = (
            row["difference"]["second"] + row["difference"][end] for end in ("low", "high")
        )
        bars.append(Bar(row["name"], row[f"{TEXT}.{recall}"], low, high))
    title = f"{ablation.model_name}: {recall}, text to video"
    note = f"{ablation.epochs} epoch(s) each; 95 % of the paired differences to the first"
    write_bars(output / "ablation.png", title, note, bars)
    print(text)
    print(f"wrote {output}/table.md, results.json and ablation.png")


def run(options: argparse.Namespace) -> None:
    """Does all runs and writes the results."""
    variants = read_variants(options.variants)
    ablation = Ablation(options, variants)
    print(
        f"{len(variants)} variants, {ablation.epochs} epoch(s) each, {options.jobs} at a time with "
        f"{ablation.threads} thread(s)",
        flush=True,
    )
    with terminable():
        ablation.run_all(variants, range(options.seeds))
        if options.closest and options.seeds < 3 and variants[1:]:
            ablation.run_all(ablation.closest(options.closest), range(options.seeds, 3))
    write_tables(ablation)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    options = parse_arguments(arguments)
    return exit_code_of(lambda: run(options), again=RESUMES)
