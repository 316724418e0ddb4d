"""How well a vocabulary covers captions: words that it lacks become [UNK], and are lost."""

from __future__ import annotations

from collections.abc import Iterable

from paddlevideo.loader.tokenizer import load_tokenizer
from paddlevideo.utils.printable import Tally

#: A larger share of [UNK] suggests a wrong vocabulary rather than rare characters.
MAX_UNKNOWN = 0.01
#: Maximum number of captions to check if time matters.
MAX_CAPTIONS = 100_000
ADVICE = (
    "Choose a vocabulary for the captions' language, as bert_model of the data sets, and weights "
    "that were trained with it; paddlevideo pack, inspect and validate check with --bert_model"
)


class Coverage:
    """Counts known and unknown word pieces, and lists clips with captions of unknown words only."""

    def __init__(self, bert_model: str = "bert-base-uncased", limit: int | None = None) -> None:
        """Counts at most ``limit`` captions. Raises ConfigError if there is no such vocabulary."""
        self.bert_model, self.limit = bert_model, limit
        self.captions = self.pieces = self.unknown = 0
        #: Clips with a caption of unknown words only.
        self.lost = Tally()
        self._tokenizer = load_tokenizer(bert_model)

    def add(self, name: str, captions: Iterable[str]) -> bool:
        """Counts a clip's captions. Returns whether each of them has a known word."""
        before = self.lost.count
        for text in captions:
            if self.limit is not None and self.captions >= self.limit:
                break
            pieces, unknown = self._tokenizer.count(text)
            self.captions += 1
            self.pieces += pieces
            self.unknown += unknown
            if pieces == unknown and text.strip():
                self.lost.add(name)
        return self.lost.count == before

    @property
    def share(self) -> float:
        """The share of [UNK] among all word pieces."""
        return self.unknown / self.pieces if self.pieces else 0.0

    @property
    def is_bad(self) -> bool:
        """Whether the vocabulary is probably the wrong one."""
        return self.lost.count > 0 or self.share >= MAX_UNKNOWN

    def remarks(self) -> list[str]:
        """Returns the line if any words are unknown, else nothing."""
        return [self.line()] if self.unknown or self.lost.count else []

    def line(self) -> str:
        """Returns the share as text, with advice if it is large."""
        text = (
            f"vocabulary {self.bert_model}: {self.share:.2%} of {self.pieces:,} word pieces of "
            f"{self.captions:,} captions are unknown (UNK)"
        )
        if count := self.lost.count:
            text += f"; {count:,} captions have only unknown words (clips {self.lost.shown()})"
        return f"{text}. {ADVICE}" if self.is_bad else text
