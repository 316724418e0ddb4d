"""paddlevideo doctor: each thing that may be wrong with a machine is named, with what to type."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from paddlevideo.cli import doctor

machine, packages, training = doctor.machine, doctor.packages, doctor.training
NOTE, OK, PROBLEM = doctor.machine.NOTE, doctor.machine.OK, doctor.PROBLEM


def one(findings):
    (finding,) = findings
    return finding


# ------------------------------------------------------------------------- the command


def test_this_machine_is_looked_at_and_trains(tmp_path, capsys):
    report = tmp_path / "doctor.json"
    assert doctor.main(["--json", str(report)]) == 0
    out = capsys.readouterr().out
    assert "This machine can train." in out
    findings = {each["subject"]: each for each in json.loads(report.read_text())}
    assert {"Python", "packages", "device", "memory", "LMDB", "video", "training"} <= set(findings)
    assert "steps/s of a small model" in findings["training"]["says"]
    assert all(each["status"] in {OK, NOTE} for each in findings.values())


@pytest.mark.slow
def test_two_processes_train():
    finding = one(training.two_processes())
    assert finding.status == OK, finding


def test_a_problem_ends_with_1_and_its_remedy_is_printed(monkeypatch, capsys):
    def broken():
        raise OSError(28, "No space left on device")
        yield

    def bad():
        yield doctor.Finding(PROBLEM, "lmdb", "is not installed", 'pip install "lmdb>=1"')

    monkeypatch.setattr(doctor, "CHECKS", (broken, bad, packages.python))
    assert doctor.main(["--no_training"]) == 1
    out = capsys.readouterr().out
    assert "problem  broken: OSError: [Errno 28] No space left on device" in out
    assert '-> pip install "lmdb>=1"' in out
    assert "ok       Python" in out and "2 problem(s)" in out, "the others go on"


def test_a_report_that_cannot_be_written_is_one_line(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(doctor, "CHECKS", (packages.python,))
    assert doctor.main(["--no_training", "--json", str(tmp_path / "absent" / "a.json")]) != 0
    assert "a.json" in capsys.readouterr().err


# ------------------------------------------------------------------------- packages


def test_bounds_are_those_of_the_requirements():
    bounds = packages.lower_bounds()
    assert {"paddlepaddle", "lmdb", "numpy", "PyYAML", "opencv-python-headless"} <= set(bounds)


def test_bounds_of_an_installed_package_are_those_that_pip_knows(monkeypatch):
    from email.message import Message

    clone, python = packages.lower_bounds(), one(packages.python())
    installed = Message()
    installed["Requires-Python"] = "<3.14,>=3.10"
    for name, oldest in clone.items():
        extra = {"paddlepaddle": '; extra == "cpu"', "opencv-python-headless": "; extra == 'video'"}
        installed["Requires-Dist"] = f"{name}>={oldest}{extra.get(name, '')}"
    installed["Requires-Dist"] = 'pytest>=8; extra == "test"'
    installed["Requires-Dist"] = 'paddlenlp==2.8.1; extra == "paddlenlp"'
    monkeypatch.setattr(packages, "is_clone", lambda: False)
    monkeypatch.setattr(packages, "metadata", lambda name: installed)
    assert packages.lower_bounds() == clone and one(packages.python()) == python
    installed.replace_header("Requires-Python", "<3.10,>=3.9")
    assert one(packages.python()).status == PROBLEM


@pytest.mark.parametrize(
    ("name", "oldest", "status", "says"),
    [
        ("surely-not-there", "1.0", PROBLEM, "is not installed"),
        ("numpy", "999.0", PROBLEM, "the oldest that works is 999.0"),
        ("lmdb", "0.1", None, ""),
    ],
)
def test_packages(name, oldest, status, says):
    finding = packages.package(name, oldest)
    if status is None:
        assert finding is None
    else:
        assert (finding.status, finding.subject) == (status, name) and says in finding.says
        assert finding.advice == f'pip install "{name}>={oldest}"'


def test_a_package_that_cannot_be_imported(monkeypatch):
    monkeypatch.setitem(sys.modules, "lmdb", None)
    finding = packages.package("lmdb", "1.0")
    assert finding.status == PROBLEM and "cannot be imported" in finding.says
    assert "--force-reinstall" in finding.advice


def test_opencv_is_a_matter_of_choice_and_may_come_under_another_name(monkeypatch):
    versions = {}

    def version(name):
        if name not in versions:
            raise packages.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(packages, "version", version)
    assert packages.package("opencv-python-headless", "4.0").status == NOTE
    versions["opencv-python"] = "4.9.0"
    assert packages.package("opencv-python-headless", "4.0") is None
    versions["opencv-python"] = "3.4.0"
    assert packages.package("opencv-python-headless", "4.0").status == PROBLEM


def test_a_python_that_is_too_old_or_too_new(monkeypatch):
    for found, status in {"3.8.1": PROBLEM, "3.11.2": OK, "4.0.0": PROBLEM}.items():
        monkeypatch.setattr(packages.platform, "python_version", lambda found=found: found)
        assert one(packages.python()).status == status


def test_a_gpu_that_this_paddle_cannot_use(tmp_path, monkeypatch):
    import paddle

    if paddle.is_compiled_with_cuda():
        pytest.skip("this Paddle is built for GPUs")
    driver = tmp_path / "nvidia-smi"
    driver.write_text('#!/bin/sh\necho "GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-1)"\n')
    driver.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    # A driver without a shell in PATH: the script names its own.
    finding = one(packages.device())
    assert finding.status == PROBLEM and "NVIDIA A100-SXM4-40GB" in finding.says
    assert "paddlepaddle-gpu" in finding.advice
    driver.write_text("#!/bin/sh\necho NVIDIA-SMI has failed\nexit 9\n")
    assert one(packages.device()).status == OK


@pytest.mark.parametrize(
    ("archs", "card", "lacks"),
    [
        ([61, 70, 75, 80, 86], (9, 0), "9.0 (sm_90): this Paddle has code for 61, 70, 75, 80, 86"),
        ([61, 70, 75, 80, 86, 90], (9, 0), ""),
        (["80", "86"], (8, 9), ""),  # code for 8.6 runs on 8.9
        ([86], (8, 0), "sm_80"),
        ([80, 90], (12, 0), "sm_120"),
        (None, (8, 6), ""),  # Paddle 2.6 does not say what it has
        (None, (8, 9), ""),
        (None, (9, 0), "sm_90"),
    ],
)
def test_a_gpu_for_which_the_wheel_has_no_code(monkeypatch, archs, card, lacks):
    import paddle

    gpu = paddle.device.cuda
    monkeypatch.setattr(gpu, "device_count", lambda: 1)
    monkeypatch.setattr(gpu, "get_device_name", lambda index: "A card")
    monkeypatch.setattr(gpu, "get_device_capability", lambda index: card)
    if archs is None:
        monkeypatch.delattr(paddle.version, "cuda_archs", raising=False)
    else:
        monkeypatch.setattr(paddle.version, "cuda_archs", lambda: archs, raising=False)
    findings = list(packages.gpu_devices(["A card"]))
    problems = [finding for finding in findings if finding.status == PROBLEM]
    if lacks:
        (problem,) = problems
        assert lacks in problem.says and "A card" in problem.says
        wheel = "cu129" if card >= (10, 0) else "cu126"
        assert f"packages/stable/{wheel}/" in problem.advice
    else:
        assert not problems


def test_the_table_of_cards_names_the_same_wheels():
    page = (Path(__file__).parents[2] / "docs" / "install.md").read_text("utf-8")
    rows = re.findall(r"^\| .+ \| ([\d., ]+) \| `(cu\d+)` \|", page, re.MULTILINE)
    assert len(rows) > 3
    for capabilities, folder in rows:
        for capability in capabilities.split(", "):
            major, minor = map(int, capability.split("."))
            assert packages.wheels_for((major, minor)).endswith(f"/{folder}/")


# ------------------------------------------------------------------------- the machine


def test_limits_of_a_container(tmp_path, monkeypatch):
    limits = tmp_path / "cpu.max"
    for text, expected in {"150000 100000\n": 1.5, "max 100000\n": None, "": None}.items():
        limits.write_text(text)
        assert machine.cgroup_processors(limits) == expected
    assert machine.cgroup_processors(tmp_path / "absent") is None
    memory = tmp_path / "memory.max"
    for text, expected in {"2147483648\n": 2 << 30, "max\n": None}.items():
        memory.write_text(text)
        assert machine.cgroup_memory(memory) == expected
    monkeypatch.setattr(machine, "cgroup_processors", lambda: 0.5)
    assert one(machine.processors()).advice == "-o num_threads=1"
    monkeypatch.setattr(machine, "cgroup_memory", lambda: 2 << 30)
    finding = one(machine.memory())
    assert finding.status == NOTE and "the container's limit is 2.0 GB" in finding.says


def test_memory_that_is_available(tmp_path, monkeypatch):
    file = tmp_path / "meminfo"
    file.write_text("MemTotal: 100 kB\nMemAvailable:    2048 kB\n")
    assert machine.available_memory(file) == 2 << 20
    file.write_text("MemTotal: 100 kB\n")
    assert machine.available_memory(file) is None
    monkeypatch.setattr(machine, "cgroup_memory", lambda: None)
    monkeypatch.setattr(machine, "available_memory", lambda: 64 << 30)
    assert one(machine.memory()).status == OK


def test_little_shared_memory(monkeypatch):
    small = SimpleNamespace(total=64 << 20, free=64 << 20)
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda folder: small)
    finding = one(machine.shared_memory())
    assert finding.status == NOTE and "--shm-size" in finding.advice


def test_folders_that_are_full_or_closed(tmp_path, monkeypatch):
    closed = machine.disk_space("disk", tmp_path / "absent")
    assert closed.status == PROBLEM and "cannot be written" in closed.says
    assert "output_dir" in closed.advice
    small = SimpleNamespace(total=1 << 30, free=1 << 20)
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda folder: small)
    full = machine.disk_space("disk", tmp_path)
    assert full.status == NOTE and "keep=1" in full.advice


def test_few_open_files(monkeypatch):
    for limit, status in {256: NOTE, 4096: OK, -1: OK}.items():
        monkeypatch.setattr(machine.resource, "getrlimit", lambda kind, limit=limit: (limit, limit))
        assert one(machine.open_files()).status == status


def test_kinds_of_file_systems(tmp_path, monkeypatch):
    mounts = tmp_path / "mounts"
    mounts.write_text(
        f"/dev/vda / ext4 rw 0 0\nserver:/x {tmp_path} nfs4 ro,relatime 0 0\n"
        f"none {tmp_path}2 tmpfs rw,errors=remount-ro 0 0\ns3 {tmp_path}/a\\040b fuse.s3fs rw 0 0\n"
    )
    assert machine.mount_of(tmp_path / "a", mounts) == ("nfs4", str(tmp_path), True)
    assert machine.mount_of(Path("/"), mounts) == ("ext4", "/", False)
    assert machine.mount_of(Path(f"{tmp_path}2/b"), mounts) == ("tmpfs", f"{tmp_path}2", False)
    spaced = machine.mount_of(tmp_path / "a b" / "c", mounts)
    assert spaced == ("fuse.s3fs", f"{tmp_path}/a b", False) and spaced.is_remote
    monkeypatch.setattr(machine, "mount_of", lambda folder: machine.Mount("nfs4", "/x", False))
    finding = one(machine.feature_files())
    assert finding.status == NOTE and "local disk" in finding.advice


@pytest.mark.parametrize(
    ("mount", "files", "status", "says"),
    [
        (("ext4", "/", False), "shard-00000.lmdb", OK, "on ext4, mounted at /"),
        (("ext4", "/x", True), "shard-00000.lmdb", OK, "on ext4, mounted at /x, read-only"),
        (("nfs4", "/x", True), "shard-00000.lmdb", NOTE, "on nfs4, mounted at /x, read-only: LMDB"),
        (("fuse.s3fs", "/x", False), "data.mdb", NOTE, "on fuse.s3fs, mounted at /x: LMDB"),
        (("fuse.s3fs", "/x", False), "shard-00000.tar", OK, "on fuse.s3fs, mounted at /x"),
    ],
)
def test_where_a_store_is(tmp_path, monkeypatch, mount, files, status, says):
    monkeypatch.setattr(machine, "mount_of", lambda folder: machine.Mount(*mount))
    (tmp_path / files).touch()
    finding = machine.store(tmp_path)
    assert (finding.status, finding.subject) == (status, f"store {tmp_path}")
    assert finding.says.startswith(says)
    assert ("--to webdataset" in finding.advice) == (status == NOTE)
    assert not finding.says.endswith(":")


def test_stores_on_the_command_line(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(doctor, "CHECKS", (packages.python,))
    words = ["--no_training", str(tmp_path), str(tmp_path / "absent")]
    assert doctor.main(words) == 1
    out = capsys.readouterr().out
    assert f"ok       store {tmp_path}: on " in out
    assert f"problem  store {tmp_path / 'absent'}: there is nothing" in out


def test_codecs_that_are_missing(monkeypatch):
    monkeypatch.setattr(machine, "can_read", lambda codec: codec != "mp4v")
    finding = one(machine.video())
    assert finding.status == NOTE and "mp4v" in finding.says and "MJPG" not in finding.says


# ------------------------------------------------------------------------- the training


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("import sys; print('Error: no GPU'); print('bye'); sys.exit(3)", "exit code 3: Error: no"),
        ("import os; os.abort()", "exit code -6"),
    ],
)
def test_a_training_that_fails(script, says):
    finding = training.train("training", [sys.executable, "-c", script])
    assert finding.status == PROBLEM and says in finding.says and finding.advice


def test_a_training_that_hangs(monkeypatch):
    monkeypatch.setattr(training, "SECONDS", 0.5)
    script = "import time; time.sleep(60)"
    finding = training.train("training", [sys.executable, "-c", script])
    assert finding.status == PROBLEM and "took over" in finding.says


def test_losses_that_are_not_finite(tmp_path):
    records = tmp_path / "train.jsonl"
    lines = [{"loss": 1.0, "batch_cost": 0.1}, {"loss": float("nan"), "batch_cost": 0.1}]
    records.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert training.success("training", records, "").status == PROBLEM
