"""PaddleVideo's CSV of captions: a clip and a caption on each line."""

from __future__ import annotations

from paddlevideo.loader.captions.text import csv_rows
from paddlevideo.loader.regions import as_caption
from paddlevideo.utils.errors import DataError


def read_captions(path: str) -> list[tuple[str, str]]:
    """(clip id, caption) of every line of a CSV file, in order.

    Two forms: without a header, ``clip id,caption``, where everything after the first comma
    belongs to the caption; and with a header that names ``video_id`` and ``sentence``. Quotes
    are as usual in CSV, within one line. Raises DataError naming file and line.
    """
    rows = list(csv_rows(path))
    clip_column, text_column, is_last = 0, 1, True
    header = [name.strip().lower() for name in rows[0][1]] if rows else []
    if "video_id" in header and "sentence" in header:
        clip_column, text_column = header.index("video_id"), header.index("sentence")
        is_last = text_column == len(header) - 1
        rows = rows[1:]
    if not rows:
        raise DataError(f"{path}: holds no captions")
    captions = []
    for number, row in rows:
        where = f"{path}: line {number}"
        if len(row) <= max(clip_column, text_column):
            raise DataError(f'{where}: "{",".join(row)[:60]}" is not a clip id, a comma, a caption')
        # Commas that nobody quoted belong to the caption where it is the last column.
        text = ",".join(row[text_column:]) if is_last else row[text_column]
        clip = row[clip_column].strip()
        if not clip:
            raise DataError(f"{where}: the clip id is empty")
        captions.append((clip, as_caption(text, f'{where} (clip "{clip}")').strip()))
    return captions
