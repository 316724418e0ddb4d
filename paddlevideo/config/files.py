"""Configuration files: lookup, inheritance and writing."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from paddlevideo.config.overrides import apply_override
from paddlevideo.config.tree import Config, Position, merge
from paddlevideo.config.yaml_mistakes import suspicious_line
from paddlevideo.config.yaml_text import dump_yaml, parse_yaml
from paddlevideo.files.paths import expand_path, path_complaint
from paddlevideo.registry import did_you_mean
from paddlevideo.utils.errors import ConfigError

BASE = "_base_"
_UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")

_PACKAGE = Path(__file__).parents[1]


def load_config(path: str | os.PathLike[str], overrides: Iterable[str] = ()) -> Config:
    """Returns the configuration in a YAML file, with its bases merged and ``overrides`` applied.

    A name that is not a file is looked up under ``configs/``, and so is a value such as
    ``configs/extract/list.txt``. In every value a leading ``~`` is the home folder, and ``$NAME``
    the environment variable of that name, if it is set (:func:`expand_path`).

    ``_base_: FILE`` or a list of them, at the top of a file, names files to start from, relative
    to the file: maps are merged, anything else is replaced, later files win. A map with
    ``_replace_: True`` replaces the base's map.
    ``overrides`` are ``KEY.PATH=VALUE`` texts, see ``apply_override``.

    Raises ConfigError, with file and line, for a file that is missing or not valid YAML.
    ``check_config`` checks the keys and values.
    """
    config = _load_file(find_config(path), ())
    for override in overrides:
        apply_override(config, override)
    _expand_paths(config)
    return config


def dump_config(config: Config) -> str:
    """Returns YAML text of the whole configuration, which ``load_config`` reads as an equal one."""
    return dump_yaml(config)


# ------------------------------------------------------------------------- looking up


def find_config(name: str | os.PathLike[str], folder: Path = Path()) -> Path:
    """Returns the file ``name`` in ``folder``, else the one below ``configs/`` that ends with it.

    Raises ConfigError if there is no such file, with the nearest name, or if there are several.
    """
    if not os.fspath(name):
        raise ConfigError("the name of a configuration file is empty")
    if complaint := path_complaint(expand_path(os.fspath(name))):
        raise ConfigError(complaint)
    name = expand_path(os.fspath(name))
    direct = folder / name
    if direct.is_file():
        return direct
    if direct.is_dir():
        raise ConfigError(f'"{direct}" is a folder: name a YAML file')
    shipped = [] if Path(name).is_absolute() else list(_below_configs(Path(name).parts))
    if len(shipped) > 1:
        choices = ", ".join(str(path) for path in shipped)
        raise ConfigError(f'"{name}" may be any of {choices}: give more of the path')
    if not shipped:
        raise ConfigError(f'there is no configuration file "{name}".{_near(direct)}')
    return shipped[0]


def config_folders() -> list[Path]:
    """Returns ``configs/`` of the working directory and that of the package, if they exist."""
    installed = _PACKAGE / "configs"
    shipped = installed if installed.is_dir() else _PACKAGE.parent / "configs"
    local = Path("configs")
    if local.is_dir() and shipped.is_dir() and local.samefile(shipped):
        return [local]
    return [folder for folder in (local, shipped) if folder.is_dir()]


def _below_configs(parts: tuple[str, ...]) -> Iterator[Path]:
    """Yields the files whose paths end with ``parts``, from the first folder that has any."""
    for folder in config_folders():
        paths = [path for path in _yaml_files(folder) if path.parts[-len(parts) :] == parts]
        if paths:
            yield from paths
            return


def _yaml_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.y*ml") if path.is_file())


def _near(path: Path) -> str:
    """Suggests a file with a name like that of ``path``, beside it or below ``configs/``."""
    beside = [*path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
    known = {file.name: file for file in beside}
    for folder in config_folders():
        known = {file.name: file for file in _yaml_files(folder)} | known
    return did_you_mean(path.name, known) or f" Known: {', '.join(sorted(known)) or 'none'}"


# ------------------------------------------------------------------------------ paths


def _expand_paths(node: Any) -> None:
    """Expands ``~``, ``$NAME`` and ``configs/`` in the texts of a tree, in place."""
    keys: Iterable[Any] = list(node) if isinstance(node, Config) else range(len(node))
    for key in keys:
        value = node[key]
        if isinstance(value, (Config, list)):
            _expand_paths(value)
        elif isinstance(value, str) and isinstance(node, Config):
            node.set_at(key, _shipped(expand_path(value)), node._positions.get(key))
        elif isinstance(value, str):
            node[key] = _shipped(expand_path(value))


def _shipped(path: str) -> str:
    """Returns the shipped file for a path below ``configs/`` that does not exist here."""
    first, _, name = path.partition("/")
    if first != "configs" or os.path.exists(path):
        return path
    files = (folder / name for folder in config_folders())
    return next((str(file) for file in files if file.is_file()), path)


# ------------------------------------------------------------------------- inheritance


def _load_file(path: Path, heirs: tuple[Path, ...]) -> Config:
    """Merges ``path`` onto its bases. ``heirs``: files that inherit from it, outermost first."""
    identity = path.resolve()
    if identity in heirs:
        chain = " -> ".join(heir.name for heir in (*heirs, identity))
        raise ConfigError(f"{_shown(heirs[-1])}: {BASE} is circular: {chain}")
    config = _read_file(path)
    merged = Config()
    for base in _base_names(config):
        merged = merge(merged, _load_file(_find_base(base, path, config), (*heirs, identity)))
    config.pop(BASE, None)
    return merge(merged, config)


def _read_file(path: Path) -> Config:
    """Reads one file without its bases. Raises ConfigError unless it is a map."""
    source = _shown(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        kind = "UTF-16" if error.object.startswith(_UTF_16_MARKS) else "not valid UTF-8"
        raise ConfigError(f"{source}:{line}: the file is {kind}: save it as UTF-8") from None
    except OSError as error:
        raise ConfigError(f"{source}: {error.strerror}") from None
    value = parse_yaml(text, source)
    if not isinstance(value, Config):
        raise ConfigError(f"{source}:{_not_a_map(value, text)}")
    for key in value:
        if key != BASE and re.fullmatch("_+bases?_*|bases?_+", key, re.IGNORECASE):
            where = value._positions[key]
            raise ConfigError(f'{where}: unknown key "{key}". Did you mean "{BASE}"?')
    value._origin = Position(source, 1)
    return value


def _not_a_map(value: Any, text: str) -> str:
    """Returns line and message for a file that is not a map."""
    what = "nothing" if value is None else f"a {type(value).__name__}"
    expected = f"expected a map of sections (MODEL: ...), got {what}"
    if isinstance(value, str):
        if re.match(r"\s*<(!doctype|html)", text, re.IGNORECASE):
            return "1: this is a web page, not the YAML file behind its link"
        lines = text.splitlines()
        if mistake := suspicious_line(lines, 1, len(lines)):
            return f"{mistake.line}: {mistake.message}"
    return f"1: {expected}"


def _base_names(config: Config) -> list[str]:
    names: Any = config.get(BASE, [])
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ConfigError(
            f"{config._positions[BASE]}: {BASE} must be a file name or a list of them"
        )
    return names


def _find_base(name: str, heir: Path, config: Config) -> Path:
    try:
        return find_config(name, heir.parent)
    except ConfigError as error:
        raise ConfigError(f"{config._positions[BASE]}: {BASE}: {error}") from None


def _shown(path: Path) -> str:
    """Returns a path for messages, relative to the working directory if it is below it."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
