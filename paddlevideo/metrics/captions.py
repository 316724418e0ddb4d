"""BLEU, ROUGE-L and CIDEr of captions, with the numbers of COCO's evaluation (pycocoevalcap 1.2).

N clips with a candidate caption and one or more references each.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TypeAlias

import numpy as np

from paddlevideo.utils.errors import DataError
from paddlevideo.utils.words import spaced

#: The longest n-gram that is counted.
LONGEST = 4
#: ROUGE-L's weight of recall against precision.
BETA = 1.2
#: CIDEr-D's standard deviation of the difference in length, in words.
SIGMA = 6.0
#: What COCO's BLEU adds to numerators and denominators, so that they are not 0.
TINY, SMALL = 1e-15, 1e-9

_QUOTES = str.maketrans(
    {"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2013": "-", "\u2014": "-"}
)
_CONTRACTION = re.compile(r"(?<=\w)(n't|'(?:s|m|d|re|ve|ll))(?!\w)")
_TOKEN = re.compile(
    r"n't(?!\w)|'(?:s|m|d|re|ve|ll)(?!\w)"  # what _CONTRACTION split off
    r"|\w+(?:[-.,:/'&@]\w+)*"  # also medium-high, 1.5, 1/2, l'orange
    r"|\S"
)
_PUNCTUATION = frozenset("'`\".?!,:;-\u2026\u3001\u3002\uff01\uff0c\uff1a\uff1b\uff1f")
_BRACKETS = {
    **{"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-"},
    **{"{": "-lcb-", "}": "-rcb-"},
}

Words: TypeAlias = "list[str]"
#: An n-gram of words, or of the ids of word pieces.
Ngram: TypeAlias = "tuple[Hashable, ...]"
Counts: TypeAlias = "Counter[Ngram]"


def words_of(caption: str) -> Words:
    """Returns the words that COCO's evaluation counts.

    What its tokenizer, the Penn Treebank's in Stanford CoreNLP 3.4.1, does that matters for
    captions: lower case; contractions are split (do n't, it 's, can not), words with a hyphen are
    not; punctuation is dropped, brackets become words such as "-lrb-". Abbreviations that keep
    their full stop, and currencies, are not treated as there. Each Chinese character is a word.
    """
    text = spaced(caption.lower().translate(_QUOTES).replace("cannot", "can not"))
    tokens = _TOKEN.findall(_CONTRACTION.sub(r" \1", text))
    return [_BRACKETS.get(token, token) for token in tokens if token not in _PUNCTUATION]


def count_ngrams(words: Sequence[Hashable]) -> Counts:
    """Returns how often each n-gram of 1 to 4 words occurs."""
    return Counter(
        tuple(words[start : start + n])
        for n in range(1, LONGEST + 1)
        for start in range(len(words) - n + 1)
    )


class NgramWeights:
    """The weights of n-grams in CIDEr, by the clips whose references have them.

    ``clips``: for each clip the n-grams of its references.
    """

    def __init__(self, clips: Sequence[Sequence[Counts]]) -> None:
        self.clips = len(clips)
        #: The number of clips with an n-gram in any of their references.
        self.clips_with: Counter[Ngram] = Counter()
        for counts in clips:
            self.clips_with.update({ngram for each in counts for ngram in each})

    def vector(self, counts: Counts) -> WeightedNgrams:
        """Returns the n-grams weighted by the logarithm of the inverse document frequency."""
        clips = np.log(float(self.clips))
        weights = {
            ngram: count * (clips - np.log(max(1.0, self.clips_with[ngram])))
            for ngram, count in counts.items()
        }
        return WeightedNgrams(weights, sum(n for gram, n in counts.items() if len(gram) == 2))


class References:
    """The references of N clips, to score candidate captions with."""

    def __init__(self, references: Sequence[Sequence[str]]) -> None:
        """Raises DataError if there are none, or none for a clip."""
        if not len(references):
            raise DataError("there are no captions to compare with")
        for clip, captions in enumerate(references):
            if not len(captions):
                raise DataError(f"clip {clip} has no caption to compare with")
        self.words = [[words_of(caption) for caption in captions] for captions in references]
        self.counts = [[count_ngrams(words) for words in captions] for captions in self.words]
        self.weights = NgramWeights(self.counts)
        vector = self.weights.vector
        self.vectors = [[vector(counts) for counts in captions] for captions in self.counts]

    def __len__(self) -> int:
        """Returns the number of clips."""
        return len(self.words)

    def scores(self, candidates: Sequence[str]) -> dict[str, float]:
        """Returns BLEU-1 to BLEU-4, ROUGE-L (0 to 1) and CIDEr (0 to 10) of N candidates."""
        bleu = self.bleu(candidates)
        return {
            **{f"BLEU-{n}": value for n, value in enumerate(bleu, start=1)},
            "ROUGE-L": self.rouge(candidates),
            "CIDEr": float(self.cider(candidates).mean()),
        }

    # ----------------------------------------------------------------------------- BLEU

    def bleu(self, candidates: Sequence[str]) -> list[float]:
        """Returns BLEU-1 to BLEU-4 of all candidates together (Papineni et al. 2002).

        Counts are summed over the clips before they are divided. The brevity penalty compares the
        sum of lengths with the sum of the closest reference's, the shorter one among equals.
        """
        matched, possible = np.zeros(LONGEST), np.zeros(LONGEST)
        length = closest = 0
        for words, references, counts in zip(
            self._split(candidates), self.words, self.counts, strict=True
        ):
            size = len(words)
            length += size
            closest += min((abs(len(ref) - size), len(ref)) for ref in references)[1]
            possible += np.maximum(size - np.arange(LONGEST), 0)
            matched += _clipped(count_ngrams(words), counts)
        precision = (matched + TINY) / (possible + SMALL)
        means = np.cumprod(precision) ** (1 / np.arange(1, LONGEST + 1))
        ratio = (length + TINY) / (closest + SMALL)
        return (means * (np.exp(1 - 1 / ratio) if ratio < 1 else 1.0)).tolist()

    # ----------------------------------------------------------------------------- ROUGE

    def rouge(self, candidates: Sequence[str]) -> float:
        """Returns the mean ROUGE-L of the candidates (Lin 2004), with beta 1.2.

        Precision and recall are each the best over a clip's references.
        """
        pairs = zip(self._split(candidates), self.words, strict=True)
        return float(np.mean([_rouge(words, references) for words, references in pairs]))

    # ----------------------------------------------------------------------------- CIDEr

    def cider(self, candidates: Sequence[str]) -> np.ndarray:
        """Returns the CIDEr-D (N,) of each candidate (Vedantam et al. 2015, section 4).

        COCO's "CIDEr" is CIDEr-D: counts are clipped, and a Gaussian of standard deviation 6
        penalizes another length. Document frequencies are those of the references.
        """
        return np.array(
            [
                self.cider_of(count_ngrams(words), clip)
                for clip, words in enumerate(self._split(candidates))
            ]
        )

    def cider_of(self, counts: Counts, clip: int) -> float:
        """Returns the CIDEr-D of the candidate with these n-grams for a clip."""
        candidate = self.weights.vector(counts)
        similarities = [similarity(candidate, reference) for reference in self.vectors[clip]]
        return 10 * float(np.mean(similarities))

    def _split(self, candidates: Sequence[str]) -> list[Words]:
        if len(candidates) != len(self):
            raise DataError(f"{len(candidates)} captions for {len(self)} clips; expected one each")
        return [words_of(caption) for caption in candidates]

    # ------------------------------------------------------------------------ yardsticks

    def best_constant(self, tried: int = 20) -> str:
        """Returns the reference that as the caption of all clips has about the highest CIDEr.

        The ``tried`` references that are closest to the mean of all are compared.
        """
        mean: dict[Ngram, float] = defaultdict(float)
        for vector in (vector for captions in self.vectors for vector in captions):
            for ngram, weight in vector.weights.items():
                mean[ngram] += weight / (vector.norms[len(ngram) - 1] or 1.0)
        flat = {
            " ".join(words): counts
            for captions, all_counts in zip(self.words, self.counts, strict=True)
            for words, counts in zip(captions, all_counts, strict=True)
        }
        closeness = {text: _dot(self.weights.vector(counts), mean) for text, counts in flat.items()}
        first = sorted(flat, key=lambda text: (-closeness[text], text))[:tried]
        return max(first, key=lambda text: self._mean_cider(flat[text]))

    def _mean_cider(self, counts: Counts) -> float:
        return float(np.mean([self.cider_of(counts, clip) for clip in range(len(self))]))


class WeightedNgrams:
    """Weights of n-grams, their norms (4,) for each n, and the number of pairs of words."""

    def __init__(self, weights: dict[Ngram, float], length: int) -> None:
        self.weights, self.length = weights, length
        squares = [0.0] * LONGEST
        for ngram, weight in weights.items():
            squares[len(ngram) - 1] += weight**2
        self.norms = [square**0.5 for square in squares]


def similarity(candidate: WeightedNgrams, reference: WeightedNgrams) -> float:
    """Returns CIDEr-D / 10: the mean over n of the clipped cosines, times a penalty of length."""
    products = [0.0] * LONGEST
    for ngram, weight in candidate.weights.items():
        other = reference.weights.get(ngram, 0.0)
        products[len(ngram) - 1] += min(weight, other) * other
    norms = [a * b for a, b in zip(candidate.norms, reference.norms, strict=True)]
    cosines = [
        product / norm if norm else product for product, norm in zip(products, norms, strict=True)
    ]
    difference = float(candidate.length - reference.length)
    return sum(cosines) / LONGEST * float(np.exp(-(difference**2) / (2 * SIGMA**2)))


def _dot(vector: WeightedNgrams, other: Mapping[Ngram, float]) -> float:
    return sum(
        weight / (vector.norms[len(ngram) - 1] or 1.0) * other[ngram]
        for ngram, weight in vector.weights.items()
    )


def _clipped(counts: Counts, references: Iterable[Counts]) -> np.ndarray:
    """Returns the number (4,) of n-grams that a reference has at least as often, for each n."""
    most: Counts = Counter()
    for reference in references:
        most |= reference  # the largest count of each
    matched = np.zeros(LONGEST)
    for ngram, count in counts.items():
        matched[len(ngram) - 1] += min(count, most[ngram])
    return matched


def _rouge(words: Words, references: Sequence[Words]) -> float:
    common = [longest_common(words, reference) for reference in references]
    precision = max(common) / max(len(words), 1)
    recall = max(n / max(len(ref), 1) for n, ref in zip(common, references, strict=True))
    if not (precision and recall):
        return 0.0
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


def longest_common(first: Words, second: Words) -> int:
    """Returns the length of the longest common subsequence."""
    row = [0] * (len(second) + 1)
    for word in first:
        before = 0  # the entry to the upper left
        for column, other in enumerate(second, start=1):
            above = row[column]
            row[column] = before + 1 if word == other else max(above, row[column - 1])
            before = above
    return row[-1]
