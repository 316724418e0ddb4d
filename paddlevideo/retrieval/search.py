"""Finds clips by a sentence, with an index of the gallery's vectors on disk."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.config import Config, check_config, run_settings
from paddlevideo.files.fingerprint import unchanged
from paddlevideo.loader.clips.gallery import ClipBatches, ClipReader
from paddlevideo.loader.dataset import MSRVTTDataset
from paddlevideo.loader.pipelines.text import pad_ids
from paddlevideo.loader.tokenizer import check_query, load_tokenizer
from paddlevideo.modeling import build_model, load_weights, locate_weights
from paddlevideo.retrieval.answers import Answer, best_clips
from paddlevideo.retrieval.gallery import Gallery
from paddlevideo.retrieval.search_index import SearchIndex
from paddlevideo.retrieval.shortlist import nearest
from paddlevideo.retrieval.test import is_matcher
from paddlevideo.runtime import select_device, use_threads
from paddlevideo.utils.errors import ConfigError, DataError
from paddlevideo.utils.limits import check_extents
from paddlevideo.utils.progress import track

log = logging.getLogger("paddlevideo")

#: Arguments of a retrieval data set that a search does not use.
UNUSED = (
    *("self", "file_path", "features_path", "data_prefix", "test_mode", "only", "exclude"),
    "captions_per_clip",
)


class Searcher:
    """Finds the clips of a feature file that a sentence describes.

    With a retrieval head, the ``candidates`` most similar clips are matched with the sentence.
    Vectors come from an index that the first search writes into the folder ``index``, if it can.
    Without a head every clip is matched.
    """

    def __init__(
        self,
        config: Config,
        weights: Path,
        features: Path,
        index: Path,
        candidates: int = 128,
        sentences: Sequence[str] = (),
    ) -> None:
        """Checks ``sentences`` (see :meth:`check`), then loads model and clips.

        Raises ConfigError, DataError or WeightsError.
        """
        given, weights = weights, locate_weights(weights)
        check_config(config, "export")
        settings = run_settings(config)
        select_device(settings.device)
        use_threads(settings.num_threads)
        self.options = dataset_options(config)
        for sentence in sentences:
            self.check(sentence)
        model = build_model(config.MODEL, blank=True)
        if not is_matcher(model):
            raise ConfigError("MODEL.framework: only an ActBert can search")
        words = load_tokenizer(self.options["bert_model"]).vocabulary_size
        check_extents(model.limits(), {"text_ids": words}, self.options["bert_model"])
        with unchanged(weights) as sha256:
            load_weights(model, given, for_test=True)
        model.eval()
        self.model, self.candidates = model, candidates
        self.head = model.retrieval_head
        if self.head is not None:
            self.weight = self.head.known_weight
        reader = ClipReader(
            str(features),
            self.options["max_region_num"],
            self.options["max_action_num"],
            self.options["vision_feature_dim"],
            self.options["action_feature_dim"],
        )
        self.clips = list(reader.source.ids())
        if not self.clips:
            raise DataError(f"{features}: contains no clips")
        self._source = ClipBatches(reader, self.clips, self.options["gallery_batch"])
        self.gallery = self._open_gallery(weights, sha256, features, index)

    def find(self, sentence: str, count: int = 10) -> list[Answer]:
        """Returns the ``count`` best clips, best first. Raises ConfigError like :meth:`check`."""
        if warning := self.check(sentence):
            log.warning("%s", warning)
        ids = load_tokenizer(self.options["bert_model"]).encode(
            sentence, self.options["max_seq_length"]
        )
        padded = pad_ids(ids, self.options["max_seq_length"], self.options["padding_index"])
        caption = self.model.encode_captions({key: row[None] for key, row in padded.items()})
        similarities, weight = np.zeros(self.gallery.size, np.float32), 0.0
        candidates = np.arange(self.gallery.size)
        if self.head is not None:
            vector = caption.vector.numpy() * float(self.head.scale)
            assert self.gallery.vectors is not None
            similarities, weight = (vector @ self.gallery.vectors.T)[0], self.weight
            limit = self.head.faiss_from
            candidates = np.sort(nearest(vector, self.gallery.vectors, self.candidates, limit)[0])
        margins = self.model.listed_margins(caption, self.gallery, candidates)
        similarities = similarities[candidates]
        scores = margins + weight * similarities
        names = [self.clips[candidate] for candidate in candidates]
        return [
            Answer(name, float(scores[at]), float(margins[at]), float(similarities[at]))
            for at, name in best_clips(scores, names, count)
        ]

    def check(self, sentence: str) -> str:
        """Returns a warning about words that are not in the vocabulary, or "".

        Raises ConfigError if none of them is, or if the sentence is empty.
        """
        tokenizer = load_tokenizer(self.options["bert_model"])
        return check_query(tokenizer, sentence, self.options["max_seq_length"])

    def _open_gallery(self, weights: Path, sha256: str, features: Path, index: Path) -> Gallery:
        encode, gigabytes = self.model.encode_videos, self.model.gallery_gigabytes
        if self.head is None:
            log.info("these weights have no retrieval head: every clip is matched")
            return Gallery(encode, _Tracked(self._source), gigabytes)
        stored = SearchIndex(index, weights, sha256, features, self.options)

        def encoded() -> np.ndarray:
            vectors = Gallery(encode, _Tracked(self._source), 0.0).vectors
            assert vectors is not None
            return vectors

        vectors = stored.vectors(len(self.clips), encoded)
        return Gallery.of_vectors(encode, self._source, vectors)


class _Tracked:
    """A source of clips with a progress bar."""

    def __init__(self, source: ClipBatches) -> None:
        self.source, self.take = source, source.take

    def __len__(self) -> int:
        return len(self.source)

    def __iter__(self) -> Iterator[Any]:
        batches = -(-len(self.source) // self.source.batch_size)
        return track(self.source, "index", batches, "clips", self.source.batch_size)


def dataset_options(config: Config) -> dict[str, Any]:
    """Returns the arguments of DATASET.test, a retrieval data set, with its defaults.

    Raises:
        ConfigError: it is not a retrieval data set.
    """
    section = (config.get("DATASET") or {}).get("test") or {}
    if section.get("format", "MSRVTTDataset") not in ("MSRVTTDataset", "YouCook2Dataset"):
        raise ConfigError(
            "DATASET.test.format: a search needs the sizes of an MSRVTTDataset or a YouCook2Dataset"
        )
    return {
        name: section.get(name, parameter.default)
        for name, parameter in inspect.signature(MSRVTTDataset.__init__).parameters.items()
        if name not in UNUSED
    }
