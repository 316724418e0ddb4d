"""Training and testing: the loops that combine configuration, runtime and registered parts."""

from paddlevideo.tasks.dry_run import dry_run
from paddlevideo.tasks.test import test
from paddlevideo.tasks.train import train

__all__ = ["dry_run", "test", "train"]
