"""Builds data sets, pipelines and loaders of batches from a configuration."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Protocol

import numpy as np

from paddlevideo.loader.captions.coverage import Coverage
from paddlevideo.loader.collate import Batch, Collator
from paddlevideo.loader.dataset.base import Dataset
from paddlevideo.loader.skipping import TRIES, BadClips
from paddlevideo.loader.workers import batches_ahead
from paddlevideo.registry import DATASETS, PIPELINES
from paddlevideo.utils.errors import ConfigError, DataError, UserError
from paddlevideo.utils.limits import Limits, check_extents, check_sample

Step = Callable[[dict[str, Any], np.random.Generator], dict[str, Any]]


class Sampler(Protocol):
    """The interface of samplers for :class:`BatchLoader`."""

    batch_size: int

    def __len__(self) -> int:
        """Returns the number of batches in an epoch."""

    def batches(self, epoch: int = 0, start: int = 0) -> Iterator[list[int]]:
        """Yields lists of sample indices, from batch ``start`` on."""


def build_dataset(config: Mapping[str, Any]) -> Dataset:
    """Returns the data set that ``config["format"]`` names. Raises ConfigError or DataError."""
    return DATASETS.build(config)


def build_pipeline(config: Iterable[Mapping[str, Any] | str] | None) -> list[Step]:
    """Returns the steps of a list of one-key maps ``{name: options or None}``; [] for None.

    Raises ConfigError for an entry that is not such a map and for an unknown name.
    """
    steps = []
    for entry in config or []:
        named = {entry: None} if isinstance(entry, str) else entry
        if not isinstance(named, Mapping) or len(named) != 1:
            raise ConfigError(f"a pipeline step is one name with its options, not {entry!r:.80}")
        ((name, options),) = named.items()
        steps.append(PIPELINES.get(name)(**(options or {})))
    return steps


def start_warnings(dataset: Dataset, steps: Iterable[Step], count: int = 1000) -> list[str]:
    """Returns warnings about the data as a whole, from ``count`` samples spread over it.

    Warns if the vocabulary, that of the step ``Tokenize`` or else of the data set, lacks many words
    of the captions, and if a step's ``misfit`` returns a warning for the names of the clips.
    """
    steps = list(steps)
    clips = list(dataset.some_captions(count))
    names = [name for name, _ in clips]
    warnings = [step.misfit(names) for step in steps if hasattr(step, "misfit")]
    vocabularies = [getattr(step, "bert_model", None) for step in steps]
    bert_model = next(filter(None, (*vocabularies, dataset.bert_model)), None)
    if bert_model is not None:
        coverage = Coverage(bert_model, limit=10 * count)
        for clip, captions in clips:
            coverage.add(clip, captions)
        warnings.append(coverage.line() if coverage.is_bad else "")
    return [warning for warning in warnings if warning]


class SampleReader:
    """Reads samples through the pipeline; randomness depends on (seed, epoch, index) alone.

    With ``bad``, a clip that cannot be read is listed there and replaced by the next one.
    """

    def __init__(
        self,
        dataset: Dataset,
        steps: Iterable[Step] = (),
        seed: int = 0,
        bad: BadClips | None = None,
    ):
        self.dataset, self.steps, self.seed, self.bad = dataset, list(steps), seed, bad
        self.limits: Limits = {}

    def set_limits(self, limits: Limits, split: str) -> None:
        """Checks the known sizes of the data against ``limits`` now, and each sample when read.

        ``split``: for messages. Raises ConfigError.
        """
        extents = self.dataset.extents()
        for step in self.steps:
            extents = step.extents(extents) if hasattr(step, "extents") else extents
        check = {n: x for n, x in limits.items() if n in extents or not x.only_if_used}
        check_extents(check, extents, f"DATASET.{split}")
        self.limits = check

    def without_augmentation(self) -> SampleReader:
        """Returns a reader of the same samples without masking, noise or other captions.

        A step's method of this name (or its older one, ``undisturbed``) returns its replacement, or
        None for no step; a step without the method stays.
        """
        replaced = [_without_augmentation(step) for step in self.steps]
        steps = [step for step in replaced if step is not None]
        return SampleReader(self.dataset, steps, self.seed, self.bad)

    def read(self, epoch: int, index: int) -> dict[str, Any]:
        """Returns sample ``index`` of ``epoch``. Raises DataError with the clip's name."""
        try:
            rng = np.random.default_rng((self.seed, epoch, index))
            sample = self.dataset[index]
            check_sample(self.limits, sample, partial(self._name, index))
            for step in self.steps:
                sample = step(sample, rng)
            check_sample(self.limits, sample, partial(self._name, index))
            sample.setdefault("index", index)
            return sample
        except Exception as error:
            raise self._named(error, index) from error

    def batch(self, epoch: int, indices: list[int]) -> Batch:
        """Returns the samples as one batch, see :class:`Collator`."""
        if hasattr(self.dataset, "request"):  # a list of samples has nothing to read ahead
            with suppress(DataError):  # reading names the clip
                self.dataset.request(indices)
        collator = Collator(len(indices))
        for index in indices:
            # One by one: each sample reuses the memory of the one before.
            collator.add(self._read_or_next(epoch, index), partial(self._name, index))
        return collator.batch

    def _read_or_next(self, epoch: int, index: int) -> dict[str, Any]:
        """Returns sample ``index`` or, if bad clips may be skipped, the first good one after it."""
        if self.bad is None:
            return self.read(epoch, index)
        for _ in range(TRIES):
            try:
                return self.read(epoch, index)
            except DataError as error:
                self.bad.note(self._name(index), error)
            index = (index + 1) % len(self.dataset)
        raise DataError(f"{TRIES} clips in a row cannot be read; {self.bad.path} lists them")

    def _name(self, index: int) -> str:
        try:
            return self.dataset.name_of(index)
        except Exception:  # an error here must not hide the one that is reported
            return str(index)

    def _named(self, error: Exception, index: int) -> UserError:
        """Returns the error with the clip's name."""
        name = self._name(index)
        if isinstance(error, ConfigError) or (isinstance(error, DataError) and name in str(error)):
            return error
        if isinstance(error, UserError):
            return DataError(f'clip "{name}": {error}')
        # An error in a user's step or data set: its author needs the line.
        line = traceback.extract_tb(error.__traceback__)[-1]
        return DataError(
            f'clip "{name}" (sample {index}): {type(error).__name__}: {error} '
            f"({line.filename}:{line.lineno} in {line.name})"
        )


