"""What the training and test loops ask of a model, whatever its task."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from paddle import Tensor, nn

from paddlevideo.utils.errors import ConfigError, WeightsError
from paddlevideo.utils.limits import Limits

Batch = Mapping[str, Any]
#: Rows (n, ...) of this rank to those of all ranks, in order, and the place of its own.
Gather = Callable[[Tensor], tuple[list[Tensor], int]]

#: Hooks of earlier versions: those with other names now, and those that became a predictor's.
RENAMED_HOOKS = {
    "adopt": "apply_validation_choice",
    "adopts": "has_validation_choice",
    "work": "progress_units",
}
REMOVED_HOOKS = ("has_first_stage", "first_stage", "shortlist")


class BaseFramework(nn.Layer):
    """A model that can be trained by ``main.py``: subclass it, register it in ``FRAMEWORKS``.

    Only ``forward`` must be written. A batch is a dict of numpy arrays, one row a sample.
    """

    def __init_subclass__(cls) -> None:
        """Takes over hooks under their earlier names. Raises ConfigError for one that is gone."""
        super().__init_subclass__()
        for old, new in RENAMED_HOOKS.items():
            if old in vars(cls) and new not in vars(cls):
                setattr(cls, new, vars(cls)[old])
        if gone := [name for name in REMOVED_HOOKS if name in vars(cls)]:
            raise ConfigError(
                f"{cls.__name__} defines {', '.join(gone)}, which are no longer called: what a "
                "test needs of all samples before the first prediction is for the predictor that "
                "a metric returns, see paddlevideo.metrics.Metric.predictor"
            )

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
        """Turns what a data set shares between all its samples into what ``predict`` needs."""
        return None

    def apply_validation_choice(self, results: Mapping[str, Any]) -> None:
        """Keeps what a validation chose. Called on every rank with the same results."""

    def has_validation_choice(self) -> bool:
        """Returns whether a validation may change what is saved with the weights."""
        hook = BaseFramework.apply_validation_choice
        return type(self).apply_validation_choice is not hook

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
        """Returns one row a sample for the metric: an array, a list, or several of them by name.

        By default every sample gets its batch's losses, for ``LossMetric``.
        """
        size = len(next(iter(batch.values())))
        losses = self(batch)
        return {name: np.full(size, float(loss)) for name, loss in losses.items()}

    def progress_units(self, prepared: Any) -> tuple[int, str]:
        """Returns how many units a sample counts on the progress bar, and what they are called."""
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
