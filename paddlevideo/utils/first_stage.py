"""What the first stage of a retrieval test leaves behind: vectors, and pairs worth scoring.

C captions, V videos, D the vectors' width, P pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from paddlevideo.utils.nearest import blocks


@dataclass(frozen=True)
class Shortlists:
    """The most similar videos of each caption, and captions of each video, best first."""

    text_to_video: np.ndarray  # C, k
    video_to_text: np.ndarray  # V, k

    @cached_property
    def _keys(self) -> np.ndarray:
        """(P,) int64, rising: caption * V + video of every pair in either list."""
        captions, videos = len(self.text_to_video), len(self.video_to_text)
        forward = np.repeat(np.arange(captions), self.text_to_video.shape[1])
        backward = np.repeat(np.arange(videos), self.video_to_text.shape[1])
        of_captions = forward * videos + self.text_to_video.ravel()
        of_videos = self.video_to_text.ravel() * videos + backward
        return np.unique(np.concatenate([of_captions, of_videos]))

    @cached_property
    def starts(self) -> np.ndarray:
        """(C + 1,) int64: where each caption's pairs begin, and at last P."""
        captions, videos = len(self.text_to_video), len(self.video_to_text)
        return np.searchsorted(self._keys, np.arange(captions + 1) * videos)

    @property
    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Captions (P,) and videos (P,) of all pairs, by caption and then by video."""
        return np.divmod(self._keys, len(self.video_to_text))

    def of_caption(self, caption: int) -> np.ndarray:
        """The videos to score with ``caption``, rising."""
        keys = self._keys[self.starts[caption] : self.starts[caption + 1]]
        return keys - caption * len(self.video_to_text)

    def place(self, captions: np.ndarray, videos: np.ndarray) -> np.ndarray:
        """Where pairs that are in a list stand among all P; any shape."""
        return np.searchsorted(self._keys, captions * len(self.video_to_text) + videos)


@dataclass(frozen=True)
class FirstStage:
    """Vectors of all captions and videos; a pair's similarity is their dot product.

    ``shortlists`` is None where every pair is scored. ``weight``: how much of the similarity is
    added to a pair's score; NaN where nobody has chosen it yet. ``automatic``: a validation
    chooses it.
    """

    captions: np.ndarray  # C, D
    videos: np.ndarray  # V, D
    weight: float = 1.0
    automatic: bool = False
    shortlists: Shortlists | None = None

    def similarities(self, captions: np.ndarray, videos: np.ndarray) -> np.ndarray:
        """Similarities (P,) float32 of pairs."""
        found = np.empty(len(captions), dtype=np.float32)
        for rows in blocks(len(captions), self.captions.shape[1]):
            left, right = self.captions[captions[rows]], self.videos[videos[rows]]
            found[rows] = np.einsum("pd,pd->p", left, right)
        return found

    def rows(self, captions: slice) -> np.ndarray:
        """Similarities (captions, V) with every video."""
        return self.captions[captions] @ self.videos.T
