"""The inputs of a store, in its manifest, to know if a command would write the same store."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import paddlevideo
from paddlevideo.files.fingerprint import fingerprint

#: Endings of files with clips or captions.
_ENDINGS = (".npz", ".npy", ".csv", "data.mdb")
_SHOWN = 100  # maximum characters of a value in a message


def made_by(command: str, inputs: Mapping[str, Iterable[Path]], **settings: Any) -> dict[str, Any]:
    """Returns all that determines a store: the command, the state of its inputs, its settings."""
    return {
        "command": f"tools/prepare_data.py {command}",
        **{
            name: [fingerprint(path, _is_source) for path in paths]
            for name, paths in inputs.items()
        },
        **settings,
        "paddlevideo": paddlevideo.__version__,
    }


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Returns the differences between two commands, for a message; "" if there are none."""
    if before.get("command") != now.get("command"):
        return f"by {before.get('command')}, not by {now.get('command')}"
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return "; ".join(
        f"{name} was {_short(before.get(name))}, now {_short(now.get(name))}"
        if not isinstance(now.get(name), list)
        else _changed_files(name, before.get(name), now[name])
        for name in names
    )


def _changed_files(name: str, before: Any, now: list[Any]) -> str:
    """Describes the first of the inputs that differs."""
    before = before if isinstance(before, list) else []
    for old, new in zip(before, now, strict=False):
        if old != new and isinstance(old, dict) and old.get("path") == new["path"]:
            return f"{name} differ: {new['path']} was changed"
        if old != new:
            return f"{name} differ: {_short(old)} is now {_short(new)}"
    return f"{name} differ: there were {len(before)}, now {len(now)}"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


def _is_source(path: Path) -> bool:
    return path.name.lower().endswith(_ENDINGS)
