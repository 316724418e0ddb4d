"""Opens clips of any kind, recognized by their content."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from paddlevideo.files.filetype import LMDB, NPY_ARRAY, TAR, describe_file
from paddlevideo.loader.clips.folder import ClipFolder
from paddlevideo.loader.clips.records import RecordFile
from paddlevideo.loader.clips.rows import RowFile
from paddlevideo.loader.clips.source import ClipSource
from paddlevideo.loader.clips.tar_folder import TarFolder
from paddlevideo.loader.store import FeatureStore, is_store
from paddlevideo.utils.errors import DataError

KINDS = """\
  PaddleVideo's HowTo100M rows, a .npy file
  PaddleVideo's MSR-VTT records, an LMDB folder or file
  a folder with an .npz file for each clip, or an .npy file with a dictionary
  a feature store
  tar files in WebDataset's layout, or a folder of them"""


def open_clips(path: str | os.PathLike[str]) -> ClipSource:
    """Opens the clips of a file or folder. Raises DataError if there are none of a known kind."""
    path = Path(path)
    if is_store(path):
        return FeatureStore(path)
    if path.is_dir():
        return _open_folder(path)
    if not path.exists():
        raise DataError(f"{path}: No such file or directory. Check the path of the features")
    if not path.is_file():
        raise DataError(f"{path}: is neither a regular file nor a folder. Write it to a file first")
    kind = describe_file(path)
    readers: dict[str, Callable[[Path], ClipSource]] = {
        NPY_ARRAY: RowFile,
        LMDB: RecordFile,
        TAR: TarFolder,
    }
    if kind not in readers:
        raise DataError(f"{path}: is {kind}, which holds no clips. Known kinds:\n{KINDS}")
    return readers[kind](path)


def _open_folder(path: Path) -> ClipSource:
    if (path / "data.mdb").is_file():
        return RecordFile(path)
    folder = ClipFolder(path)
    if len(folder):
        return folder
    if any(path.glob("*.tar")):
        return TarFolder(path)
    lines = "\n".join([f"{path}: a folder without clips of a known kind", *folder.others])
    raise DataError(f"{lines}\nKnown kinds:\n{KINDS}")
