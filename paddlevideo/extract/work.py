"""The work folder: what is extracted of each video, and how that went, in two files a video.

``<2 hex>/<name>.clips`` holds the records of its clips, each behind its length; ``<name>.json``,
written after it, its status. The name is a checksum of the video's id, which may be of any length.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from paddlevideo.files.whole import read_json, write_bytes_whole, write_text_whole
from paddlevideo.loader.store.records import PREFIX
from paddlevideo.utils.errors import DataError

LENGTH = struct.Struct("<Q")
DONE, FAILED = "done", "failed"


@dataclass(frozen=True)
class ExtractOptions:
    """What is extracted, and where to."""

    videos: Path
    output: Path
    config: str = "extract/classical.yaml"
    overrides: Sequence[str] = ()
    captions: Sequence[Path] = ()
    #: None: beside the output.
    work: Path | None = None
    draw: Path | None = None
    dtype: str = "float16"
    #: ``k/n``; empty: as the launcher says, else everything.
    part: str = ""
    #: Of OpenCV and onnxruntime; 0: as they choose.
    threads: int = 0

    @property
    def work_folder(self) -> Path:
        """Where it is, named or not."""
        return self.work or self.output.with_name(self.output.name + ".work")


@dataclass
class Status:
    """How it went with a video."""

    video: str
    path: str
    status: str = DONE
    #: Of a failure: a few words to count it under, and what happened.
    cause: str = ""
    reason: str = ""
    #: For each clip: id, the number of its row in the list, start and end in seconds or null.
    clips: list[tuple[str, int, float | None, float | None]] = field(default_factory=list)
    #: Further rows that ask for a clip: its id, the number of the row.
    shared: list[tuple[str, int]] = field(default_factory=list)
    #: What is worth telling, in words to count it under.
    notes: list[str] = field(default_factory=list)
    #: Clips in which nothing was found, and those that begin after the video's end.
    without_regions: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    #: Frames that the file has, and those that its head announces: often an estimate.
    length: int = 0
    announced: int = 0
    #: Widths of regions, actions and region classes.
    sizes: tuple[int, int, int] = (0, 0, 0)
    #: Frames that were gone through; seconds in all, and of these decoding.
    frames: int = 0
    seconds: float = 0.0
    decode_seconds: float = 0.0
    frame_rate: float = 0.0
    fingerprint: str = ""

    def line(self) -> str:
        """It as JSON."""
        return json.dumps(asdict(self), ensure_ascii=False)


class WorkFolder:
    """Statuses and records by the id of a video."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def place(self, video: str, ending: str) -> Path:
        """A file of a video."""
        name = hashlib.blake2b(video.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
        return self.path / name[:2] / (name + ending)

    def status(self, video: str, fingerprint: str) -> Status | None:
        """What is known of a video, if it is whole and was made with these settings."""
        record = read_json(self.place(video, ".json"))
        try:
            known = {item.name for item in fields(Status)}
            status = Status(**{name: value for name, value in record.items() if name in known})
        except (AttributeError, TypeError):
            return None
        same = (status.video, status.fingerprint) == (video, fingerprint)
        return status if same and status.status in (DONE, FAILED) else None

    def checked(self, video: str, fingerprint: str) -> Status | None:
        """The status of a video that is done, if every record of it is whole, else None."""
        status = self.status(video, fingerprint)
        if status is None or status.status != DONE:
            return None
        try:
            records = list(self.records(video))
        except DataError:
            return None
        whole = all(
            zlib.crc32(memoryview(each)[PREFIX.size :]) == _expected(each) for each in records
        )
        return status if whole and len(records) == len(status.clips) else None

    def records(self, video: str) -> Iterator[bytes]:
        """The records of a video, in order. Raises DataError where the file is cut or missing."""
        path = self.place(video, ".clips")
        try:
            with open(path, "rb") as file:
                size, place = path.stat().st_size, 0
                while place < size:
                    length = _unpacked(file.read(LENGTH.size), path)
                    place += LENGTH.size + length
                    if length < PREFIX.size or place > size:
                        raise _damaged(path)
                    yield file.read(length)
        except OSError as fault:
            raise DataError(f"{path}: cannot be read ({fault.strerror})") from None

    def forget(self, video: str) -> None:
        """The video is to be done again: no other process may take its old status for the new."""
        self.place(video, ".json").unlink(missing_ok=True)

    def save(self, status: Status, records: Sequence[bytes]) -> None:
        """Writes both files, the status last. Raises DataError where the disk is full."""
        framed = b"".join(LENGTH.pack(len(record)) + record for record in records)
        path = self.place(status.video, ".clips")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes_whole(path, framed)
            write_text_whole(self.place(status.video, ".json"), status.line() + "\n")
        except OSError as fault:
            raise DataError(
                f"{path}: cannot be written ({fault.strerror}). Make room and run the same command "
                "again: it goes on"
            ) from None


def _expected(record: bytes) -> Any:
    return PREFIX.unpack_from(record)[0]


def _unpacked(data: bytes, path: Path) -> int:
    if len(data) != LENGTH.size:
        raise _damaged(path)
    return int(LENGTH.unpack(data)[0])


def _damaged(path: Path) -> DataError:
    return DataError(f"{path}: is damaged. Run the same command again: the video is done anew")
