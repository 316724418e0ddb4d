"""Training and testing: the only floor where configuration, runtime and parts meet."""

from paddlevideo.tasks.test import test
from paddlevideo.tasks.train import train

__all__ = ["test", "train"]
