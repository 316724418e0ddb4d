"""The optional paddlenlp: its tokenizer and ours agree. Runs by ``make test-paddlenlp``."""

from __future__ import annotations

import csv
from importlib.util import find_spec
from pathlib import Path

import pytest

from paddlevideo.loader import tokenizer as ours
from paddlevideo.loader.tokenizer import load_tokenizer

# Asked for, not imported: other environments must not pay for it while they collect tests.
pytestmark = pytest.mark.skipif(find_spec("paddlenlp") is None, reason="paddlenlp is not installed")

ROOT = Path(__file__).parents[1]
VOCABULARY = ROOT / "paddlevideo" / "loader" / "vocab" / "bert-base-uncased-vocab.txt"
CAPTIONS = ROOT.parent / "shared" / "data" / "msrvtt" / "MSRVTT_JSFUSION_test.csv"

#: What captions hold beside plain words: here for clones without the recorded captions. Symbols
#: stand alone: paddlenlp splits them off words ("5€s" becomes 5, €, s), BERT itself does not.
OWN_CAPTIONS = [
    "a man is cooking",
    "A Man Cooks; The Dog (brown) Watches.",
    "cut the onion, then stir it!",
    "it's a 3-year-old's drawing",
    "don't stop ... or do?!",
    "50% off: $3.99 + tax = $4.25",
    "e-mail me @home #now & never_again",
    'she says "stir & simmer" [twice]',
    "caf\u00e9, cr\u00e8me br\u00fbl\u00e9e, jalape\u00f1o, na\u00efve fa\u00e7ade",
    "\u00c5NGSTR\u00d6M \u00dcBER \u0130stanbul stra\u00dfe",
    "decomposed: cafe\u0301 and A\u030angstro\u0308m",
    "\u4e00\u4e2a\u7537\u4eba\u5728\u505a\u996d",
    "mixed \u4e2d\u6587 and english",
    "\u65e5\u672c\u8a9e\u306e\u30c6\u30b9\u30c8 \ud55c\uad6d\uc5b4",
    "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440",
    "\u0645\u0631\u062d\u0628\u0627 \u05e9\u05dc\u05d5\u05dd",
    "\u201ccurly quotes\u201d \u2013 and \u2014 dashes\u2026",
    "a\u00a0non-breaking\u00a0space, a\u2009thin one",
    "zero\u200bwidth and soft\u00adhyphen",
    "tabs\tand  many   spaces",
    "line\nbreaks\r\nin a caption",
    "control \x07 and \x00 characters",
    "replacement \ufffd character",
    "emoji \U0001f600 cooks \u200d \u2665",
    "x" * 101,
    "y" * 100,
    "supercalifragilisticexpialidocious antidisestablishmentarianism",
    "1,000,000 1.5e-4 0x1F 3/4 \u00bd \u00b2",
    "~`^|\\<>{}[]*/+=",
    "word\u00b7dot \u2022 bullet \u00a9 \u2122",
]


@pytest.fixture(scope="module")
def named():
    from paddlenlp.transformers import BertTokenizer

    return BertTokenizer(str(VOCABULARY), do_lower_case=True)


def assert_equal_ids(named, captions):
    mine = load_tokenizer("bert-base-uncased")
    for caption in captions:
        assert mine.encode(caption, 10_000) == named(caption)["input_ids"], ascii(caption)


def test_own_captions_have_the_same_ids(named):
    assert_equal_ids(named, OWN_CAPTIONS)


def test_the_msrvtt_captions_have_the_same_ids(named):
    if not CAPTIONS.is_file():
        pytest.skip("needs the MSR-VTT captions in ../shared, which this clone does not have")
    with CAPTIONS.open(encoding="utf-8", newline="") as file:
        captions = [row["sentence"] for row in csv.DictReader(file)]
    assert len(captions) == 1000
    assert_equal_ids(named, captions)


def test_a_vocabulary_that_paddlenlp_fetches_becomes_our_tokenizer(named, monkeypatch):
    """Everything but the download: what paddlenlp returns has what our tokenizer takes from it."""
    from paddlenlp.transformers import BertTokenizer

    monkeypatch.setattr(BertTokenizer, "from_pretrained", lambda name: named)
    fetched = ours._from_paddlenlp("bert-base-something")
    assert fetched.vocabulary_size == 30522
    assert fetched.encode("a man cooks", 36) == named("a man cooks")["input_ids"]
