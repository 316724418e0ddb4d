"""The device, its threads, memory and clock, and seeds."""

from __future__ import annotations

import os
import time

import numpy as np
import paddle
import paddle.distributed as dist

from paddlevideo.utils.cpu import tune_cpu
from paddlevideo.utils.errors import ConfigError

#: Variables that the launcher sets for Paddle besides the number of processes.
LAUNCHER_VARIABLES = ("PADDLE_TRAINER_ID", "PADDLE_CURRENT_ENDPOINT", "PADDLE_TRAINER_ENDPOINTS")

#: Paddle's flags for the gradients of selected and repeated rows, attention and embeddings. They
#: exist only in a Paddle for GPUs.
DETERMINISTIC = {"FLAGS_cudnn_deterministic": True, "FLAGS_embedding_deterministic": 1}


def select_device(name: str = "auto") -> str:
    """Sets and returns the device: "gpu" where Paddle has one, else "cpu".

    Raises ConfigError if ``name`` is a GPU and Paddle finds none.
    """
    has_gpu = paddle.device.is_compiled_with_cuda() and paddle.device.cuda.device_count() > 0
    if name.startswith("gpu") and not has_gpu:
        raise ConfigError(
            "device: a GPU was requested, but Paddle finds none. Install paddlepaddle-gpu and "
            "check nvidia-smi, or use device=cpu"
        )
    chosen = ("gpu" if has_gpu else "cpu") if name == "auto" else name
    if chosen == "gpu" and world_size() > 1:
        chosen = f"gpu:{dist.ParallelEnv().dev_id}"  # gpu-only
    paddle.set_device(chosen)
    return chosen


def make_deterministic(device: str) -> None:
    """Makes Paddle's GPU kernels add in a fixed order, which is slower; a CPU's always do."""
    if device.startswith("gpu"):
        paddle.set_flags(DETERMINISTIC)


def use_threads(count: int = 0) -> int:
    """Sets the number of threads of Paddle's CPU kernels, which is 1 at first, and returns it.

    ``count`` 0: all cores, divided by the local ranks.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    tune_cpu()
    count = count or max(1, (cores or 1) // _count_in("PADDLE_LOCAL_SIZE"))
    paddle.base.core.set_num_threads(count)
    return count


def world_size() -> int:
    """Returns the number of ranks that the launcher started, or 1 without it."""
    return _count_in("PADDLE_TRAINERS_NUM")


def rank_of_process(size: int) -> int:
    """Returns the rank of this process among ``size``.

    Raises ConfigError if only some of the launcher's variables are set.
    """
    missing = [name for name in LAUNCHER_VARIABLES if not os.environ.get(name)]
    rank = os.environ.get("PADDLE_TRAINER_ID", "")
    if missing or not rank.isdecimal() or int(rank) >= size:
        why = f"{', '.join(missing)} not" if missing else f"PADDLE_TRAINER_ID is {rank}"
        raise ConfigError(
            f"PADDLE_TRAINERS_NUM={size} is set, as the launcher does for {size} processes, but "
            f"{why}. If it is left over from another run, unset it; several processes are started "
            "by python -m paddle.distributed.launch"
        )
    return int(rank)


def _count_in(variable: str) -> int:
    text = os.environ.get(variable) or "1"
    if not text.isdecimal() or int(text) < 1:
        raise ConfigError(f"{variable}={text} is not a number of processes: unset the variable")
    return int(text)


def seed_everything(*parts: int) -> None:
    """Seeds Paddle's generator from ``parts`` (seed, step, micro-batch, rank, ...).

    Dropout is seeded at every step, so repeated and resumed runs are equal without saving the
    generator's state. Costs about 10 microseconds.
    """
    paddle.seed(int(np.random.SeedSequence([p & 0xFFFFFFFF for p in parts]).generate_state(1)[0]))


def memory_used() -> int:
    """Returns the peak memory in bytes, of the GPU where one is used, else of the process."""
    if paddle.device.is_compiled_with_cuda() and paddle.device.get_device().startswith("gpu"):
        return int(paddle.device.cuda.max_memory_allocated())  # gpu-only
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def synchronize_clock() -> float:
    """Waits for the device and returns the seconds of a monotonic clock."""
    if paddle.device.get_device().startswith("gpu"):
        paddle.device.synchronize()  # gpu-only
    return time.perf_counter()
