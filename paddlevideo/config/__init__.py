"""Configurations: YAML files with inheritance and overrides, checked before anything is built.

>>> config = load_config("actbert.yaml", overrides=["DATASET.batch_size=4"])
>>> import_parts()
>>> check_config(config, mode="train")
>>> settings = run_settings(config)
"""

from __future__ import annotations

from paddlevideo.config.check import check_config, import_parts, modules_of
from paddlevideo.config.data import with_data
from paddlevideo.config.files import dump_config, find_config, load_config
from paddlevideo.config.overrides import apply_override
from paddlevideo.config.settings import AmpSettings, RunSettings, run_settings
from paddlevideo.config.tree import Config, Position, dotted, merge, position_of
from paddlevideo.utils.ranges import AtLeast

__all__ = [
    "AmpSettings",
    "AtLeast",
    "Config",
    "Position",
    "RunSettings",
    "apply_override",
    "check_config",
    "dotted",
    "dump_config",
    "find_config",
    "import_parts",
    "load_config",
    "merge",
    "modules_of",
    "position_of",
    "run_settings",
    "with_data",
]
