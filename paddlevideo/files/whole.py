"""Files and folders that are written whole or not at all, alone or several that belong together.

Checksums in a head or a manifest tell whether a file was copied or changed later.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from paddlevideo.files.partials import partial_of, put_in_place
from paddlevideo.utils.errors import DataError

#: The entry of a head with the checksums of the files that belong to it, by name.
FILES = "files"
#: The CRC-32 of whatever ends with the CRC-32 of all before it.
CRC32_WITH_ITSELF = zlib.crc32(bytes(4))
#: NumPy's message, which has no error number, where a file takes less than it was given.
_CUT_SHORT = re.compile(r"\d+ requested and \d+ written")
_PARTIAL = re.compile(r"\.\d+\.partial(/|$)")
_STREAMS = ("/dev/stdout", "/dev/stderr", "/dev/fd/", "/proc/self/fd/")


def write_whole(path: str | Path, write: Callable[[Path], object]) -> None:
    """Calls ``write(partial)`` for a temporary name beside ``path``, then renames.

    The data is on the disk before the name is: after a power cut ``path`` is the old file or the
    new one. On any error, such as a full disk, the temporary file is removed and the error raised
    with the name of ``path``. What a killed process left beside ``path`` is removed. A pipe or a
    device is written to directly.
    """
    path = Path(path)
    if str(path).startswith(_STREAMS) or (path.exists() and not path.is_file()):
        with naming(path):
            write(path)
        return
    with naming(path):
        with partial_of(path) as partial:
            write(partial)
            sync_file(partial)
            os.replace(partial, path)
        sync_folder(path.parent)


def write_bytes_whole(path: str | Path, data: bytes) -> None:
    """Writes ``data``, whole or not at all."""
    write_whole(path, lambda partial: partial.write_bytes(data))


def write_text_whole(path: str | Path, text: str) -> None:
    """Writes ``text`` as UTF-8, whole or not at all; a file's name in it need not be UTF-8."""
    write_bytes_whole(path, text.encode("utf-8", "backslashreplace"))


def write_json_whole(path: str | Path, value: Any) -> None:
    """Writes a value as indented JSON in ASCII, whole or not at all."""
    write_text_whole(path, json.dumps(value, indent=2) + "\n")


def append_json(path: Path, entry: Mapping[str, Any]) -> None:
    """Appends a line in one write: earlier lines stay when the process is killed."""
    line = json.dumps(entry, ensure_ascii=False) + "\n"
    with naming(path), open(path, "ab") as file:  # lines of several processes do not mix
        file.write(line.encode("utf-8", "backslashreplace"))


def write_arrays_whole(path: str | Path, arrays: Mapping[str, Any]) -> None:
    """Writes an ``.npz`` file, whole or not at all."""
    import numpy as np

    def write(partial: Path) -> None:
        with open(partial, "wb") as file:  # given a name, NumPy would add an ending to it
            np.savez(file, **arrays)

    write_whole(path, write)


def read_json(path: Path) -> Any:
    """Returns the value in a JSON file; None where it is absent or not valid JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def write_folder_whole(path: str | Path, write: Callable[[Path], object]) -> None:
    """Calls ``write(partial)`` for a new folder beside ``path``, then renames; replaces a folder.

    A reader finds the old folder or the new one, never a part of one; the old one keeps its name
    until the new one has it, where the file system can exchange two names. Of two writers at once
    the last one wins. On any error the new folder is removed and the error raised.
    """
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    with naming(path), partial_of(path, folder=True) as partial:
        write(partial)
        for folder, _, files in os.walk(partial):
            for name in files:
                sync_file(Path(folder, name))
            sync_folder(Path(folder))
        put_in_place(partial, path)
        sync_folder(path.parent)


def write_together(
    head: Path, record: Mapping[str, Any], parts: Mapping[str, Callable[[Path], object]]
) -> None:
    """Writes ``parts``, by file name, beside ``head``: JSON with ``record`` and their checksums.

    All are written under temporary names before any gets its own; the old head is removed first
    and the new one named last, so that no reader finds it beside files of another run. On an error
    nothing is changed; a process killed in between leaves no head. The error names the file.
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
        value = {**record, **({FILES: files} if files else {})}
        text = json.dumps(value, indent=2, default=plain) + "\n"
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


def plain(value: Any) -> Any:
    """Returns a NumPy number or array, or a tensor, as ``json.dumps`` takes it.

    Raises TypeError for anything else.
    """
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def check_together(path: Path) -> None:
    """Raises DataError if ``results.json`` beside ``path`` was written with another such file.

    A results.json that is absent or has no checksums, as in earlier versions, is not an error.
    """
    head = path.with_name("results.json")
    try:
        expected = read_json(head)[FILES][path.name]
    except (KeyError, TypeError):
        return
    if path.is_file() and checksum(path) != expected:
        raise DataError(
            f"{path}: is not the file that {head} was written with: they are of "
            "two tests, or one was changed. Run the test again, or copy both from one folder"
        )


def describe_whole(path: Path) -> dict[str, Any]:
    """Returns size and SHA-256 of a file, for a manifest: ``{"bytes": ..., "sha256": ...}``."""
    return {"bytes": path.stat().st_size, "sha256": checksum(path)}


def damage_of(path: Path, expected: Mapping[str, Any], manifest: str) -> str:
    """Returns how a file differs from what a manifest says of it, or "" if it does not."""
    if not path.is_file():
        return f"{path} is missing, {manifest} names it"
    size = path.stat().st_size
    if size != expected["bytes"]:
        return f"{path} has {size} bytes, {manifest} says {expected['bytes']}"
    if checksum(path) != expected["sha256"]:
        return f"{path} is damaged: its checksum is not that in {manifest}"
    return ""


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Context in which an OSError about writing ``path`` names it, also if a library did not."""
    try:
        yield
    except OSError as error:
        number, text = error.errno, error.strerror
        if number is None and _CUT_SHORT.search(str(error)):
            number, text = errno.ENOSPC, f"{os.strerror(errno.ENOSPC)} ({error})"
        name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
        is_ours = not name or _PARTIAL.search(name)
        if number is None or not is_ours or isinstance(error, ConnectionError | BrokenPipeError):
            raise
        raise OSError(number, text, str(path)) from error


def checksum(path: str | os.PathLike[str]) -> str:
    """Returns the SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def crc32_of(path: str | Path) -> int:
    """Returns the CRC-32 of a file: against accidents, in half the time of :func:`checksum`."""
    value, block = 0, memoryview(bytearray(1 << 20))
    with naming(path), open(path, "rb", buffering=0) as file:
        while count := file.readinto(block):
            value = zlib.crc32(block[:count], value)
    return value


def add_crc32(path: str | Path) -> None:
    """Appends the CRC-32 of a file to it, little-endian; NumPy and faiss do not read so far."""
    end = crc32_of(path).to_bytes(4, "little")
    with open(path, "ab") as file:
        file.write(end)


def has_crc32(path: str | Path) -> bool:
    """Whether a file has the contents to which :func:`add_crc32` added their CRC-32."""
    return crc32_of(path) == CRC32_WITH_ITSELF


def sync_file(path: Path) -> None:
    """Waits until the contents of a file are on the disk."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Makes the rename itself durable, where the system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
