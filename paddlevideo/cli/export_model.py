"""Exports a trained model as programs that paddlevideo predict runs without the model's code.

    paddlevideo export -c actbert_msrvtt.yaml -w ActBERT.pdparams --output exported

The folder contains three programs (for captions, videos and pairs) and export.json, which describes
their inputs. The sizes of captions and clips come from DATASET.test (or valid) of the
configuration, whose files need not exist. An earlier export is replaced; a folder with anything
else is refused. Exports of Paddle 3 do not load in Paddle 2.6, and vice versa.
"""

from __future__ import annotations

import argparse
import inspect
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paddlevideo.utils.command import exit_code_of, exit_on_interrupt
from paddlevideo.utils.options import Parser, add_import, add_override, as_path, as_path_text

if TYPE_CHECKING:
    from paddlevideo.export.manifest import Manifest, Sizes
    from paddlevideo.modeling import BaseFramework

SIZE_KEYS = ("max_seq_length", "max_region_num", "max_action_num", "bert_model")


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses the command line, without loading Paddle."""
    parser = Parser(description=__doc__)
    parser.add_argument(
        *("-c", "--config"), type=as_path_text, metavar="FILE",
        help="YAML file, or its name in configs/; default: the config.yaml beside the weights",
    )  # fmt: skip
    parser.add_argument(
        *("-w", "--weights"), type=as_path_text, metavar="FILE", required=True,
        help=".pdparams or .safetensors",
    )  # fmt: skip
    parser.add_argument("--output", type=as_path, required=True, help="the folder to write")
    add_override(parser)
    add_import(parser)
    return parser.parse_args(arguments)


def retrieval_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns ``SIZE_KEYS`` of DATASET.test or valid, with the data set's own defaults.

    Raises ConfigError if neither is a data set for retrieval.
    """
    from paddlevideo.registry import DATASETS
    from paddlevideo.utils.errors import ConfigError

    for split in ("test", "valid"):
        section = (config.get("DATASET") or {}).get(split) or {}
        if "format" not in section:
            continue
        parameters = inspect.signature(DATASETS.get(section["format"])).parameters
        if all(key in parameters for key in SIZE_KEYS):
            return {key: section.get(key, parameters[key].default) for key in SIZE_KEYS}
    raise ConfigError(
        "neither DATASET.test nor DATASET.valid is a data set for retrieval, which sets the length "
        "of captions and clips: use -c actbert_msrvtt.yaml, or add such a section"
    )


def sizes_for(model: BaseFramework, settings: Mapping[str, Any]) -> Sizes:
    """Returns the sizes of captions and clips: the data set's lengths, the model's widths."""
    from paddlevideo.export.manifest import Sizes
    from paddlevideo.modeling import ActBert
    from paddlevideo.utils.errors import ConfigError

    if not isinstance(model, ActBert):
        raise ConfigError(f"only an ActBert can be exported, not a {type(model).__name__}")
    widths = model.backbone.feature_sizes
    return Sizes(
        text_length=settings["max_seq_length"],
        regions=settings["max_region_num"],
        region_width=widths["image_feat"],
        actions=settings["max_action_num"],
        action_width=widths["action_feat"],
    )


def export(options: argparse.Namespace) -> Manifest:
    """Checks the options, builds the model, loads its weights and exports it. Raises UserError."""
    with exit_on_interrupt():
        from paddlevideo.config import check_config, import_parts, load_config, modules_of
        from paddlevideo.export import export_model
        from paddlevideo.export.manifest import Vocabulary, check_output
        from paddlevideo.files.fingerprint import unchanged
        from paddlevideo.files.writable import check_folder
        from paddlevideo.loader import load_tokenizer
        from paddlevideo.modeling import build_model, load_weights, locate_weights
        from paddlevideo.utils.errors import ConfigError
    check_output(options.output)
    weights = locate_weights(options.weights)
    check_folder(options.output.parent, "--output")
    beside = weights.parent / "config.yaml"
    if not options.config and not beside.is_file():
        raise ConfigError(f"there is no {beside}: -c FILE names the configuration of the model")
    config = load_config(options.config or beside, options.override)
    # Modules run code: only a file that the user has named may ask for them.
    named = modules_of(config) if options.config else []
    import_parts([*named, *options.modules])
    check_config(config, "export")
    settings = retrieval_settings(config)
    words = load_tokenizer(settings["bert_model"]).vocabulary_size
    model = build_model(config.MODEL, blank=True)
    with unchanged(weights) as sha256:
        load_weights(model, options.weights, for_test=True)
    return export_model(
        model,
        options.output,
        sizes_for(model, settings),
        Vocabulary(settings["bert_model"], words),
        weights,
        sha256,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code: 0, 1 for weights, 2 for configuration."""
    options = parse_arguments(arguments)
    os.environ.setdefault("GLOG_minloglevel", "2")  # hides notes about Paddle's executor
    from paddlevideo.utils.log import set_up_logging

    set_up_logging()
    return exit_code_of(lambda: describe(options.output, export(options)))


def describe(folder: Path, manifest: Manifest) -> None:
    """Prints what was written."""
    sizes, megabytes = manifest.sizes, sum(file["bytes"] for file in manifest.files.values()) / 1e6
    print(
        f"wrote {folder}: {megabytes:.1f} MB, captions of up to {sizes.text_length} ids, "
        f"{sizes.regions} regions of {sizes.region_width}, {sizes.actions} actions of "
        f"{sizes.action_width}, {'a' if manifest.similarity else 'no'} retrieval vector"
    )
