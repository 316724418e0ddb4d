"""Data sets; importing this package registers them."""

from __future__ import annotations

from paddlevideo.loader.dataset.actbert import ActBertDataset
from paddlevideo.loader.dataset.base import Dataset
from paddlevideo.loader.dataset.captioning import CaptioningDataset
from paddlevideo.loader.dataset.crosstask import CrossTaskDataset
from paddlevideo.loader.dataset.fill_in import FillInBlankDataset
from paddlevideo.loader.dataset.msrvtt import MSRVTTDataset
from paddlevideo.loader.dataset.multiple_choice import MultipleChoiceDataset
from paddlevideo.loader.dataset.open_questions import OpenQuestionDataset
from paddlevideo.loader.dataset.segmentation import COINDataset, MSTCNDataset
from paddlevideo.loader.dataset.youcook2 import YouCook2Dataset

__all__ = [
    "ActBertDataset",
    "COINDataset",
    "CaptioningDataset",
    "CrossTaskDataset",
    "Dataset",
    "FillInBlankDataset",
    "MSRVTTDataset",
    "MSTCNDataset",
    "MultipleChoiceDataset",
    "OpenQuestionDataset",
    "YouCook2Dataset",
]
