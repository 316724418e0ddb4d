"""Files that belong together: a head, JSON, that holds the checksums of the others.

The head is removed first and written last: a reader never finds it beside files of another run,
and the checksums tell if a file was copied or changed later.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from paddlevideo.files.partials import partial_of
from paddlevideo.files.whole import checksum, naming, read_json, sync_file, sync_folder
from paddlevideo.utils.errors import DataError

#: The entry of the head: checksums by file name.
FILES = "files"


def write_together(
    head: Path, record: Mapping[str, Any], parts: Mapping[str, Callable[[Path], object]]
) -> None:
    """Writes ``parts``, by file name, beside ``head``, and ``head`` with ``record`` as JSON.

    All are written under temporary names before any has its own. On any error before that nothing
    is changed; a process killed later leaves no head. The error names the file.
    """
    with ExitStack() as stack:
        partials = {}
        for name, write in parts.items():
            path = head.with_name(name)
            with naming(path):
                partials[path] = stack.enter_context(partial_of(path))
                write(partials[path])
                sync_file(partials[path])
        files = {path.name: checksum(partial) for path, partial in partials.items()}
        text = json.dumps({**record, **({FILES: files} if files else {})}, indent=2) + "\n"
        with naming(head):
            partials[head] = stack.enter_context(partial_of(head))
            partials[head].write_text(text, encoding="utf-8")
            sync_file(partials[head])
            if len(partials) > 1:
                head.unlink(missing_ok=True)
        for path, partial in partials.items():
            with naming(path):
                os.replace(partial, path)
        sync_folder(head.parent)


def check_together(path: Path, head: str = "results.json") -> None:
    """Raises DataError where the ``head`` beside ``path`` belongs to another file of its name.

    Heads of earlier versions, and none at all, say nothing of it.
    """
    try:
        expected = read_json(path.with_name(head))[FILES][path.name]
    except (KeyError, TypeError):
        return
    if path.is_file() and checksum(path) != expected:
        raise DataError(
            f"{path}: is not the file that {path.with_name(head)} was written with: they are of "
            "two tests, or one was changed. Run the test again, or copy both from one folder"
        )
