"""Settings of mixed precision, shared by the configuration and the runtime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from paddlevideo.utils.ranges import Positive


@dataclass(frozen=True)
class AmpSettings:
    """Mixed precision. O1: listed operators in ``dtype``; O2: parameters too."""

    enable: bool = False
    level: Literal["O1", "O2"] = "O1"
    #: null: bfloat16 where the GPU has it, else float16.
    dtype: Literal["float16", "bfloat16"] | None = None
    #: Operators that always, or never, run in ``dtype``.
    white_list: Sequence[str] = ()
    black_list: Sequence[str] = ()
    #: Initial scale of the loss, which then adapts.
    init_loss_scaling: Positive = 2.0**15
