"""Files that other Python packages bring."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path


def in_package(package: str, file: str) -> Path | None:
    """Returns the first file of an installed package that matches a pattern, or None.

    The package is located without importing it: it may import much.
    """
    spec = find_spec(package)
    folders = (spec.submodule_search_locations if spec else None) or []
    found = (path for folder in folders for path in sorted(Path(folder).glob(file)))
    return next((path for path in found if path.is_file()), None)
