"""Loads the ActBERT modules of ``ppvideo==2.3.1`` on a current Paddle, to measure them.

The package as a whole does not import on Paddle >= 2.6 (it wants ``paddle.fluid``); the modules of
ActBERT do, once the packages above them are replaced by empty ones with the right search path.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

REQUIREMENT = "ppvideo==2.3.1"

#: What its backbone takes, in this order.
BACKBONE_KEYS = (
    *("text_ids", "action_feat", "image_feat", "image_loc"),
    *("token_type_ids", "text_mask", "image_mask", "action_mask"),
)
#: With these the peer gets the process settings that this project makes for itself.
TUNED = {
    "MKL_DEBUG_CPU_TYPE": "5",
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
}


class AnyName(types.ModuleType):
    """A module in which every name exists and does nothing when called."""

    def __getattr__(self, name: str) -> Any:
        """Returns a function for every public name; the import system asks for dunder names."""
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *arguments, **options: None


def install(folder: Path) -> Path:
    """Installs the package without its dependencies into ``folder``, once."""
    root = folder / "ppvideo" / "paddlevideo"
    if not root.is_dir():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target"]
        subprocess.run([*command, str(folder), REQUIREMENT], check=True)
    return root


def load(folder: str | Path, names: tuple[str, ...]) -> list[types.ModuleType]:
    """Imports modules of the peer's ``paddlevideo`` package by their dotted names."""
    root = install(Path(folder))
    for name in ("paddle.fluid", "paddlevideo.utils.save_load", "decord"):
        sys.modules.setdefault(name, AnyName(name))
    packages = {"paddlevideo": root}
    for name in ("utils", "modeling", "loader", "loader.pipelines", "loader.dataset"):
        packages[f"paddlevideo.{name}"] = root.joinpath(*name.split("."))
    packages["paddlevideo.modeling.backbones"] = root / "modeling" / "backbones"
    packages["paddlevideo.modeling.losses"] = root / "modeling" / "losses"
    for name, path in packages.items():
        module = types.ModuleType(name)
        module.__path__ = [str(path)]
        sys.modules[name] = module
    utils = sys.modules["paddlevideo.utils"]
    utils.Registry = importlib.import_module("paddlevideo.utils.registry").Registry
    utils.get_logger = importlib.import_module("logging").getLogger
    sys.modules["paddlevideo.modeling.weight_init"] = AnyName("paddlevideo.modeling.weight_init")
    return [importlib.import_module(f"paddlevideo.{name}") for name in names]


def with_weights(model: Any, path: str) -> Any:
    """Returns one of its models with the weights that :func:`save_weights` wrote."""
    import paddle

    state = paddle.load(path)
    model.set_state_dict({name.removeprefix("backbone."): x for name, x in state.items()})
    return model


def save_weights(model: Any, path: str) -> None:
    """Saves the weights of a model of this project under the names that both sides load."""
    import paddle

    paddle.save(model.to_released(model.state_dict()), path)
