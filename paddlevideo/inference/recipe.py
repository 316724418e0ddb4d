"""The configuration of given weights."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from paddlevideo.config import Config, import_parts, load_config, modules_of
from paddlevideo.utils.errors import ConfigError

#: The model of weights without a configuration beside them, such as the published ones.
DEFAULT_CONFIG = "actbert_msrvtt.yaml"
#: Minimum number of clips that the retrieval head selects for matching in a search.
CANDIDATES = 32


def load_recipe(
    weights: Path,
    config: str | os.PathLike[str] | None = None,
    overrides: Sequence[str] = (),
    modules: Sequence[str] = (),
) -> Config:
    """Returns the configuration of a weight file, and imports the parts that it may name.

    ``config``: a YAML file; None: see :func:`config_for`. ``overrides``: ``KEY.PATH=VALUE`` texts.
    ``modules``: imported too. Raises ConfigError.
    """
    overrides = [*overrides, "MODEL.backbone.pretrained="]
    found = load_config(config_for(weights, config), overrides)
    # Modules run code: only a file that the user has given may import them.
    import_parts([*modules, *(modules_of(found) if config else [])])
    return found


def config_for(weights: Path, given: str | os.PathLike[str] | None) -> str:
    """Returns the given configuration file, the one beside the weights, or the default."""
    beside = weights.parent / "config.yaml"
    return os.fspath(given or (beside if beside.is_file() else DEFAULT_CONFIG))


def store_of(config: Config) -> Path:
    """Returns the feature store that a configuration names. Raises ConfigError without one."""
    if not isinstance(config.get("data"), str):
        raise ConfigError("--features STORE: name the clips to search")
    return Path(config["data"])


def candidates_for(best: int, given: int | None = None) -> int:
    """Returns the number of clips to match: as given, or enough for the ``best`` ones."""
    return given or max(CANDIDATES, best)
