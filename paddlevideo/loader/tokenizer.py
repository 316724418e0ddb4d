"""Converts captions to WordPiece ids, as BERT does."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from functools import cache, lru_cache
from pathlib import Path
from typing import Annotated, Any

from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from paddlevideo.utils.errors import ConfigError, DataError
from paddlevideo.utils.printable import is_utf8, printable, without_surrogates
from paddlevideo.utils.ranges import Range
from paddlevideo.utils.words import CHINESE

#: LRU cache of ids: number of captions, and maximum characters of one; at most 10 MB. Saves a tenth
#: of a sample's time if captions repeat.
CACHED, LONGEST_CACHED = 8192, 300
#: Length of a tokenized caption: at least [CLS], a word and [SEP].
TextLength = Annotated[int, Range(at_least=3)]
_STOPS = "\u3001\u3002\uff01\uff0c\uff1a\uff1b\uff1f\u300a\u300b"
#: Spaces between Chinese characters, or beside Chinese punctuation.
_CHINESE_SPACE = re.compile(f"(?<=[{CHINESE}]) (?=[{CHINESE}])| (?=[{_STOPS}])|(?<=[{_STOPS}]) ")
_SHIPPED = {"bert-base-uncased": Path(__file__).parent / "vocab" / "bert-base-uncased-vocab.txt"}


class BertTokenizer:
    """A vocabulary and its tokenization rules.

    Attributes: ``pad_id``, ``unknown_id``, ``start_id`` ([CLS]), ``end_id`` ([SEP]), ``mask_id``
    and ``vocabulary_size``. ``source`` is named in messages.
    """

    def __init__(self, tokenizer: Tokenizer, source: str):
        self._tokenizer = tokenizer
        self._cached = lru_cache(CACHED)(self._pieces)
        self.source = source
        self.vocabulary_size: int = tokenizer.get_vocab_size()
        self.pad_id = self._special("[PAD]")
        self.unknown_id = self._special("[UNK]")
        self.start_id = self._special("[CLS]")
        self.end_id = self._special("[SEP]")
        self.mask_id = self._special("[MASK]")

    def __reduce__(self) -> tuple[Any, ...]:
        return BertTokenizer, (self._tokenizer, self.source)  # without the cache

    def _special(self, token: str) -> int:
        number = self._tokenizer.token_to_id(token)
        if number is None:
            raise DataError(
                f"{self.source}: the vocabulary lacks {token}; is it a BERT vocabulary?"
            )
        return number

    def encode(self, caption: str, max_length: int) -> list[int]:
        """Returns the ids of [CLS] caption [SEP], truncated to ``max_length``."""
        is_short = len(caption) <= LONGEST_CACHED
        pieces = (self._cached if is_short else self._pieces)(caption)
        return [self.start_id, *pieces[: max_length - 2], self.end_id]

    def count(self, caption: str) -> tuple[int, int]:
        """Returns the number of word pieces of a caption, and of [UNK] among them."""
        pieces = self._pieces(caption)
        return len(pieces), pieces.count(self.unknown_id)

    def decode(self, ids: Iterable[int]) -> str:
        """Returns word pieces as text, without special tokens.

        Pieces are joined to words, and words to what the tokenizer split at hyphens, apostrophes
        and decimal points; punctuation follows its word. Chinese has no spaces.
        """
        special = {self.pad_id, self.unknown_id, self.start_id, self.end_id, self.mask_id}
        tokens = (self._tokenizer.id_to_token(int(id)) for id in ids if int(id) not in special)
        text = " ".join(token for token in tokens if token is not None).replace(" ##", "")
        text = re.sub(r"(?<=\w) (['\u2019/-]) (?=\w)", r"\1", text)
        text = re.sub(r"(?<=\d) ([.,:]) (?=\d)", r"\1", text)
        text = _CHINESE_SPACE.sub("", text)
        return re.sub(r" ([.,;:!?)])", r"\1", text)

    def _pieces(self, caption: str) -> list[int]:
        if not caption.isascii():
            caption = without_surrogates(caption)
        # One text at a time: batches use threads, which are not safe in forked workers.
        return self._tokenizer.encode(caption, add_special_tokens=False).ids


@cache
def load_tokenizer(name: str) -> BertTokenizer:
    """Returns the tokenizer that ``bert_model`` names, made once per process.

    ``name`` is the shipped ``bert-base-uncased``, a vocabulary file (one piece per line) or a
    ``tokenizer.json``, a folder with one of them, or else a model for paddlenlp to download.
    Raises ConfigError if there is no such vocabulary, DataError if it is not a BERT vocabulary.
    """
    path = _SHIPPED.get(name) or Path(name)
    if path.is_dir():
        path = _file_in(path)
    if not path.is_file():
        return _from_paddlenlp(name)
    if path.suffix == ".json":
        return BertTokenizer(_from_json(path), str(path))
    return BertTokenizer(_word_piece(_read_vocabulary(path), _lower_case(path)), str(path))


def _file_in(folder: Path) -> Path:
    for name in ("tokenizer.json", "vocab.txt"):
        if (folder / name).is_file():
            return folder / name
    raise ConfigError(f"{folder}: holds neither tokenizer.json nor vocab.txt")


def _from_json(path: Path) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the package raises plain Exception
        raise DataError(f"{path}: not a tokenizer.json ({error!s:.100})") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _read_vocabulary(path: Path) -> dict[str, int]:
    try:
        pieces = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a vocabulary file ({error})") from None
    if pieces and not pieces[-1]:
        pieces.pop()
    return {piece.rstrip("\r"): number for number, piece in enumerate(pieces)}


def _lower_case(path: Path) -> bool:
    """Whether text is lowercased: True unless the settings beside the vocabulary say otherwise."""
    settings = path.parent / "tokenizer_config.json"
    if not settings.is_file():
        return True
    try:
        return bool(json.loads(settings.read_text(encoding="utf-8")).get("do_lower_case", True))
    except (ValueError, AttributeError) as error:
        raise DataError(f"{settings}: not a JSON object ({error})") from None


def _word_piece(vocabulary: dict[str, int], lower_case: bool) -> Tokenizer:
    model = WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100)
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = BertNormalizer(lowercase=lower_case)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    return tokenizer


def _from_paddlenlp(name: str) -> BertTokenizer:
    try:
        from paddlenlp.transformers import BertTokenizer as NamedTokenizer
    except ImportError as error:
        raise ConfigError(
            f'bert_model "{name}" is neither the shipped "bert-base-uncased" nor a file or folder. '
            f'paddlenlp could download it: pip install -e ".[paddlenlp]" ({error})'
        ) from None
    named: Any = NamedTokenizer.from_pretrained(name)
    vocabulary = dict(named.vocab.token_to_idx)
    lower_case = bool(getattr(named, "do_lower_case", True))
    return BertTokenizer(_word_piece(vocabulary, lower_case), name)


def check_query(tokenizer: BertTokenizer, sentence: str, max_length: int) -> str:
    """Returns a warning if ``sentence`` is truncated or has unknown words, else "".

    Raises ConfigError if it is empty or has only unknown words, which would rank clips at random.
    """
    shown = f'"{printable(sentence):.60}"'
    if not is_utf8(sentence):
        raise ConfigError(f"the sentence {shown} is not valid UTF-8: check the terminal's encoding")
    pieces = tokenizer.encode(sentence, max_length)[1:-1]
    unknown = pieces.count(tokenizer.unknown_id)
    if not pieces:
        raise ConfigError(f"the sentence {shown} is empty: write what to look for")
    advice = (
        f"the vocabulary {tokenizer.source} does not cover it. Use known words, or a model "
        "that was trained with another bert_model, such as bert-base-chinese or "
        "bert-base-multilingual-uncased"
    )
    if unknown == len(pieces):
        raise ConfigError(f"{shown}: all {unknown} pieces are unknown words ([UNK]): {advice}")
    warnings = []
    if tokenizer.count(sentence)[0] > len(pieces):
        warnings.append(f"it is truncated to {len(pieces)} pieces (max_seq_length)")
    if unknown:
        warnings.append(
            f"{unknown} of its {len(pieces)} pieces are unknown words ([UNK]): {advice}"
        )
    return f"{shown}: {'; '.join(warnings)}" if warnings else ""
