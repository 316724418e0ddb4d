"""Brings every feature to about the same size, whatever the videos are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import numpy as np

#: Mean and standard deviation of each feature before scaling: three parts of the demo's training
#: clips, one part of real videos. In both they are nearly the same.
TYPICAL = Path(__file__).with_name("typical.json")
#: Scaled values beyond are clipped: one odd region must not outweigh the others.
LIMIT = 5.0


class Scale:
    """Scales features by their typical means and deviations.

    These do not depend on the videos at hand: a clip has the same features in every store. A model
    learns from scaled features in a fraction of the steps.
    """

    def __init__(self, kind: Literal["regions", "actions"]) -> None:
        typical = json.loads(TYPICAL.read_text("utf-8"))[kind]
        self._mean, self._deviation = np.array(typical["mean"]), np.array(typical["deviation"])
        self.width = len(self._mean)

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Returns rows (n, width) scaled, float32."""
        scaled = (rows - self._mean) / self._deviation
        return np.clip(scaled, -LIMIT, LIMIT).astype(np.float32)
