"""What the training and test loops ask of a model, whatever its task."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from paddle import Tensor, nn

from paddlevideo.utils.errors import WeightsError
from paddlevideo.utils.limits import Limits

Batch = Mapping[str, Any]
#: Rows (n, ...) of this rank to those of all ranks, in order, and the place of its own.
Gather = Callable[[Tensor], tuple[list[Tensor], int]]


class BaseFramework(nn.Layer):
    """A model that can be trained by ``main.py``: subclass it, register it in ``FRAMEWORKS``.

    Only ``forward`` must be written. A batch is a dict of numpy arrays, one row a sample.
    """

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Named scalar losses; ``"loss"`` is the one to minimise.

        In training they may come as ``paddlevideo.modeling.Losses``, with counts of right
        answers beside them, whose shares the log then shows.
        """
        raise NotImplementedError(f"{type(self).__name__} must define forward(batch)")

    def denominators(self, batch: Batch) -> dict[str, float]:
        """What each named loss of this batch was divided by.

        With it, several processes and several micro-batches train exactly as one large batch
        does. An empty dict says: the mean of the batches' means is right.
        """
        return {}

    def limits(self) -> Limits:
        """What the arrays in a sample may hold, by their names; by default as the backbone says."""
        return getattr(getattr(self, "backbone", None), "limits", {})

    def prepare(self, context: Iterable[Batch] | None) -> Any:
        """Turns what a dataset shares between all its samples into what ``predict`` needs."""
        return None

    def has_first_stage(self, prepared: Any) -> bool:
        """Whether all ranks must know something of all samples before any prediction."""
        return False

    def first_stage(self, batch: Batch, prepared: Any) -> dict[str, np.ndarray]:
        """What that is: named rows, one a sample."""
        raise NotImplementedError(f"{type(self).__name__} must define first_stage")

    def shortlist(self, prepared: Any, rows: Mapping[str, np.ndarray]) -> Any:
        """Takes the first stage's ``rows`` of all samples, in order, into ``prepared``.

        Returns what the metric's ``start`` is given.
        """
        raise NotImplementedError(f"{type(self).__name__} must define shortlist")

    def adopt(self, results: Mapping[str, Any]) -> None:
        """Takes over what a validation chose. Called on every rank with the same results."""

    def adopts(self) -> bool:
        """Whether :meth:`adopt` may change what is saved with the weights."""
        return type(self).adopt is not BaseFramework.adopt

    def connect(self, gather: Gather) -> None:
        """Hands over how rows are gathered from all ranks, for losses that compare samples."""

    def fits(self) -> int:
        """How many samples :meth:`fit` takes at most; 0: there is nothing to fit."""
        return 0

    def fit(self, batches: Iterable[Batch], total: Callable[[np.ndarray], np.ndarray]) -> None:
        """Fits what has a closed form, once, before the first step of a new run.

        ``batches``: this rank's share of the training samples, nothing of them hidden; ``total``:
        the sum of an array over all ranks.
        """
        raise NotImplementedError(f"{type(self).__name__} must define fit")

    def parts(self) -> dict[str, list[nn.Layer]]:
        """The layers by the names under which a dry run counts their parameters.

        A parameter that several share counts where it comes first.
        """
        return {name: [layer] for name, layer in self.named_children()}

    def recomputable(self) -> list[nn.Layer]:
        """Layers that ``recompute: True`` computes anew in the backward pass."""
        return []

    def predict(self, batch: Batch, prepared: Any) -> Any:
        """One row for each sample, for a metric: an array, or a dict of arrays.

        By default every sample gets its batch's losses, for ``LossMetric``.
        """
        size = len(next(iter(batch.values())))
        losses = self(batch)
        return {name: np.full(size, float(loss)) for name, loss in losses.items()}

    def work(self, prepared: Any) -> tuple[int, str]:
        """What ``predict`` does for one sample, for the progress bar: how many of what."""
        return 1, "samples"

    def init_weights(self) -> None:
        """Loads what the configuration names as the start of training, if anything."""

    def to_released(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Translates parameter names to those used in weight files."""
        return dict(state)

    def from_released(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Translates names used in weight files to parameter names."""
        return dict(state)

    def check_loaded(self, missing: list[str]) -> None:
        """Raises WeightsError if ``missing`` holds parameters that testing needs."""
        if missing:
            raise WeightsError(
                f"the weights lack {len(missing)} parameters that the test needs: "
                f"{', '.join(missing[:5])}{' ...' if len(missing) > 5 else ''}"
            )
