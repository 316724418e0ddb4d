"""Data: files to batches of named numpy arrays. Nothing here needs Paddle.

``clips`` reads clips from any kind of file (``store`` is this project's format), ``captions`` reads
caption files, ``dataset`` turns both into samples and ``pipelines`` samples into arrays; ``order``
and ``sampler`` choose the samples of a batch, and ``build`` and ``workers`` read it.
"""

from __future__ import annotations

from paddlevideo.loader.build import (
    BatchLoader,
    SampleReader,
    build_dataset,
    build_pipeline,
)
from paddlevideo.loader.clips.opening import open_clips
from paddlevideo.loader.collate import Collator
from paddlevideo.loader.dataset import (
    ActBertDataset,
    Dataset,
    FillInBlankDataset,
    MSRVTTDataset,
    MultipleChoiceDataset,
    OpenQuestionDataset,
    YouCook2Dataset,
)
from paddlevideo.loader.pipelines import FeaturePadding, RandomCap, RandomMask, Tokenize
from paddlevideo.loader.sampler import GridSampler, TrainSampler
from paddlevideo.loader.tokenizer import load_tokenizer

__all__ = [
    "ActBertDataset",
    "BatchLoader",
    "Collator",
    "Dataset",
    "FillInBlankDataset",
    "FeaturePadding",
    "GridSampler",
    "MSRVTTDataset",
    "MultipleChoiceDataset",
    "OpenQuestionDataset",
    "RandomCap",
    "RandomMask",
    "SampleReader",
    "Tokenize",
    "TrainSampler",
    "YouCook2Dataset",
    "build_dataset",
    "build_pipeline",
    "load_tokenizer",
    "open_clips",
]
