"""Training and testing: the only packages that see configuration, runtime and parts."""

from paddlevideo.tasks.dry_run import dry_run
from paddlevideo.tasks.test import test
from paddlevideo.tasks.train import train

__all__ = ["dry_run", "test", "train"]
