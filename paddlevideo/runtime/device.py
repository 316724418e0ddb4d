"""The device, its threads, memory and clock, and seeds."""

from __future__ import annotations

import os
import time

import numpy as np
import paddle
import paddle.distributed as dist

from paddlevideo.utils.cpu import tune_cpu
from paddlevideo.utils.errors import ConfigError

#: What the launcher sets beside the number of processes, and Paddle asks for.
LAUNCHER_VARIABLES = ("PADDLE_TRAINER_ID", "PADDLE_CURRENT_ENDPOINT", "PADDLE_TRAINER_ENDPOINTS")


def select_device(asked: str = "auto") -> str:
    """Sets and returns the device: "gpu" where Paddle has one, else "cpu".

    Raises ConfigError if a GPU is asked for and there is none.
    """
    has_gpu = paddle.device.is_compiled_with_cuda() and paddle.device.cuda.device_count() > 0
    if asked.startswith("gpu") and not has_gpu:
        raise ConfigError(
            "device: a GPU is asked for, but Paddle finds none. Install paddlepaddle-gpu and check "
            "nvidia-smi, or use device=cpu"
        )
    chosen = ("gpu" if has_gpu else "cpu") if asked == "auto" else asked
    if chosen == "gpu" and world_size() > 1:
        chosen = f"gpu:{dist.ParallelEnv().dev_id}"  # gpu-only
    paddle.set_device(chosen)
    return chosen


def use_threads(count: int = 0) -> int:
    """Lets Paddle's CPU kernels use ``count`` threads; 0: all cores, shared by local ranks.

    Paddle starts with one. Returns the number set.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    tune_cpu()
    count = count or max(1, (cores or 1) // _count_in("PADDLE_LOCAL_SIZE"))
    paddle.base.core.set_num_threads(count)
    return count


def world_size() -> int:
    """How many ranks the launcher started; 1 without a launcher. Raises ConfigError."""
    return _count_in("PADDLE_TRAINERS_NUM")


def own_rank(size: int) -> int:
    """Which of ``size`` ranks this process is.

    Raises ConfigError where only some of the launcher's variables are there.
    """
    absent = [name for name in LAUNCHER_VARIABLES if not os.environ.get(name)]
    rank = os.environ.get("PADDLE_TRAINER_ID", "")
    if absent or not rank.isdecimal() or int(rank) >= size:
        why = f"{', '.join(absent)} not" if absent else f"PADDLE_TRAINER_ID is {rank}"
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

    Dropout is seeded so at every step, which makes repeated and resumed runs equal without
    saving any generator's state. Costs about 10 microseconds.
    """
    paddle.seed(int(np.random.SeedSequence([p & 0xFFFFFFFF for p in parts]).generate_state(1)[0]))


def memory_used() -> int:
    """Peak memory in bytes: the GPU's where there is one, else the process's."""
    if paddle.device.is_compiled_with_cuda() and paddle.device.get_device().startswith("gpu"):
        return int(paddle.device.cuda.max_memory_allocated())  # gpu-only
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def synchronize_clock() -> float:
    """Seconds of a monotonic clock, after the device has finished its work."""
    if paddle.device.get_device().startswith("gpu"):
        paddle.device.synchronize()  # gpu-only
    return time.perf_counter()
