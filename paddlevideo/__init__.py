"""Training and testing of video-language models on PaddlePaddle.

>>> import paddlevideo as pv
>>> model = pv.build_model(pv.load_config("actbert.yaml").MODEL)

Nothing heavy is imported before it is used: ``import paddlevideo`` does not load Paddle.
"""

TYPE_CHECKING = False  # as in typing, which takes longer to import than all of this
if TYPE_CHECKING:
    from typing import Any

__version__ = "0.1.0"

_MODULES = {
    "build_model": "paddlevideo.modeling",
    "load_weights": "paddlevideo.modeling",
    "load_config": "paddlevideo.config",
}
__all__ = ["__version__", *_MODULES]


def __getattr__(name: str) -> "Any":
    """Imports a public function when it is first used."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    """Lists the public names too, before they are first used."""
    return sorted({*globals(), *__all__})
