"""Video files by their first bytes: whether one is a video, complete, and of which codec."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from paddlevideo.files.filetype import VIDEOS

HEAD_BYTES = 1024

#: Files that begin with a box of these kinds are MP4 or QuickTime.
BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"skip", b"free", b"pnot")
#: What the box ftyp says of sound and of pictures.
NOT_VIDEO_BRANDS = (b"M4A ", b"M4B ", b"M4P ", b"avif", b"heic", b"heix", b"mif1", b"crx ")

#: Names of codecs by their four characters in a file, in upper case.
CODECS = {
    **dict.fromkeys(("AV01", "AV1 "), "AV1"),
    **dict.fromkeys(("HEV1", "HVC1", "HEVC", "H265"), "HEVC (H.265)"),
    **dict.fromkeys(("DVHE", "DVH1"), "Dolby Vision"),
    **dict.fromkeys(("VVC1", "VVI1", "H266"), "VVC (H.266)"),
    **dict.fromkeys(("AVC1", "AVC3", "H264", "X264"), "H.264"),
    **dict.fromkeys(("APCH", "APCN", "APCS", "APCO", "AP4H", "AP4X"), "ProRes"),
    **dict.fromkeys(("VP80",), "VP8"),
    **dict.fromkeys(("VP90", "VP09"), "VP9"),
}
ENCRYPTED = ("ENCV", "DRMI")


def looks_like_video(head: bytes) -> bool:
    """Returns whether a file that begins with ``head`` (HEAD_BYTES or all of it) is a video."""
    if any(head.startswith(signature, offset) for offset, signature, _ in VIDEOS):
        return True
    if head[4:8] in BOXES:
        return not (head[4:8] == b"ftyp" and head[8:12] in NOT_VIDEO_BRANDS)
    if head.startswith(b"OggS"):  # sound or video
        return b"\x80theora" in head or b"OVP80" in head or b"BBCD" in head
    # MPEG transport streams: packets of 188 bytes, or of 192 with a time before each.
    return any(
        len(head) > start + 3 * step and all(head[start + n * step] == 0x47 for n in range(4))
        for start, step in ((0, 188), (4, 192))
    )


def read_head(path: Path, count: int = HEAD_BYTES) -> bytes:
    """Returns the first bytes of a regular file; none where it cannot be read."""
    with suppress(OSError, ValueError):
        if path.is_file():
            with open(path, "rb") as file:
                return file.read(count)
    return b""


def counts_exactly(path: Path) -> bool:
    """Returns whether the frame count in a file's header is exact, not derived from a duration."""
    head = read_head(path, 12)
    return head.startswith(b"RIFF") and head[8:] == b"AVI "


def is_cut_short(path: Path) -> bool:
    """Returns whether an MP4, AVI or Matroska file is shorter than its structure says."""
    head, size = read_head(path, 64), path.stat().st_size
    if head.startswith(b"RIFF"):
        stated = int.from_bytes(head[4:8], "little")
        return stated < 0xFFFFFFFF and stated + 8 > size + 1
    if head.startswith(b"\x1aE\xdf\xa3"):
        return _segment_end(head) > size
    return any(end > size for _, end in _boxes(path))


def lacks_index(path: Path) -> bool:
    """Returns whether a file is an MP4 without the box ``moov``, which its recorder writes last."""
    kinds = [kind for kind, _ in _boxes(path)]
    return bool(kinds) and b"moov" not in kinds and b"moof" not in kinds


def is_joined(path: Path) -> bool:
    """Returns whether a file is several in a row, of a kind of which FFmpeg reads only the first.

    Of MPEG-TS and MPEG-PS, Matroska and GIF it reads all.
    """
    head = read_head(path, 16)
    if head.startswith((b"FLV\x01", b"0&\xb2u")):
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return data.find(head[:13], 13) > 0
    return [kind for kind, _ in _boxes(path)].count(b"moov") > 1


def _boxes(path: Path) -> Iterator[tuple[bytes, int]]:
    """Yields kind and end of each top-level box of an MP4 or QuickTime file."""
    if read_head(path, 8)[4:] not in BOXES:
        return
    size = path.stat().st_size
    with open(path, "rb") as file:
        start = 0
        while start + 8 <= size:
            file.seek(start)
            head = file.read(16)
            length, kind = int.from_bytes(head[:4], "big"), head[4:8]
            if length == 1:
                length = int.from_bytes(head[8:16], "big")
            if length == 0:  # up to the end of the file
                length = size - start
            if length < 8 or not kind.isascii():
                return  # what follows is not a box
            start += length
            yield kind, start


def _segment_end(head: bytes) -> int:
    """Returns where the segment of a Matroska file ends; 0 if unknown."""
    length, start = _vint(head, 4)
    start += length
    if head[start : start + 4] != b"\x18S\x80g":
        return 0
    length, start = _vint(head, start + 4)
    is_unknown = length == 0 or length.bit_count() == length.bit_length() and length > 1 << 48
    return 0 if is_unknown else start + length


def _vint(data: bytes, start: int) -> tuple[int, int]:
    """Returns a number of EBML and the position behind it."""
    if start >= len(data) or not data[start]:
        return 0, len(data)
    width = 9 - data[start].bit_length()
    value = int.from_bytes(data[start : start + width], "big") & ((1 << 7 * width) - 1)
    return value, start + width


def codec_name(fourcc: float) -> str:
    """Returns the codec of ``CAP_PROP_FOURCC``, as "AV1 (av01)"; empty where it is not known."""
    number = int(fourcc) & 0xFFFFFFFF
    text = number.to_bytes(4, "little").decode("ascii", "replace").strip("\0 ")
    if not text.isprintable() or not text:
        return ""
    known = CODECS.get(text.upper()) or CODECS.get(f"{text.upper():4}")
    return f"{known} ({text})" if known else text


def is_encrypted(fourcc: float) -> bool:
    """Returns whether a file's frames are encrypted (DRM)."""
    return codec_name(fourcc).upper() in ENCRYPTED


def conversion(path: str | os.PathLike[str]) -> str:
    """Returns advice for a video that cannot be decoded."""
    name = Path(path).name
    return f"Convert it: ffmpeg -i '{name}' -c:v libx264 '{Path(name).stem}_h264.mp4'"
