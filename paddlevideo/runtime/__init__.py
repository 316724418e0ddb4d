"""Device, ranks, seeds and mixed precision: the only user of paddle.distributed and paddle.amp.

The rest of the package sees a ``World`` of one or many ranks and an ``Amp`` that is on or off.
"""

from paddlevideo.runtime.device import (
    make_deterministic,
    memory_used,
    seed_everything,
    select_device,
    synchronize_clock,
    use_threads,
    world_size,
)
from paddlevideo.runtime.precision import Amp, half_type
from paddlevideo.runtime.recompute import recompute_layers
from paddlevideo.runtime.world import RankLost, World

__all__ = [
    "Amp",
    "RankLost",
    "World",
    "half_type",
    "make_deterministic",
    "memory_used",
    "recompute_layers",
    "seed_everything",
    "select_device",
    "synchronize_clock",
    "use_threads",
    "world_size",
]
