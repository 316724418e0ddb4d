"""Models: layers, backbones, losses and the frameworks that combine them."""

from paddlevideo.modeling.accuracy import Hits, Losses, accuracies_of
from paddlevideo.modeling.backbones.actbert import BertForMultiModalPreTraining
from paddlevideo.modeling.build import build_model
from paddlevideo.modeling.framework.actbert import ActBert
from paddlevideo.modeling.framework.base import BaseFramework
from paddlevideo.modeling.framework.task import ActBertTask
from paddlevideo.modeling.heads.answer import AnswerHead
from paddlevideo.modeling.heads.blank import BlankHead
from paddlevideo.modeling.heads.caption import CaptionHead
from paddlevideo.modeling.heads.fitted import FittedHead
from paddlevideo.modeling.heads.frames import FrameHead
from paddlevideo.modeling.heads.retrieval import RetrievalHead
from paddlevideo.modeling.heads.task import TaskHead
from paddlevideo.modeling.losses.actbert import ActBertLoss
from paddlevideo.modeling.weight_files import locate_weights
from paddlevideo.modeling.weights import LoadReport, load_weights

__all__ = [
    "ActBert",
    "ActBertLoss",
    "ActBertTask",
    "AnswerHead",
    "BaseFramework",
    "BlankHead",
    "BertForMultiModalPreTraining",
    "CaptionHead",
    "FittedHead",
    "FrameHead",
    "Hits",
    "LoadReport",
    "Losses",
    "RetrievalHead",
    "TaskHead",
    "accuracies_of",
    "build_model",
    "load_weights",
    "locate_weights",
]
