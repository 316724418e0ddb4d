"""A model with its recipe, to describe clips of a feature store."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.config import Config, check_config, run_settings
from paddlevideo.loader.clips.clip import About
from paddlevideo.loader.clips.gallery import ClipReader
from paddlevideo.loader.dataset.retrieval import TokenSettings
from paddlevideo.loader.tokenizer import check_query, load_tokenizer
from paddlevideo.modeling import BaseFramework, build_model, load_weights
from paddlevideo.registry import DATASETS
from paddlevideo.runtime import select_device, use_threads
from paddlevideo.utils.errors import DataError
from paddlevideo.utils.progress import track

log = logging.getLogger("paddlevideo")


@dataclass(frozen=True)
class Loaded:
    """A model in evaluation mode, and the arguments of its recipe's test data set."""

    model: BaseFramework
    options: Mapping[str, Any]
    #: The recipe's METRIC section.
    metric: Mapping[str, Any]

    def reader(self, features: Path) -> ClipReader:
        """Returns the clips of a store in the sizes of the recipe. Raises DataError."""
        return ClipReader.of(features, self.options)

    def tokens(self) -> TokenSettings:
        """Returns the vocabulary and the length of texts."""
        return TokenSettings(self.options["bert_model"], self.options["max_seq_length"], 0)

    def check_texts(self, texts: Iterable[str]) -> None:
        """Warns of truncated texts and unknown words.

        Raises ConfigError for a text without a word of the vocabulary.
        """
        tokens = self.tokens()
        for text in texts:
            if warning := check_query(load_tokenizer(tokens.bert_model), text, tokens.length):
                log.warning("%s", warning)


def load(config: Config, weights: Path) -> Loaded:
    """Builds the model of a recipe with trained weights. Raises ConfigError or WeightsError."""
    check_config(config, "export")
    settings = run_settings(config)
    select_device(settings.device)
    use_threads(settings.num_threads)
    model = build_model(config.MODEL, blank=True)
    load_weights(model, weights, for_test=True)
    model.eval()
    section = (config.get("DATASET") or {}).get("test") or {}
    arguments = inspect.signature(DATASETS.get(section.get("format", "MSRVTTDataset"))).parameters
    options = {name: section.get(name, each.default) for name, each in arguments.items()}
    return Loaded(model, options, config.get("METRIC") or {})


def batches_of(
    reader: ClipReader, size: int, unit: str = "clips"
) -> Iterator[tuple[list[About], dict[str, np.ndarray]]]:
    """Yields what is known of at most ``size`` clips, and their arrays, with a progress bar."""
    source = reader.source
    if not len(source):
        raise DataError(f"{source.path}: contains no clips")
    firsts = range(0, len(source), size)
    for first in track(firsts, unit, len(firsts), unit, size):
        some = [source.about(index) for index in range(first, min(first + size, len(source)))]
        yield some, reader.read([about.id for about in some])
