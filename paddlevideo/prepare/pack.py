"""Clips and captions of many kinds of files into one store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from paddlevideo.loader.store import Clip, is_store
from paddlevideo.loader.store.records import KEPT_MASS
from paddlevideo.prepare.caption_book import CaptionBook, Captions
from paddlevideo.prepare.made_by import made_by
from paddlevideo.prepare.sources import ClipFiles, Source, joined_sizes, open_source
from paddlevideo.prepare.writing import Summary, Tally, Target, finished, write_clips
from paddlevideo.utils.native_path import refuse_not_utf8
from paddlevideo.utils.walk import refuse_inside


@dataclass(frozen=True)
class PackOptions:
    """What is packed, and how. ``captions`` take the place of those that the clips bring."""

    sources: Sequence[Path]
    output: Path
    captions: Sequence[Path] = ()
    dtype: str = "float16"
    kept_mass: float = KEPT_MASS
    shard_gigabytes: float = 4.0
    #: None: the command has no ``--skip_bad``, and its messages do not speak of it.
    skip_bad: int | None = 0
    require_captions: bool = False
    vocabularies: dict[str, list[str]] = field(default_factory=dict)
    shard_clips: int | None = None

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

    Raises ConfigError for an output inside a source; DataError for sources or captions that
    cannot be read, for widths that differ, for a bad clip beyond ``skip_bad``, and where the
    folder holds another command's store.
    """
    refuse_not_utf8("--output", options.output)
    for path in options.sources:
        if not is_store(options.output):  # a run before may have put it there
            refuse_inside("--output", options.output, path)
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
        summary.left_out = _left_out(sources)
        return summary
    book = CaptionBook(options.captions) if options.captions else None
    silent = Tally()

    def change(clip: Clip) -> Clip | str:
        if book is not None:
            clip = with_captions(clip, book.captions(clip.id), book.place(clip.id)[0])
        if not clip.captions:
            if options.require_captions:
                return "left out because they have no caption, as --require_captions says"
            silent.add(clip.id)
        return clip

    def passed(name: str) -> None:
        if book is not None:
            book.captions(name)  # notes that they are used

    summary = write_clips(target, sources, change, passed)
    summary.left_out = _left_out(sources)
    unused = Tally(*book.unused()) if book is not None else Tally()
    further = {
        "clips without a caption": silent,
        "clips or videos with captions that no clip took": unused,
    }
    summary.tallies |= {what: tally for what, tally in further.items() if tally.count}
    return summary


def _left_out(sources: Sequence[Source]) -> list[str]:
    """What folders hold beside their clips, a line each."""
    folders = [source for source in sources if isinstance(source, ClipFiles)]
    return [line for source in folders for line in source.left_out]


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
