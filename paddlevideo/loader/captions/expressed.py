"""The share of captions that a vocabulary lacks: it becomes [UNK], and is lost."""

from __future__ import annotations

from collections.abc import Iterable

from paddlevideo.loader.tokenizer import load_tokenizer
from paddlevideo.utils.printable import Tally

#: A larger share of [UNK] means a wrong vocabulary rather than rare characters.
MUCH = 0.01
#: Maximum number of captions that are looked at where time matters.
MOST = 100_000
ADVICE = (
    "Choose a vocabulary of the language of the captions by bert_model, for the data sets and "
    "--bert_model of tools/prepare_data.py, and weights that were trained with it"
)


class Expressed:
    """Counts word pieces, and names the clips with captions of which the model sees nothing."""

    def __init__(self, bert_model: str = "bert-base-uncased", most: int | None = None) -> None:
        """Looks at ``most`` captions at most. Raises ConfigError without such a vocabulary."""
        self.bert_model, self.most = bert_model, most
        self.captions = self.pieces = self.unknown = 0
        #: Clips with a caption of which nothing is known.
        self.lost = Tally()
        self._tokenizer = load_tokenizer(bert_model)

    def add(self, name: str, captions: Iterable[str]) -> bool:
        """Counts a clip's captions; whether each of them has a word that is known."""
        before = self.lost.count
        for text in captions:
            if self.most is not None and self.captions >= self.most:
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
        """Whether another vocabulary is likely to be meant."""
        return self.lost.count > 0 or self.share >= MUCH

    def remarks(self) -> list[str]:
        """The line where anything is unknown."""
        return [self.line()] if self.unknown or self.lost.count else []

    def line(self) -> str:
        """The share in words; with advice where it is large."""
        text = (
            f"vocabulary {self.bert_model}: {self.share:.2%} of {self.pieces:,} word pieces of "
            f"{self.captions:,} captions are unknown (UNK)"
        )
        if count := self.lost.count:
            text += f"; of {count:,} captions nothing is known (clips {self.lost.shown()})"
        return f"{text}. {ADVICE}" if self.is_bad else text
