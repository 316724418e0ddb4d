"""Training and testing of video-language models on PaddlePaddle.

>>> import paddlevideo as pv
>>> model = pv.load("output/ActBert_videos/ActBert_videos_best.pdparams")
>>> model.search("data/videos.store", "a man cuts an onion", best=3)

Nothing heavy is imported before it is used: ``import paddlevideo`` does not load Paddle. Type
checkers read ``__init__.pyi``.
"""

TYPE_CHECKING = False  # as in typing, which takes longer to import than all of this
if TYPE_CHECKING:
    from typing import Any

__version__ = "0.2.0"

_MODULES = {
    "load": "paddlevideo.inference",
    "VideoTextModel": "paddlevideo.inference",
    "EncodedVideos": "paddlevideo.inference",
    "VideoVectors": "paddlevideo.inference",
    "Extraction": "paddlevideo.inference",
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
