"""Processors, memory, disks, LMDB and video."""

from __future__ import annotations

import multiprocessing
import os
import re
import resource
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from paddlevideo.doctor.finding import NOTE, OK, PROBLEM, Finding

GIGABYTE = 1 << 30
#: A full-size step of 8 clips on a CPU (docs/performance.md), and the same amount for the rest.
ENOUGH_MEMORY = 8 * GIGABYTE
#: Three checkpoints of the full-size model: weights and two moments of 206 million numbers each.
ENOUGH_DISK = 3 * 3 * 206_000_000 * 4
#: Of /dev/shm, which NCCL uses between GPUs of a machine. Docker gives 64 MB by default.
ENOUGH_SHARED = 1 * GIGABYTE
#: A feature store keeps 256 shards open.
ENOUGH_FILES = 1024
NETWORK = ("nfs", "nfs4", "cifs", "smb3", "9p", "afs", "ceph", "lustre", "gpfs")
CODECS = {"mp4v": ".mp4", "MJPG": ".avi"}


def processors() -> Iterator[Finding]:
    """Checks how many cores this process may use."""
    cores = len(os.sched_getaffinity(0))
    limit = cgroup_processors()
    message = f"{cores} of {os.cpu_count()}; num_threads: 0 divides them by the processes"
    if limit is not None and limit < cores:
        advice = f"-o num_threads={max(1, int(limit))}"
        yield Finding(NOTE, "CPU cores", f"{cores}, but the container may use {limit:g}", advice)
    else:
        yield Finding(OK, "CPU cores", message)


def cgroup_processors(file: Path = Path("/sys/fs/cgroup/cpu.max")) -> float | None:
    """Returns the number of cores that a container may use; None without a limit."""
    try:
        quota, period = file.read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        return None


def memory() -> Iterator[Finding]:
    """Checks how much memory is left on the machine or within the container's limit."""
    pages, size = os.sysconf("SC_AVPHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    free = available_memory() or pages * size
    limit = cgroup_memory()
    message = f"{free / GIGABYTE:.1f} GB available"
    if limit is not None and limit < free:
        free, message = limit, f"the container's limit is {limit / GIGABYTE:.1f} GB"
    if free < ENOUGH_MEMORY:
        advice = "-o DATASET.batch_size=2, or a smaller model, on a CPU"
        message += f"; the full-size model needs {ENOUGH_MEMORY / GIGABYTE:.0f}"
        yield Finding(NOTE, "memory", message, advice)
    else:
        yield Finding(OK, "memory", message)


def available_memory(file: Path = Path("/proc/meminfo")) -> int | None:
    """Returns the bytes available without swapping, as the system estimates them."""
    try:
        lines = dict(line.split(":", 1) for line in file.read_text().splitlines())
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None


def cgroup_memory(file: Path = Path("/sys/fs/cgroup/memory.max")) -> int | None:
    """Returns a container's limit in bytes; None without one."""
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None


def shared_memory(folder: Path = Path("/dev/shm")) -> Iterator[Finding]:
    """Checks the size of the memory that processes share."""
    multiprocessing.get_context("fork").Lock()  # data workers need it; raises if it fails
    total = shutil.disk_usage(folder).total
    message = f"{total / GIGABYTE:.2f} GB in {folder}"
    if total < ENOUGH_SHARED:
        advice = "docker run --shm-size=8g, if you train on several GPUs"
        yield Finding(NOTE, "shared memory", f"{message}: little for NCCL", advice)
    else:
        yield Finding(OK, "shared memory", message)


def disk() -> Iterator[Finding]:
    """Checks that the output folders can be written, and their free space."""
    yield disk_space("disk, this folder", Path())
    yield disk_space("disk, temporary", Path(tempfile.gettempdir()))


def disk_space(subject: str, folder: Path) -> Finding:
    """Returns the free space of a folder, or that it cannot be written."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder) as file:
            file.write(bytes(4096))
            file.flush()
    except OSError as error:
        message = f"{folder.resolve()} cannot be written: {error.strerror}"
        return Finding(PROBLEM, subject, message, "-o output_dir=FOLDER, and TMPDIR=FOLDER")
    free = shutil.disk_usage(folder).free
    message = f"{free / GIGABYTE:.1f} GB free in {folder.resolve()}"
    if free < ENOUGH_DISK:
        wanted = f"; three checkpoints of the full-size model take {ENOUGH_DISK / GIGABYTE:.0f}"
        return Finding(NOTE, subject, message + wanted, "-o keep=1, or -o output_dir=FOLDER")
    return Finding(OK, subject, message)


def open_files() -> Iterator[Finding]:
    """Checks how many files a process may have open."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= limit < ENOUGH_FILES:
        yield Finding(NOTE, "open files", f"{limit} a process", f"ulimit -n {4 * ENOUGH_FILES}")
    else:
        yield Finding(OK, "open files", f"{limit} a process")


def feature_files() -> Iterator[Finding]:
    """Checks that LMDB reads back what it wrote, and that the disk is a local one."""
    import lmdb

    with tempfile.TemporaryDirectory() as folder, lmdb.open(folder, map_size=1 << 20) as file:
        with file.begin(write=True) as transaction:
            transaction.put(b"key", b"value")
        with file.begin() as transaction:
            is_equal = transaction.get(b"key") == b"value"
    if not is_equal:
        yield Finding(PROBLEM, "LMDB", "does not read back what was written")
    mount = mount_of(Path())
    kind = mount.kind
    if mount.is_remote:
        advice = "copy feature stores to a local disk"
        yield Finding(NOTE, "LMDB", f"this folder is on {kind}, slow to read at random", advice)
    else:
        yield Finding(OK, "LMDB", f"writes and reads; this folder is on {kind}")


class Mount(NamedTuple):
    """What a folder is on: the kind of file system, and where it is mounted."""

    kind: str
    point: str
    is_read_only: bool

    @property
    def is_remote(self) -> bool:
        """Whether each read may go through a network or another process."""
        return self.kind in NETWORK or self.kind.split(".")[0] == "fuse"


def mount_of(folder: Path, mounts: Path = Path("/proc/mounts")) -> Mount:
    """Returns the mount that a folder is on."""
    found = Mount("an unknown file system", "", False)
    resolved = str(folder.resolve())
    for line in mounts.read_text("utf-8", "surrogateescape").splitlines():
        _, point, kind, options, *_ = line.split(" ")
        point = re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), point)  # \040: a space
        is_inside = resolved == point or resolved.startswith(point.rstrip("/") + "/")
        if is_inside and len(point) >= len(found.point):
            found = Mount(kind, point, "ro" in options.split(","))
    return found


