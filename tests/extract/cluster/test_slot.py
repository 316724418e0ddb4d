"""What each machine of a cluster is asked, and what is refused before there is a cluster."""

from __future__ import annotations

import importlib.util
import os
import socket
from dataclasses import replace

import pytest

from paddlevideo.extract import decode, extractor, worker
from paddlevideo.extract.cluster import workers
from paddlevideo.extract.cluster.messages import Event, Expected
from paddlevideo.extract.cluster.slot import Slot
from paddlevideo.extract.settings import load_settings, portable
from paddlevideo.extract.videos import read_videos
from paddlevideo.extract.work import DONE, ExtractOptions, WorkFolder
from paddlevideo.utils.errors import DataError
from tests.extract import samples


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    for name in ("a", "bad", "z"):
        samples.write_video(folder / f"{name}.mp4")
    return folder


@pytest.fixture
def options(clips, tmp_path):
    return ExtractOptions(clips, tmp_path / "c.store")


@pytest.fixture
def expected(options):
    videos = read_videos(options.videos)
    with worker.Workers(options) as pool:
        return Expected(pool.ready, [(each, pool.fingerprint(each)) for each in videos])


def slot_of(options, *overrides):
    return Slot(options, load_settings(options.config, overrides))


def test_a_machine_that_is_as_expected_gives_the_records_of_one_process(options, expected):
    slot = slot_of(options)
    assert slot.complaint(expected) == "" == slot.complaint(expected)
    video = expected.samples[0][0]
    status, records = slot.extract(video)
    assert status.status == DONE and status.fingerprint == expected.fingerprint(video)
    with worker.Workers(options) as pool:
        assert [each.status for _, each in pool.extract([video])] == [DONE]
        assert list(pool.work.records(video.id)) == records


def test_each_difference_is_named(options, expected, clips, monkeypatch):
    said = slot_of(options).complaint(replace(expected, version="0.0.1"))
    assert "has paddlevideo " in said and "this machine 0.0.1: install the same" in said
    said = slot_of(options, "regions.max_regions=3").complaint(expected)
    assert "would give other features (regions.max_regions differ)" in said
    (clips / "z.mp4").rename(clips / "y")
    try:
        said = slot_of(options).complaint(expected)
        assert f"{clips / 'z.mp4'} is missing there: every machine needs the videos" in said
        (clips / "z.mp4").write_bytes(b"another")
        assert "z.mp4 is another file there" in slot_of(options).complaint(expected)
    finally:
        (clips / "y").rename(clips / "z.mp4")
    monkeypatch.setattr(extractor.Extractor, "_run_once", lambda self: os.abort())
    assert "tried on a blank frame, crashed (SIGABRT)" in slot_of(options).complaint(expected)


def test_a_model_that_a_machine_does_not_have_is_named(options, expected, tmp_path):
    model = tmp_path / "net.pdmodel"
    model.touch()
    settings = load_settings("extract/paddledetection.yaml", [f"regions.detector.model={model}"])
    model.unlink()
    said = Slot(options, settings).complaint(expected)
    assert said.startswith("regions.detector.model: ") and f"{model} is missing" in said


def test_a_crash_of_the_decoder_is_an_answer_and_the_next_video_is_done(
    options, expected, monkeypatch
):
    real = decode.VideoFile._open

    def opening(self, *arguments):
        if self.path.stem == "bad":
            os.abort()
        return real(self, *arguments)

    monkeypatch.setattr(decode.VideoFile, "_open", opening)
    slot = slot_of(options)
    answers = [slot.extract(video) for video, _ in expected.samples]
    assert str(answers[1]) == "crashed (SIGABRT)"
    assert [answers[n][0].status for n in (0, 2)] == [DONE, DONE]


def test_settings_go_to_machines_without_the_files_of_this_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    words = ["regions.detector.model=d.onnx", "regions.detector.classes=names.txt"]
    words += ["regions.vectors.model=c.onnx", "actions.vectors.classes=null"]
    for name in ("d.onnx", "c.onnx"):
        (tmp_path / name).touch()
    settings = load_settings("extract/onnx.yaml", [*words, "actions.vectors.model=d.onnx"])
    sent = portable(settings)
    assert sent.regions.detector.model == str(tmp_path / "d.onnx")
    assert sent.regions.detector.classes == ["cat", "dog"]
    assert sent.actions.vectors.model == str(tmp_path / "d.onnx")
    assert sent.actions.vectors.classes is None
    no_names = ["regions.vectors.classes=null", "actions.vectors.classes=null"]
    imagenet = load_settings("extract/imagenet.yaml", no_names)
    assert portable(imagenet).actions.vectors.model == imagenet.actions.vectors.model


def test_a_full_disk_ends_the_run_and_the_cluster(options, expected, monkeypatch, capfd):
    ended = []

    def events(task):
        """What a cluster answers, by a slot of this process."""
        slot = Slot(task.options, task.settings)
        try:
            for index, video in enumerate(task.videos):
                yield Event([], index, slot.extract(video))
        finally:
            ended.append(task)

    def full(self, status, records):
        raise DataError("No space left on device. Make room")

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(workers, "_events", events)
    run = samples.Command(capfd, options.output)
    with monkeypatch.context() as patch:
        patch.setattr(WorkFolder, "save", full)
        code, _, err = run(options.videos, "--ray", "local")
    assert (code, err) == (1, "error: No space left on device. Make room\n") and len(ended) == 1
    code, out, _ = run(options.videos, "--ray", "local")
    assert code == 0 and "3 done, 0 failed" in out and len(ended) == 2


# ---------------------------------------------------------------------------- refused at once


@pytest.fixture
def run(capfd, tmp_path):
    return samples.Command(capfd, tmp_path / "c.store")


def test_a_part_of_a_list_is_no_matter_of_ray(clips, run, monkeypatch):
    code, _, err = run(clips, "--ray", "local", "--part", "1/2")
    assert code == 2 and "--ray shares out all videos by itself" in err
    monkeypatch.setenv("PADDLE_TRAINER_ID", "1")
    monkeypatch.setenv("PADDLE_TRAINERS_NUM", "2")
    code, _, err = run(clips, "--ray", "local")
    assert code == 2 and "without --part or a launcher" in err


def test_without_ray_there_is_a_line_to_install_it(clips, run, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    code, _, err = run(clips, "--ray", "local")
    assert code == 1 and err == "error: the package ray is not installed: pip install ray\n"


def test_an_address_that_is_none_or_does_not_answer(clips, run, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    for address in ("head", "ray://head"):  # Ray would wait for the second
        code, _, err = run(clips, "--ray", address)
        assert code == 2 and f'local, auto, HOST:PORT or ray://HOST:PORT, not "{address}"' in err
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    for address in (f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}", "127.0.0.1:99999"):
        code, _, err = run(clips, "--ray", address)
        assert code == 2 and f"--ray {address}: nothing answers there" in err
