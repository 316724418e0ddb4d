"""The ids that the clips named in a file have in the features."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence

from paddlevideo.loader.captions.matching import ClipNames, describe_rules, match_all
from paddlevideo.loader.clips.source import ClipSource
from paddlevideo.utils.errors import DataError
from paddlevideo.utils.printable import some

log = logging.getLogger("paddlevideo")


def ids_in_features(
    names: Iterable[str],
    source: ClipSource,
    file_path: str,
    lines: Sequence[tuple[str, str]],
) -> dict[str, str]:
    """Returns the id in ``source`` of each of ``names``, matched by rules unless it is an id.

    ``lines``: names and texts of the file, for messages. Raises DataError for names that match no
    clip.
    """
    clips = list(dict.fromkeys(names))
    ids = {clip: clip for clip in clips}
    missing = source.missing(clips)
    if not missing:
        return ids
    try:
        matches = match_all(clips, source.ids())
    except DataError as error:
        raise DataError(f"{file_path}: {error}") from None
    missing = [clip for clip in missing if clip not in matches]
    if missing:
        known = ClipNames(source.ids())
        raise DataError(
            f"{file_path}: {len(missing)} of {len(clips)} clips have no features "
            f"in {source.path}: {some(missing)}{known.hint(missing[0], lines)}"
        )
    rules = Counter(match.rule for match in matches.values())
    log.info("%s: clips of %s matched %s", file_path, source.path, describe_rules(rules))
    return {**ids, **{clip: match.target for clip, match in matches.items()}}
