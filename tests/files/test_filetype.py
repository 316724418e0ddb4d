"""What a file is by its first bytes."""

from __future__ import annotations

import gzip
import io
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from paddlevideo.files.filetype import HEAD_BYTES, describe_bytes, describe_file


def zipped(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, b"x" * 50)
    return buffer.getvalue()


def tarred() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a"))
    return buffer.getvalue()


def saved(save: object, *arguments: object) -> bytes:
    buffer = io.BytesIO()
    save(buffer, *arguments)  # type: ignore[operator]
    return buffer.getvalue()


KINDS = {
    "HTML": b"\n <!DOCTYPE html>\n<html>404</html>",
    "HTML page": b"\xef\xbb\xbf<HTML><body>",
    "git-lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d\nsize 1\n",
    "gzip": gzip.compress(b"x"),
    "tar": tarred(),
    "PyTorch": zipped("archive/data.pkl", "archive/data/0"),
    ".npz": saved(np.savez, np.zeros(3)),
    "zip": zipped("a.txt"),
    ".npy": saved(np.save, np.zeros(3)),
    "safetensors": (16).to_bytes(8, "little") + b'{"a":{}}        ',
    "pickle": pickle.dumps({"a": 1}, protocol=2),
    "JSON": b' {"a": 1}',
    "text": "naïve\n".encode() * HEAD_BYTES,
    "UTF-16": "text".encode("utf-16"),
    "MP4": b"\x00\x00\x00\x18ftypmp42",
    "WebM": b"\x1aE\xdf\xa3\x01",
    "zeros": b"\0" * 100,
    "empty": b"",
    "unknown": bytes(range(128, 256)),
}


@pytest.mark.parametrize("word", KINDS)
def test_files_are_named_by_their_first_bytes(word: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pdparams"
    path.write_bytes(KINDS[word])
    assert word in describe_file(path)


def test_a_zip_that_is_cut_short_is_known_by_its_first_name(tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    path.write_bytes(zipped("archive/data.pkl", "archive/data/0")[:60])
    assert "PyTorch" in describe_file(path)


def test_what_is_not_a_file_is_described_too(tmp_path: Path) -> None:
    assert describe_file(tmp_path) == "a folder"
    assert describe_file(tmp_path / "absent") == "nothing"
    assert describe_file("/dev/null") == "not a regular file"
    assert describe_file("a\0b") == "nothing"


def test_an_lmdb_is_known_by_its_first_page(tmp_path: Path) -> None:
    lmdb = pytest.importorskip("lmdb")
    with lmdb.open(str(tmp_path)) as env, env.begin(write=True) as transaction:
        transaction.put(b"a", b"b")
    assert "LMDB" in describe_bytes((tmp_path / "data.mdb").read_bytes()[:HEAD_BYTES])
