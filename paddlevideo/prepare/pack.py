"""Clips and captions of many kinds of files into one store."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from paddlevideo.loader.captions.expressed import MOST, Expressed
from paddlevideo.loader.captions.line import BadEntries
from paddlevideo.loader.store import Clip
from paddlevideo.loader.store.records import KEPT_MASS
from paddlevideo.prepare.caption_book import CaptionBook, Captions
from paddlevideo.prepare.caption_names import match_names
from paddlevideo.prepare.made_by import made_by
from paddlevideo.prepare.sources import Source, joined_sizes, names_of, open_source
from paddlevideo.prepare.writing import Summary, Tally, Target, finished, write_clips


@dataclass(frozen=True)
class PackOptions:
    """What is packed, and how. ``captions`` take the place of those that the clips bring."""

    sources: Sequence[Path]
    output: Path
    captions: Sequence[Path] = ()
    dtype: str = "float16"
    kept_mass: float = KEPT_MASS
    shard_gigabytes: float = 4.0
    skip_bad: int = 0
    require_captions: bool = False
    vocabularies: dict[str, list[str]] = field(default_factory=dict)
    shard_clips: int | None = None
    #: The vocabulary that captions are compared with.
    bert_model: str = "bert-base-uncased"

    def made_by(self) -> dict[str, object]:
        """What decides the store's contents, for its manifest."""
        return made_by(
            "pack",
            {"sources": self.sources, "captions": self.captions},
            kept_mass=self.kept_mass,
            require_captions=self.require_captions,
            dtype=self.dtype,
            shard_gigabytes=self.shard_gigabytes,
            shard_clips=self.shard_clips,
        )


def pack(options: PackOptions) -> Summary:
    """Writes the store, or goes on with one that the same command began; returns a summary.

    Raises DataError for sources or captions that cannot be read, for widths that differ, for a
    bad clip beyond ``skip_bad``, and where the folder holds another command's store.
    """
    sources = [open_source(path, options.kept_mass) for path in options.sources]
    target = Target(
        options.output,
        joined_sizes(sources),
        options.dtype,
        options.shard_gigabytes,
        options.vocabularies,
        options.made_by(),
        options.skip_bad,
        options.shard_clips,
    )
    done = finished(target)
    if done is not None:
        summary = Summary(options.output, done)
        summary.count("nothing to do: this very command has finished it", str(options.output))
        return summary
    book = _matched_captions(options, sources) if options.captions else None
    silent = Tally()
    expressed = Expressed(options.bert_model, MOST)

    def change(clip: Clip) -> Clip | str:
        if book is not None:
            clip = with_captions(clip, book.captions(clip.id), book.place(clip.id)[0])
        if not clip.captions:
            if options.require_captions:
                return "left out because they have no caption, as --require_captions says"
            silent.add(clip.id)
        expressed.add(clip.id, clip.captions)
        return clip

    def passed(name: str) -> None:
        if book is not None:
            book.captions(name)  # notes that they are used

    summary = write_clips(target, sources, change, passed)
    if silent.count:
        summary.tallies["clips without a caption"] = silent
    if book is not None:
        summary.tallies |= {what: Tally(*counted) for what, counted in book.report().items()}
        list_skipped(target.skipped, book.bad.errors)
    summary.remarks += expressed.remarks()
    return summary


def _matched_captions(options: PackOptions, sources: Sequence[Source]) -> CaptionBook:
    """The captions, found to fit before anything is written."""
    advice = "\n--skip_bad N leaves out up to N wrong entries, and lists them"
    book = CaptionBook(options.captions, BadEntries(options.skip_bad, advice))
    match_names(book, (name for source in sources for name in names_of(source)))
    return book


def list_skipped(path: Path, errors: Sequence[str]) -> None:
    """Adds wrong entries of caption files to the list of what was skipped."""
    if errors:
        lines = (json.dumps({"caption": error}, ensure_ascii=False) + "\n" for error in errors)
        with open(path, "a", encoding="utf-8") as file:
            file.writelines(lines)


def with_captions(clip: Clip, captions: Captions, video: str) -> Clip:
    """The clip with these captions; times only where every caption has one."""
    spans = [span for _, span in captions]
    times = [span for span in spans if span is not None]
    return replace(
        clip,
        captions=[text for text, _ in captions],
        times=times if len(times) == len(spans) else [],
        video=clip.video or ("" if video == clip.id else video),
    )
