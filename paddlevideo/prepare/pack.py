"""Packs clips and captions from files of many kinds into one store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from paddlevideo.files.paths import refuse_not_utf8
from paddlevideo.files.walk import refuse_inside
from paddlevideo.files.whole import append_json
from paddlevideo.loader.captions.coverage import MAX_CAPTIONS, Coverage
from paddlevideo.loader.captions.line import BadEntries, Span
from paddlevideo.loader.clips.clip import KEPT_MASS, Clip
from paddlevideo.loader.clips.opening import open_clips
from paddlevideo.loader.clips.source import ClipSource
from paddlevideo.loader.store import is_store
from paddlevideo.prepare.caption_book import CaptionBook, Captions
from paddlevideo.prepare.caption_names import match_names
from paddlevideo.prepare.made_by import made_by
from paddlevideo.prepare.sources import joined_sizes, names_of
from paddlevideo.prepare.writing import Summary, Target, finished, write_clips
from paddlevideo.utils.printable import Tally


@dataclass(frozen=True)
class PackOptions:
    """Inputs and settings. ``captions`` replace those of the sources."""

    sources: Sequence[Path]
    output: Path
    captions: Sequence[Path] = ()
    dtype: str = "float16"
    kept_mass: float = KEPT_MASS
    shard_gigabytes: float = 4.0
    #: None: the command has no ``--skip_bad``, and its messages do not mention it.
    skip_bad: int | None = 0
    require_captions: bool = False
    vocabularies: dict[str, list[str]] = field(default_factory=dict)
    shard_clips: int | None = None
    #: The vocabulary for a check of the captions.
    bert_model: str = "bert-base-uncased"

    def made_by(self) -> dict[str, object]:
        """Returns the settings that determine the store, for its manifest."""
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
    """Writes the store, or continues one that the same command began; returns a summary.

    Raises ConfigError for an output inside a source; DataError for sources or captions that
    cannot be read, for different widths, for more than ``skip_bad`` bad clips, and if the folder
    has another command's store.
    """
    refuse_not_utf8("--output", options.output)
    for path in options.sources:
        if not is_store(options.output):  # an earlier run may have written it there
            refuse_inside("--output", options.output, path)
    sources = [open_clips(path) for path in options.sources]
    left_out = [line for source in sources for line in source.left_out]
    made, first = options.made_by(), sources[0].extraction()
    if first and all(source.extraction() == first for source in sources):
        made["extraction"] = first  # of the same features
    target = Target(
        options.output,
        joined_sizes(sources),
        options.dtype,
        options.shard_gigabytes,
        options.vocabularies,
        made,
        options.skip_bad,
        options.shard_clips,
    )
    done = finished(target)
    if done is not None:
        summary = Summary(options.output, done)
        summary.count(
            "nothing to do: the same command has already finished it", str(options.output)
        )
        summary.left_out = left_out
        return summary
    captions = _captions(options, sources)

    def change(clip: Clip) -> Clip | str:
        changed = captions.change(clip)
        return changed if isinstance(changed, str) else changed.with_targets(options.kept_mass)

    summary = write_clips(target, sources, change, captions.mark_used)
    captions.report(summary)
    for error in captions.book.bad.errors if captions.book else ():
        append_json(target.skipped, {"caption": error})
    summary.left_out = left_out
    return summary


def _captions(options: PackOptions, sources: Sequence[ClipSource]) -> AttachedCaptions:
    """Reads the caption files, and matches them before anything is written."""
    book = None
    if options.captions:
        advice = "\n--skip_bad N leaves out up to N wrong entries, and lists them"
        book = CaptionBook(options.captions, BadEntries(options.skip_bad or 0, advice))
        match_names(book, (name for source in sources for name in names_of(source)))
    return AttachedCaptions(book, options.bert_model, options.require_captions)


class AttachedCaptions:
    """Attaches captions to clips on their way into a store; without a book they keep their own."""

    def __init__(
        self,
        book: CaptionBook | None,
        bert_model: str = "bert-base-uncased",
        required: bool = False,
    ) -> None:
        self.book, self.required = book, required
        self.silent, self.coverage = Tally(), Coverage(bert_model, MAX_CAPTIONS)

    def change(self, clip: Clip) -> Clip | str:
        """Returns the clip with its captions, or the reason to leave it out."""
        if self.book is not None:
            clip = with_captions(clip, self.book.captions(clip.id), self.book.location(clip.id))
        if not clip.captions:
            if self.required:
                return "left out because they have no caption (--require_captions)"
            self.silent.add(clip.id)
        self.coverage.add(clip.id, clip.captions)
        return clip

    def mark_used(self, name: str) -> None:
        """Marks the captions of a clip that an earlier run wrote as used."""
        if self.book is not None:
            self.book.captions(name)

    def report(self, summary: Summary) -> None:
        """Adds what was counted to the summary."""
        summary.add({"clips without a caption": self.silent})
        if self.book is not None:
            summary.add(self.book.report())
        summary.remarks += self.coverage.remarks()


def with_captions(clip: Clip, captions: Captions, location: tuple[str, Span | None]) -> Clip:
    """Returns the clip with these captions, and with times if every caption has one.

    ``location``: its video and its span there, for a clip that does not have them.
    """
    video, known_span = location
    spans = [span for _, span in captions]
    times = [span for span in spans if span is not None]
    return replace(
        clip,
        captions=[text for text, _ in captions],
        times=times if len(times) == len(spans) else [],
        video=clip.video or ("" if video == clip.id else video),
        span=clip.span or known_span,
    )
