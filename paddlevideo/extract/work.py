"""The work folder: the records of each video and its status, in two files.

``<2 hex>/<name>.clips`` holds the records of its clips, each behind its length; ``<name>.json``,
written after it, its status. The name is a checksum of the video's id, which may be of any length.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from paddlevideo.files.whole import read_json, write_bytes_whole, write_text_whole
from paddlevideo.loader.store.records import PREFIX
from paddlevideo.utils.errors import ConfigError, DataError

LENGTH = struct.Struct("<Q")
DONE, FAILED = "done", "failed"


@dataclass(frozen=True)
class ExtractOptions:
    """The options of ``paddlevideo extract``."""

    videos: Path
    output: Path
    config: str = "extract/classical.yaml"
    overrides: Sequence[str] = ()
    captions: Sequence[Path] = ()
    #: None: beside the output.
    work: Path | None = None
    #: The folder that paths in a list are relative to, and videos are named after; None: its own.
    base: Path | None = None
    draw: Path | None = None
    dtype: str = "float16"
    #: Replaces a store that was extracted from something else.
    overwrite: bool = False
    #: ``k/n``; empty: as the launcher says, else everything.
    part: str = ""
    #: The address of a Ray cluster as Ray takes it, or LOCAL; empty: processes of this machine.
    ray: str = ""
    #: Of OpenCV and networks in each process; 0: as they choose.
    threads: int = 0
    #: Processes on each machine; 0: one a core. None: one a core where no network is used, else
    #: one, and with Ray one a GPU.
    workers: int | None = None

    @property
    def work_folder(self) -> Path:
        """The given work folder, or the one beside the output."""
        return self.work or self.output.with_name(self.output.name + ".work")


@dataclass
class Status:
    """The result of one video."""

    video: str
    path: str
    status: str = DONE
    #: Of a failure: its kind in a few words, for the summary, and the message.
    cause: str = ""
    reason: str = ""
    #: For each clip: id, the index of its row in the list, start and end in seconds or null.
    clips: list[tuple[str, int, float | None, float | None]] = field(default_factory=list)
    #: Further rows that request a clip: its id, the index of the row.
    shared: list[tuple[str, int]] = field(default_factory=list)
    #: Remarks for the summary, which counts the videos of each.
    notes: list[str] = field(default_factory=list)
    #: Clips without a region, and those that begin after the video's end.
    without_regions: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    #: Frames that the file has, and those that its header announces: often an estimate.
    length: int = 0
    announced: int = 0
    #: Widths of regions, actions and region classes.
    sizes: tuple[int, int, int] = (0, 0, 0)
    #: Decoded frames; seconds in all, and of these decoding.
    frames: int = 0
    seconds: float = 0.0
    decode_seconds: float = 0.0
    frame_rate: float = 0.0
    fingerprint: str = ""

    def line(self) -> str:
        """Returns the status as JSON."""
        return json.dumps(asdict(self), ensure_ascii=False)


def part_of(text: str, environment: Mapping[str, str]) -> tuple[int, int]:
    """Returns ``2/8`` as (1, 8), index and number of parts; without it the launcher's, else (0, 1).

    Raises ConfigError for anything else.
    """
    if text:
        match = re.fullmatch(r"(\d+)/(\d+)", text)
        if not match or not 1 <= int(match[1]) <= int(match[2]):
            raise ConfigError(f'--part is K/N with K from 1 to N, as 2/8, not "{text}"')
        return int(match[1]) - 1, int(match[2])
    count = environment.get("PADDLE_TRAINERS_NUM") or "1"
    rank = environment.get("PADDLE_TRAINER_ID") or ("0" if count == "1" else "")
    if not (rank.isdecimal() and count.isdecimal() and int(rank) < int(count)):
        raise ConfigError(
            f"PADDLE_TRAINER_ID={rank} and PADDLE_TRAINERS_NUM={count} are not a part of a list: "
            "unset them, or give --part K/N"
        )
    return int(rank), int(count)


class WorkFolder:
    """Statuses and records by the id of a video."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def path_of(self, video: str, ending: str) -> Path:
        """Returns the path of a video's file."""
        name = hashlib.blake2b(video.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
        return self.path / name[:2] / (name + ending)

    def status(self, video: str, fingerprint: str) -> Status | None:
        """Returns the status of a video, if it is complete and was made with these settings."""
        record = read_json(self.path_of(video, ".json"))
        try:
            known = {item.name for item in fields(Status)}
            status = Status(**{name: value for name, value in record.items() if name in known})
        except (AttributeError, TypeError):
            return None
        same = (status.video, status.fingerprint) == (video, fingerprint)
        return status if same and status.status in (DONE, FAILED) else None

    def checked(self, video: str, fingerprint: str) -> Status | None:
        """Returns the status of a video that is done, if all its records are intact, else None."""
        status = self.status(video, fingerprint)
        if status is None or status.status != DONE:
            return None
        try:
            records = list(self.records(video))
        except DataError:
            return None
        is_intact = all(
            zlib.crc32(memoryview(record)[PREFIX.size :]) == PREFIX.unpack_from(record)[0]
            for record in records
        )
        return status if is_intact and len(records) == len(status.clips) else None

    def records(self, video: str) -> Iterator[bytes]:
        """Yields a video's records. Raises DataError where the file is truncated or missing."""
        path = self.path_of(video, ".clips")
        try:
            with open(path, "rb") as file:
                size, position = path.stat().st_size, 0
                while position < size:
                    length = int.from_bytes(file.read(LENGTH.size), "little")
                    position += LENGTH.size + length
                    if length < PREFIX.size or position > size:
                        raise DataError(
                            f"{path}: is damaged. Run the same command again: it repeats the video"
                        )
                    yield file.read(length)
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror})") from None

    def forget(self, video: str) -> None:
        """Removes a video's status: no other process may take it for the new one."""
        self.path_of(video, ".json").unlink(missing_ok=True)

    def save(self, status: Status, records: Sequence[bytes]) -> None:
        """Writes both files, the status last. Raises DataError where the disk is full."""
        framed = b"".join(LENGTH.pack(len(record)) + record for record in records)
        path = self.path_of(status.video, ".clips")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes_whole(path, framed)
            write_text_whole(self.path_of(status.video, ".json"), status.line() + "\n")
        except OSError as error:
            raise DataError(
                f"{path}: cannot be written ({error.strerror}). Make room and run the same command "
                "again: it continues"
            ) from None
