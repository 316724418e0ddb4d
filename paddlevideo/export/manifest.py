"""``export.json``: the files of an exported model, and its inputs and outputs.

An export is a folder with three programs and this file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from paddlevideo.files.filetype import describe_file
from paddlevideo.files.whole import damage_of
from paddlevideo.utils.errors import ConfigError, WeightsError

FORMAT = 1
MANIFEST = "export.json"
PROGRAMS = ("captions", "videos", "pairs")
ADVICE = "Export the model again with paddlevideo export"


@dataclass(frozen=True)
class TensorInfo:
    """An input or output of a program. A size of -1 is variable: rows, and words of captions."""

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class ProgramInfo:
    """Inputs and outputs of a program, in order."""

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]


@dataclass(frozen=True)
class Sizes:
    """Sizes of captions and clips."""

    text_length: int  # maximum length of captions, to which training padded them
    regions: int  # the global one included
    region_width: int
    actions: int
    action_width: int


@dataclass(frozen=True)
class Similarity:
    """A score contains the vectors' dot product times ``scale * weight``."""

    scale: float
    weight: float
    width: int


@dataclass(frozen=True)
class Vocabulary:
    """The vocabulary of captions: the name for ``load_tokenizer``, and the number of words."""

    bert_model: str
    size: int


@dataclass(frozen=True)
class Manifest:
    """The contents of ``export.json``."""

    paddlevideo: str  # version that wrote the export
    paddle: str
    weights: str  # the file's name
    weights_sha256: str
    vocabulary: Vocabulary
    sizes: Sizes
    pair_batch: int  # pairs to score at once
    similarity: Similarity | None  # None: the model has no vectors
    programs: Mapping[str, ProgramInfo]
    files: Mapping[str, Mapping[str, Any]]  # by name, as describe_whole returns it

    def write(self, folder: Path) -> None:
        """Writes ``<folder>/export.json``."""
        text = json.dumps({"format": FORMAT, **asdict(self)}, indent=1)
        (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def read_manifest(folder: str | Path) -> Manifest:
    """Reads ``export.json``. Raises WeightsError if it is absent, damaged or of another format."""
    path = Path(folder) / MANIFEST
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except NotADirectoryError:
        raise WeightsError(
            f"{folder} is {describe_file(folder)}; expected the folder of an exported model. "
            f"{ADVICE}"
        ) from None
    except FileNotFoundError:
        raise WeightsError(
            f"{path}: no such file: {folder} is not an exported model. {ADVICE}"
        ) from None
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} is damaged ({error}). {ADVICE}") from None
    version = record.pop("format", None) if isinstance(record, dict) else None
    if version != FORMAT:
        raise WeightsError(
            f"{path} has format {version}, but this version reads format {FORMAT}. {ADVICE}"
        )
    try:
        return _from_record(record)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise WeightsError(f"{path} is damaged ({error!r:.80}). {ADVICE}") from None


def _from_record(record: dict[str, Any]) -> Manifest:
    def tensors(items: Iterable[Mapping[str, Any]]) -> tuple[TensorInfo, ...]:
        return tuple(TensorInfo(x["name"], tuple(x["shape"]), x["dtype"]) for x in items)

    similarity = record.pop("similarity")
    programs, files = record.pop("programs"), record.pop("files")
    return Manifest(
        vocabulary=Vocabulary(**record.pop("vocabulary")),
        sizes=Sizes(**record.pop("sizes")),
        similarity=None if similarity is None else Similarity(**similarity),
        programs={
            name: ProgramInfo(tensors(programs[name]["inputs"]), tensors(programs[name]["outputs"]))
            for name in PROGRAMS
        },
        files={
            name: {key: info[key] for key in ("bytes", "sha256")} for name, info in files.items()
        },
        **record,
    )


def check_files(folder: str | Path, manifest: Manifest) -> None:
    """Raises WeightsError if a file of the export is missing, damaged or of another export."""
    for name, expected in manifest.files.items():
        if Path(name).name != name:
            raise WeightsError(f"{MANIFEST} names {name}, which is missing in {folder}. {ADVICE}")
        if damage := damage_of(Path(folder, name), expected, MANIFEST):
            raise WeightsError(f"{damage}. {ADVICE}")


def check_output(folder: Path) -> None:
    """Raises ConfigError unless ``folder`` is absent, empty, or contains only an export."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ConfigError(f"{folder} is a file: name a folder with --output")
    names = {path.name for path in folder.iterdir()}
    if not names:
        return
    advice = "nothing in it was changed. Name another folder with --output"
    if MANIFEST not in names:
        raise ConfigError(f"{folder} has files that are not an exported model: {advice}")
    try:
        expected = {*read_manifest(folder).files, MANIFEST}
    except WeightsError as error:
        raise ConfigError(f"{folder} cannot be replaced: {advice}. {error}") from None
    if foreign := sorted(names - expected):
        raise ConfigError(f"{folder} has {foreign[0]}, which no export wrote: {advice}")
