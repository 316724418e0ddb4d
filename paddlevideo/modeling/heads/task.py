"""The base class of the heads of :class:`paddlevideo.modeling.ActBertTask`.

B samples; T words, R regions (the global one first), A actions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from paddle import Tensor, nn

from paddlevideo.modeling.accuracy import Losses
from paddlevideo.modeling.backbones.tangled import Streams

if TYPE_CHECKING:
    from paddlevideo.modeling.backbones.actbert import BertForMultiModalPreTraining

Batch = Mapping[str, Any]
#: Turns a batch of arrays into the streams' last states and tensors; see ``ActBertTask.encode``.
Encode = Callable[[Batch], tuple[Streams[Tensor], dict[str, Any]]]


class TaskHead(nn.Layer):
    """Turns the backbone's states into a loss, and into the predictions of a test.

    Register it in ``HEADS``. It may be missing from weights to start from, never from those
    to test.
    """

    #: Layers of the backbone for pre-training that the head uses: a test needs their weights.
    uses: tuple[str, ...] = ()

    def build(self, backbone: BertForMultiModalPreTraining) -> None:
        """Creates the layers that depend on the backbone's sizes. Raises ConfigError."""

    def counts(self, batch: Batch) -> dict[str, float]:
        """Returns the number of terms in each loss of ``batch``; 0 if nothing is labelled."""
        raise NotImplementedError(f"{type(self).__name__} must define counts")

    def losses(self, states: Streams[Tensor], batch: Batch, counts: Mapping[str, float]) -> Losses:
        """Returns the named losses and their sum, "loss".

        Each loss is a sum divided by its entry of ``counts``, which is never 0.

        Args:
            states: the streams' last states (B, T | R | A, D of the stream).
            batch: tensors, without the padding that all samples share; text as lists.
            counts: the divisors, those of :meth:`counts` or their sums.
        """
        raise NotImplementedError(f"{type(self).__name__} must define losses")

    def predict(self, states: Streams[Tensor], batch: Batch) -> Any:
        """Returns one row per sample for the metric: an array, a list, or a dict of these."""
        raise NotImplementedError(f"{type(self).__name__} must define predict")

    def run(self, encode: Encode, batch: Batch) -> Any:
        """Encodes a batch and returns what :meth:`predict` does.

        Override it if a sample is not one row of arrays, such as a video in several windows.
        """
        return self.predict(*encode(batch))

    def set_up_from(self, dataset: Any) -> None:
        """Takes what the head needs to know of the training data set, such as its answers.

        Called before the first step, after weights have been loaded. Raises ConfigError for data
        that cannot train the head.
        """

    def num_fit_samples(self) -> int:
        """Returns the maximum number of samples for :meth:`fit`; 0: there is nothing to fit."""
        return 0

    def fit(self, batches: Iterable[Batch], total: Callable[[np.ndarray], np.ndarray]) -> None:
        """Fits what has a closed-form solution, before the first step of a new run.

        ``batches``: this rank's share of the training samples; ``total``: sums an array over all
        ranks.
        """
        raise NotImplementedError(f"{type(self).__name__} must define fit")

    def receive(self, state: Mapping[str, np.ndarray]) -> None:
        """Takes sizes and names from weights that are about to be loaded.

        ``state``: the head's arrays in the file, by their names in the head. Raises WeightsError
        if the file's names are not those of the configuration.
        """

    def fits_on_resume(self) -> bool:
        """Returns whether :meth:`fit` runs again when a run resumes."""
        return False
