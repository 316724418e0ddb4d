"""Training and testing: the only floor where configuration, runtime and parts meet."""

from paddlevideo.tasks.dry_run import dry_run
from paddlevideo.tasks.test import test
from paddlevideo.tasks.train import train

__all__ = ["dry_run", "test", "train"]
