"""A trained model for Python: vectors of texts and videos, scores and searches as NumPy arrays.

C texts, V clips, D the width of the vectors. One video is one or several clips, as the settings of
its extraction say.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from paddlevideo.config import Config
from paddlevideo.files.fingerprint import state
from paddlevideo.files.paths import expand_path
from paddlevideo.inference.features import Extraction, extract_as_trained
from paddlevideo.inference.recipe import candidates_for, load_recipe
from paddlevideo.inference.videos import (
    NO_HEAD,
    AnyPath,
    Array,
    EncodedVideos,
    Videos,
    VideoVectors,
    as_paths,
    as_texts,
    feature_file,
)
from paddlevideo.loader.clips.gallery import ClipBatches
from paddlevideo.modeling import locate_weights
from paddlevideo.modeling.heads.vectors import VectorHead
from paddlevideo.modeling.match_scorer import CaptionCache
from paddlevideo.retrieval.answers import Answer, best_clips
from paddlevideo.retrieval.gallery import Gallery
from paddlevideo.retrieval.model import RetrievalModel
from paddlevideo.retrieval.search import Searcher
from paddlevideo.retrieval.search_index import index_place
from paddlevideo.utils.errors import ConfigError, DataError
from paddlevideo.utils.printable import some
from paddlevideo.utils.progress import progress as progress_shown
from paddlevideo.utils.progress import track

log = logging.getLogger("paddlevideo")
BATCH = 32


def load(
    weights: AnyPath,
    config: AnyPath | None = None,
    *,
    overrides: Sequence[str] = (),
    extraction: Extraction | None = None,
    index: AnyPath | None = None,
    batch_size: int = BATCH,
    progress: bool = True,
) -> VideoTextModel:
    """Returns a trained model that compares texts and videos.

    Args:
        weights: a ``.pdparams`` or ``.safetensors`` file, or a folder with one or with a single
            ``_best``.
        config: its recipe; by default the ``config.yaml`` beside the weights, which training writes
            there, or ``actbert_msrvtt.yaml``.
        overrides: changes of the recipe, such as ``["device=cpu"]``.
        extraction: how videos become clips with features; by default as those that the weights
            were trained with, which ``extraction.json`` beside them says.
        index: folder for the vectors of searched feature files, by default ``search_index`` beside
            the weights; or the address of a Milvus server, or a file ``.db`` of Milvus Lite.
        batch_size: texts, or clips, that are encoded at once. It does not change a result.
        progress: whether long work draws a bar on a terminal.

    Raises:
        ConfigError: the recipe is wrong, or its model does not compare texts and videos.
        WeightsError: there are no such weights, or they do not fit the recipe.
    """
    _check_count("batch_size", batch_size)
    located = locate_weights(expand_path(os.fspath(weights)))
    recipe = load_recipe(located, config, overrides)
    head = ((recipe.get("MODEL") or {}).get("head") or {}).get("name")
    if head:
        raise ConfigError(
            f"{located}: its {head} describes videos and compares no texts with them: use "
            f"paddlevideo predict -w {located}"
        )
    folder = index_place(located, index)
    made = VideoTextModel(RetrievalModel(recipe, located), recipe, folder)
    made.extraction = extraction or Extraction()
    made.batch_size, made.progress = batch_size, progress
    return made


class VideoTextModel:
    """A model that compares texts and videos; :func:`load` makes one.

    ``videos`` is always one of: the path of a video; a list of them; a folder, a text file or a CSV
    that ``paddlevideo extract`` takes; a feature store or another file of clips with features; or
    what :meth:`encode_videos` has returned, so that nothing is extracted or encoded twice. Videos
    are extracted into a temporary store, with the settings ``extraction``. ``texts`` is one text or
    a list of them.

    ``weights``: the file; ``config``: its recipe. ``extraction``, ``batch_size`` and ``progress``
    are those of :func:`load` and may be changed. Methods raise ConfigError for a text without a
    word of the vocabulary and DataError for videos or features that cannot be used.
    """

    extraction: Extraction
    batch_size: int = BATCH
    progress: bool = True

    def __init__(self, retrieval: RetrievalModel, config: Config, index: Path | str) -> None:
        """``index``: the folder of search indexes, or the address or the file of Milvus."""
        self.config, self.weights = config, retrieval.weights
        self.extraction = Extraction()
        self._retrieval, self._index = retrieval, index
        self._searcher: tuple[object, Searcher] | None = None

    def __repr__(self) -> str:
        return f'VideoTextModel("{self.weights}")'

    @property
    def similarity_scale(self) -> float:
        """The factor that makes the dot product of two vectors the similarity of a search.

        Raises ConfigError if there is no retrieval head.
        """
        return float(self._required_head().scale)

    @property
    def similarity_weight(self) -> float:
        """The weight of similarities in scores; 0 if there is no retrieval head.

        Raises WeightsError if no validation has chosen it.
        """
        head = self._retrieval.head
        return 0.0 if head is None else head.known_weight

    def embed_text(self, texts: str | Iterable[str]) -> Array:
        """Returns vectors (C, D) of length 1, whose dot products with clips' rank the clips.

        Raises ConfigError if there is no retrieval head.
        """
        width = self._required_head().width
        empty = np.zeros((0, width), np.float32)
        with progress_shown(self.progress):
            return np.concatenate([empty, *map(_vectors, self._encoded(self._checked(texts)))])

    def embed_videos(self, videos: Videos) -> VideoVectors:
        """Returns ids of V clips and vectors (V, D) of length 1.

        Raises ConfigError if there is no retrieval head.
        """
        self._required_head()  # before videos are extracted
        encoded = self._encode(videos, gigabytes=0.0)
        return VideoVectors(encoded.names, encoded.vectors)

    def encode_videos(self, videos: Videos) -> EncodedVideos:
        """Returns clips in a form that :meth:`score` and :meth:`search` take in place of paths."""
        return self._encode(videos, self._retrieval.framework.gallery_gigabytes)

    def score(self, texts: str | Iterable[str], videos: Videos) -> Array:
        """Returns what ranks in tests and searches, (C, V): higher is better, clips in their order.

        That is the match margin and, with a retrieval head, the similarity times its weight. It is
        neither a probability nor comparable between models: see :meth:`match_probability`.
        """
        weight = np.float32(self.similarity_weight)
        margins, similarities, _ = self._compare(texts, videos)
        return margins + weight * similarities

    def match_probability(self, texts: str | Iterable[str], videos: Videos) -> Array:
        """Returns the match head's probabilities (C, V) that a text belongs to a clip.

        They leave out the retrieval head, and depend on how often training showed a wrong caption.
        """
        margins, _, _ = self._compare(texts, videos)
        return np.asarray(np.exp(-np.logaddexp(0, -margins)), np.float32)

    def search(self, videos: Videos, text: str, best: int = 10) -> list[Answer]:
        """Returns the ``best`` clips for a text, best first, with their scores.

        With a retrieval head, clips of a feature file are selected by an index, which the first
        search writes, as ``paddlevideo search`` does: only ``max(32, best)`` are matched. All
        encoded clips are matched.
        """
        _check_count("best", best)
        if not isinstance(text, str):
            raise ConfigError(f"text: {text!r:.60} is a {type(text).__name__}; expected text")
        if not isinstance(videos, EncodedVideos):
            videos = as_paths(videos)
            if features := feature_file(videos):
                with progress_shown(self.progress):
                    return self._open(features, candidates_for(best)).find(text, best)
        weight = np.float32(self.similarity_weight)
        (margins,), (similarities,), names = self._compare(text, videos)
        scores = margins + weight * similarities
        return [
            Answer(name, float(scores[at]), float(margins[at]), float(similarities[at]))
            for at, name in best_clips(scores, names, best)
        ]

    # ------------------------------------------------------------------------- texts

    def _checked(self, texts: str | Iterable[str]) -> list[str]:
        """Returns one or several texts as a list, and warns of unknown words.

        Raises ConfigError for the first that has no known word.
        """
        several = as_texts(texts)
        if warnings := [warning for text in several if (warning := self._retrieval.check(text))]:
            log.warning("%s", some(warnings, separator="; "))
        return several

    def _encoded(self, texts: Sequence[str]) -> Iterator[CaptionCache]:
        """Yields texts in batches."""
        firsts = range(0, len(texts), self._batch)
        for first in track(firsts, "texts", len(firsts), "texts", self._batch):
            yield self._retrieval.encode(texts[first : first + self._batch])

    def _required_head(self) -> VectorHead:
        if self._retrieval.head is None:
            raise ConfigError(NO_HEAD)
        return self._retrieval.head

    # ------------------------------------------------------------------------ videos

    def _encode(self, videos: Videos, gigabytes: float) -> EncodedVideos:
        if isinstance(videos, EncodedVideos):
            if videos.owner is not self:
                raise ConfigError("these videos were encoded by another model: encode them again")
            return videos
        with ExitStack() as stack, progress_shown(self.progress):
            paths = as_paths(videos)
            features = feature_file(paths) or self._extracted(paths, stack)
            reader = self._retrieval.reader(features)
            names = list(reader.source.ids())
            if not names:
                raise DataError(f"{features}: contains no clips")
            source = _Tracked(reader, names, self._batch)
            gallery = Gallery(self._retrieval.framework.encode_videos, source, gigabytes)
            return EncodedVideos(self, names, gallery, stack.pop_all().close)

    def _extracted(self, paths: Sequence[Path], stack: ExitStack) -> Path:
        """Returns a store of videos, which ``stack`` removes."""
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="paddlevideo-")))
        store, failed = extract_as_trained(paths, self.weights, self.extraction, folder)
        if failed and not self.extraction.skip_failed:
            raise DataError(f"{failed}. Extraction(skip_failed=True) leaves them out")
        if failed:
            log.warning("%s", failed)
        return store

    @property
    def _batch(self) -> int:
        _check_count("batch_size", self.batch_size)
        return self.batch_size

    # ------------------------------------------------------------------- comparisons

    def _compare(
        self, texts: str | Iterable[str], videos: Videos
    ) -> tuple[Array, Array, list[str]]:
        """Returns margins and similarities (C, V) and the clips' ids.

        Without a retrieval head, similarities are 0.
        """
        checked = self._checked(texts)  # before videos are extracted
        encoded = self.encode_videos(videos)
        empty = np.zeros((0, len(encoded)), np.float32)
        margins: list[Array] = [empty]
        similarities: list[Array] = [empty]
        with progress_shown(self.progress):
            for captions in self._encoded(checked):
                margins.append(self._retrieval.framework.margins(captions, encoded.gallery).numpy())
                similarities.append(self._similarities(captions, encoded))
        return np.concatenate(margins), np.concatenate(similarities), encoded.names

    def _similarities(self, captions: CaptionCache, videos: EncodedVideos) -> Array:
        if self._retrieval.head is None:
            return np.zeros((captions.size, len(videos)), np.float32)
        scaled: Array = _vectors(captions) * np.float32(self.similarity_scale)
        return scaled @ videos.vectors.T

    def _open(self, path: Path, candidates: int) -> Searcher:
        """Returns the searcher of a feature file: the last one, unless the file has changed."""
        heads = [path / name for name in ("store.json", "data.mdb") if (path / name).is_file()]
        key = os.path.realpath(path), state((heads or [path])[0]), candidates
        if self._searcher is None or self._searcher[0] != key:
            opened = Searcher(self._retrieval, path, self._index, candidates)
            self._searcher = key, opened
        return self._searcher[1]


def _check_count(name: str, value: int) -> None:
    if not isinstance(value, (int, np.integer)) or value < 1:
        raise ConfigError(f"{name} is {value!r}; expected a whole number, at least 1")


def _vectors(captions: CaptionCache) -> Array:
    assert captions.vector is not None
    vectors: Array = captions.vector.astype("float32").numpy()
    return vectors


class _Tracked(ClipBatches):
    """Clips in batches, with a progress bar over all of them."""

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        batches = -(-len(self) // self.batch_size)
        return track(super().__iter__(), "clips", batches, "clips", self.batch_size)
