"""Recognizes files by their first bytes, whatever their names, for the messages of all readers.

A weight file may be an HTML page, a video a git-lfs pointer, a list a gzip archive.
"""

from __future__ import annotations

import codecs
import os
import zipfile
from pathlib import Path


def endings(names: str) -> tuple[str, ...]:
    """Returns ``(".mp4", ".mkv")`` for ``"mp4 mkv"``."""
    return tuple(f".{name}" for name in names.split())


#: Endings of videos, common ones first.
VIDEO_ENDINGS = endings(
    "mp4 avi mkv webm mov m4v mpg mpeg ts mts m2ts flv f4v wmv asf ogv 3gp 3g2 vob gif "
    "264 265 3gp2 3gpp amv divx dv h264 h265 hevc ivf m1v m2p m2t m2v mjpeg mjpg mod mp2v mpe "
    "mpv mxf nut ogm qt rm rmvb tod wtv xvid y4m"
)
#: Bytes of a file that are read.
HEAD_BYTES = 4096

GIT_LFS_POINTER = "a git-lfs pointer (the file itself was not downloaded: git lfs pull)"
HTML_PAGE = "an HTML page (what a web site answered where a file was asked for)"
PYTORCH_CHECKPOINT = "a PyTorch checkpoint"
NPZ_ARCHIVE = "a NumPy archive (.npz)"
LMDB = "an LMDB database (data.mdb)"
TAR = "a tar archive (unpack it: tar xf)"
NPY_ARRAY = "a NumPy array (.npy)"
JSON = "a JSON file"
SAFETENSORS = "a safetensors file"
PICKLE = "a pickle, as .pdparams and .pdopt files are"

#: (offset, the bytes there, what the file is): videos, of the containers that FFmpeg reads.
VIDEOS: list[tuple[int, bytes, str]] = [
    (0, b"\x1aE\xdf\xa3", "a Matroska or WebM video"),
    (8, b"AVI ", "an AVI video"),
    (8, b"AVIX", "an AVI video"),
    (0, b"FLV\x01", "a Flash video"),
    (0, b"0&\xb2u\x8ef\xcf\x11", "a Windows Media file"),
    (0, b"\x00\x00\x01\xba", "an MPEG video"),
    (0, b"\x00\x00\x01\xb3", "an MPEG video"),
    (0, b"GIF8", "a GIF picture"),
    (0, b".RMF", "a RealMedia file"),
    (0, b"\x06\x0e\x2b\x34", "an MXF video"),
    (0, b"YUV4MPEG2", "a YUV4MPEG video"),
    (0, b"DKIF", "an IVF video"),
    (0, b"\x1f\x07\x00", "a DV video"),
    (0, b"nut/multimedia container", "a NUT video"),
]
#: The same for other files; the first match counts.
SIGNATURES: list[tuple[int, bytes, str]] = [
    (0, b"version https://git-lfs.github.com/spec/", GIT_LFS_POINTER),
    (0, b"/annex/objects/", "a git-annex pointer (the file itself is elsewhere: git annex get)"),
    # archives
    (0, b"\x1f\x8b", "a gzip archive (unpack it: gunzip, or tar xzf)"),
    (0, b"BZh", "a bzip2 archive (unpack it: bunzip2, or tar xjf)"),
    (0, b"\xfd7zXZ\x00", "an xz archive (unpack it: unxz, or tar xJf)"),
    (0, b"\x28\xb5\x2f\xfd", "a Zstandard archive (unpack it: unzstd)"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive (unpack it: 7z x)"),
    (0, b"Rar!\x1a\x07", "a RAR archive (unpack it: unrar x)"),
    (257, b"ustar", TAR),
    (0, b"PK\x05\x06", "an empty zip archive"),
    # arrays and weights
    (0, b"\x93NUMPY", NPY_ARRAY),
    (0, b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", PYTORCH_CHECKPOINT),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras and TensorFlow write"),
    (0, b"GGUF", "a GGUF file, as llama.cpp reads"),
    (16, b"\xde\xc0\xef\xbe", LMDB),
    (0, b"SQLite format 3\x00", "an SQLite database"),
    (0, b"PAR1", "a Parquet table"),
    # pictures, sound, documents, programs
    (0, b"\x89PNG\r\n\x1a\n", "a PNG picture"),
    (0, b"\xff\xd8\xff", "a JPEG picture"),
    (8, b"WEBP", "a WebP picture"),
    (4, b"ftypavif", "an AVIF picture"),
    (4, b"ftypheic", "a HEIC picture"),
    (0, b"%PDF-", "a PDF document"),
    (8, b"WAVE", "a sound file (WAV)"),
    (0, b"ID3", "a sound file (MP3)"),
    (0, b"fLaC", "a sound file (FLAC)"),
    (0, b"\x7fELF", "a program"),
    (0, b"#!", "a script"),
    # sound or video: extract/container.py tells them apart
    (4, b"ftyp", "an MP4 or QuickTime video"),
    (4, b"moov", "a QuickTime video"),
    (4, b"mdat", "an MP4 or QuickTime video"),
    (0, b"OggS", "an Ogg file"),
    *VIDEOS,
]


def describe_file(path: str | os.PathLike[str]) -> str:
    """Returns what is at ``path``, with an article: "a folder", "an HTML page (...)".

    Never raises: "nothing" if the path does not exist, "a file of an unknown kind" by default.
    """
    path = Path(path)
    try:
        if path.is_dir():
            return "a folder"
        if not path.exists():
            return "nothing"
        if not path.is_file():
            return "not a regular file"
        with open(path, "rb") as file:
            head = file.read(HEAD_BYTES)
    except (OSError, ValueError) as error:
        return f"a file that cannot be read ({getattr(error, 'strerror', None) or error})"
    return _describe_zip(path, head) if head[:4] == b"PK\x03\x04" else describe_bytes(head)


def describe_bytes(head: bytes) -> str:
    """Returns what a file is that begins with ``head``, its first ``HEAD_BYTES`` or all of it."""
    if not head:
        return "an empty file"
    if not head.strip(b"\0"):
        return "a file of zeros (an unfinished download or copy leaves this)"
    for offset, signature, kind in SIGNATURES:
        if head.startswith(signature, offset):
            return kind
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 32:
        return SAFETENSORS
    if head[0] == 0x80 and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return PICKLE
    return _describe_text(head)


def _describe_zip(path: Path, head: bytes) -> str:
    """Recognizes an archive by the names in it, or by the first one if it is cut short."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, ValueError, zipfile.BadZipFile):
        length = int.from_bytes(head[26:28], "little")
        names = [head[30 : 30 + length].decode("latin-1")]
    if any(name.endswith("/data.pkl") for name in names):
        return PYTORCH_CHECKPOINT
    if all(name.endswith(".npy") for name in names):
        return NPZ_ARCHIVE
    return "a zip archive (unpack it: unzip)"


def _describe_text(head: bytes) -> str:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "a text file in UTF-16 (save it as UTF-8)"
    try:
        # The last character may be cut in two: final=False leaves it out.
        decoder = codecs.getincrementaldecoder("utf-8")()
        text = decoder.decode(head, final=len(head) < HEAD_BYTES)
    except UnicodeDecodeError:
        return "a file of an unknown kind"
    start = text.lstrip("\ufeff \t\r\n")[:14].lower()
    if "\0" in text:
        return "a file of an unknown kind"
    if start.startswith(("<!doctype html", "<html", "<head", "<body")):
        return HTML_PAGE
    if start.startswith("<?xml"):
        return "an XML document"
    return JSON if start.startswith(("{", "[")) else "a text file"