def store(path: Path) -> Finding:
    """Returns what a feature store is mounted on, and whether its files suit that."""
    subject = f"store {path}"
    if not path.exists():
        return Finding(PROBLEM, subject, f"there is nothing at {path.resolve()}", "mount its disk")
    mount = mount_of(path)
    says = f"on {mount.kind}, mounted at {mount.point}" + ", read-only" * mount.is_read_only
    if mount.is_remote and not any(path.glob("*.tar")):
        says += ": LMDB is slow to read at random there, and a failed read ends the process"
        advice = f"paddlevideo convert {path} --to webdataset --output TARS, or a local disk"
        return Finding(NOTE, subject, says, advice)
    return Finding(OK, subject, says)


def video() -> Iterator[Finding]:
    """Checks that OpenCV writes and reads clips of the usual kinds."""
    try:
        import cv2
    except ImportError:
        return  # reported among the packages
    unread = [name for name in CODECS if not can_read(name)]
    if unread:
        message = f"OpenCV {cv2.__version__} cannot write and read back {' and '.join(unread)}"
        advice = "pip install --force-reinstall opencv-python-headless"
        yield Finding(NOTE, "video", message, advice)
    else:
        yield Finding(OK, "video", f"OpenCV {cv2.__version__} writes and reads {', '.join(CODECS)}")


def can_read(codec: str) -> bool:
    """Whether OpenCV reads back four frames that it wrote."""
    import cv2
    import numpy as np

    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "clip" + CODECS[codec]))
        writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*codec), 8, (64, 48))
        for shade in range(0, 200, 50):
            writer.write(np.full((48, 64, 3), shade, np.uint8))
        writer.release()
        reader = cv2.VideoCapture(path)
        count = 0
        while reader.read()[0]:
            count += 1
        reader.release()
    return count == 4