def _without_augmentation(step: Step) -> Step | None:
    for name in ("without_augmentation", "undisturbed"):
        if hasattr(step, name):
            return getattr(step, name)()
    return step


class BatchLoader:
    """Loads the batches of a sampler, in this process (no workers) or ahead of time in workers.

    Workers change only the speed. An error in a sample raises DataError with the clip's name at
    once; so does a killed worker. Workers end with their parent.
    """

    def __init__(self, reader: SampleReader, sampler: Sampler, num_workers: int = 0):
        if num_workers < 0:
            raise ConfigError(f"num_workers is {num_workers}; 0 reads in the main process")
        self.reader, self.sampler, self.num_workers = reader, sampler, num_workers

    def __len__(self) -> int:
        """Returns the number of batches in an epoch on this rank."""
        return len(self.sampler)

    def with_sampler(self, sampler: Sampler) -> BatchLoader:
        """Returns a loader of the same samples in the batches of another sampler."""
        return BatchLoader(self.reader, sampler, self.num_workers)

    def epoch(self, epoch: int = 0, start: int = 0) -> Iterator[Batch]:
        """Returns the batches of an epoch in order, from batch ``start`` on.

        Closing the iterator ends the workers.
        """
        batches = self.sampler.batches(epoch, start)
        if self.num_workers == 0:
            return (self.reader.batch(epoch, indices) for indices in batches)
        return batches_ahead(self.reader.batch, epoch, batches, self.num_workers)
