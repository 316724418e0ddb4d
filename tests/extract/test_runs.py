"""Running extraction again, in parts, killed in the middle, and with networks of the test's own."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from paddlevideo.extract import draw
from paddlevideo.extract.work import WorkFolder
from paddlevideo.loader.store import FeatureStore, Sizes, StoreWriter
from paddlevideo.prepare import faults_of
from paddlevideo.utils.errors import DataError
from tests.extract import samples

TOOL = str(Path(__file__).parents[2] / "tools" / "extract_features.py")


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return samples.write_clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture
def run(capfd, tmp_path):
    return samples.Command(capfd, tmp_path / "c.store")


def ids(store):
    return [store[number].id for number in range(len(store))]


# --------------------------------------------------------------------------------- again


def test_again_there_is_nothing_to_do_but_to_check(clips, tmp_path, run):
    assert run(clips)[0] == 0
    before = (tmp_path / "c.store" / "store.json").stat().st_mtime_ns
    code, out, _ = run(clips)
    assert code == 0 and "3 done, 3 of them by a run before, checked" in out
    assert "nothing to do: 3 clips are in it" in out and "frames/s" not in out
    assert (tmp_path / "c.store" / "store.json").stat().st_mtime_ns == before


@pytest.mark.parametrize("damage", ["flipped", "cut", "status"])
def test_a_damaged_work_file_is_done_anew(clips, tmp_path, run, damage):
    assert run(clips)[0] == 0
    work = WorkFolder(tmp_path / "c.store.work")
    path = work.path_of("sub/up.avi", ".json" if damage == "status" else ".clips")
    data = path.read_bytes()
    half = len(data) // 2
    path.write_bytes(
        data[:half]
        if damage != "flipped"
        else data[:half] + bytes([data[half] ^ 1]) + data[half + 1 :]
    )
    code, out, _ = run(clips)
    assert code == 0 and "3 done, 2 of them by a run before" in out and "1 videos of" in out
    assert damage == "status" or path.read_bytes() == data


def test_other_settings_or_another_list_need_another_store(clips, tmp_path, run):
    assert run(clips)[0] == 0
    code, _, err = run(clips, "-o", "regions.max_regions=5")
    assert code == 1 and "(extraction differ)" in err and "--work" in err and "--overwrite" in err
    code, _, err = run(clips / "right.mp4")
    assert code == 1 and "(list, videos differ)" in err
    code, _, err = run(clips, "--dtype", "float32")
    assert code == 1 and "(dtype differ)" in err
    words = ("-o", "regions.max_regions=5", "--dtype", "float32", "--threads", "1")
    code, out, _ = run(clips, *words, output=tmp_path / "d.store")
    assert code == 0 and "3 done, 0 failed" in out
    store = FeatureStore(tmp_path / "d.store")
    assert max(len(store[n].regions) for n in range(3)) == 5 and store.manifest.dtype == "float32"


def write_captions(path, **captions):
    lines = [f"{clip},{text}\n" for clip, text in captions.items()]
    path.write_text("".join(["clip,caption\n", *lines]))
    return path


def test_with_overwrite_a_store_of_other_captions_or_videos_is_replaced(clips, tmp_path, run):
    captions = write_captions(tmp_path / "c.csv", right="it moves")
    assert run(clips / "right.mp4", "--captions", captions)[0] == 0
    before = FeatureStore(tmp_path / "c.store")
    write_captions(captions, right="it goes right", z="nothing moves")
    words = (clips, "--captions", captions, "--overwrite")
    code, out, _ = run(*words)
    assert code == 0 and "3 clips, 2 captions" in out
    store = FeatureStore(tmp_path / "c.store")
    assert ids(store) == ["right", "sub/up", "z"] and store[0].captions == ["it goes right"]
    with pytest.raises(DataError, match="was replaced"):  # who has opened the old one is told
        before[0]
    written = (tmp_path / "c.store" / "store.json").stat().st_mtime_ns
    code, out, _ = run(*words)
    assert code == 0 and "3 of them by a run before" in out and "nothing to do" in out
    assert (tmp_path / "c.store" / "store.json").stat().st_mtime_ns == written


def test_overwrite_goes_on_with_what_it_was_writing_and_begins_other_stores_anew(
    clips, tmp_path, run, monkeypatch
):
    """Interrupted while it writes: what is there then is no store, and is never mixed."""
    captions = write_captions(tmp_path / "c.csv", right="one")
    words = (clips, "--captions", captions, "--overwrite")
    assert run(*words)[0] == 0
    for text in ("two", "three"):
        write_captions(captions, right=text)
        with monkeypatch.context() as patch:
            patch.setattr(StoreWriter, "finish", lambda writer: os.kill(os.getpid(), signal.SIGINT))
            assert run(*words)[0] != 0
        assert (tmp_path / "c.store" / "unfinished.json").exists()
        assert not (tmp_path / "c.store" / "store.json").exists()
    assert run(*words)[0] == 0
    store = FeatureStore(tmp_path / "c.store")
    assert store[0].captions == ["three"] and ids(store) == ["right", "sub/up", "z"]
    assert not [fault for fault in faults_of(store) if fault.kind != "no caption"]


def test_captions_that_may_mean_two_videos_are_refused_before_any_is_read(clips, tmp_path, run):
    for name in ("a.mp4", "a.avi"):
        (tmp_path / "videos").mkdir(exist_ok=True)
        shutil.copy(clips / "right.mp4", tmp_path / "videos" / name)
    captions = write_captions(tmp_path / "c.csv", **{"a.mp4": "it moves", "a": "which?"})
    code, out, err = run(tmp_path / "videos", "--captions", captions)
    assert code == 1 and not out and not (tmp_path / "c.store.work").exists()
    assert f'{captions}: line 3: "a" may mean "a.avi" or "a.mp4"' in err
    write_captions(captions, **{"a.mp4": "it moves", "a.avi": "it moves too"})
    assert run(tmp_path / "videos", "--captions", captions)[0] == 0


def test_overwrite_replaces_no_store_that_was_not_extracted(clips, tmp_path, run):
    with StoreWriter(tmp_path / "c.store", Sizes(1, 1, 1, 1)) as writer:
        writer.finish()
    code, _, err = run(clips, "--overwrite")
    assert code == 1 and "command" in err and err.endswith("Name another --output\n")
    assert FeatureStore(tmp_path / "c.store").manifest.clips == 0


def test_killed_in_the_middle_it_goes_on(clips, tmp_path, run):
    folder = tmp_path / "v"
    folder.mkdir()
    for number in range(24):
        (folder / f"{number:02d}.mp4").write_bytes((clips / "right.mp4").read_bytes())
    words = [sys.executable, TOOL, str(folder), "--output", str(tmp_path / "c.store")]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    work = tmp_path / "c.store.work"
    until = time.monotonic() + 60
    while len(list(work.glob("*/*.json"))) < 3 and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = -1
    while done != len(list(work.glob("*/*.json"))):  # until its workers have noticed
        done = len(list(work.glob("*/*.json")))
        time.sleep(1.0)
    assert 3 <= done < 24 and not (tmp_path / "c.store").exists()
    code, out, _ = run(folder)
    assert code == 0 and f"24 done, {done} of them by a run before, checked" in out
    assert len(FeatureStore(tmp_path / "c.store")) == 24


def test_killed_while_writing_the_store_it_goes_on(clips, tmp_path, run, monkeypatch):
    from paddlevideo.loader.store import writer

    monkeypatch.setattr(writer, "BATCH_BYTES", 1)
    finish = writer.StoreWriter.finish
    monkeypatch.setattr(writer.StoreWriter, "finish", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(clips)
    monkeypatch.setattr(writer.StoreWriter, "finish", finish)
    code, out, _ = run(clips)
    assert code == 0 and "continued after 3 clips of an earlier run" in out
    assert len(FeatureStore(tmp_path / "c.store")) == 3


def test_ctrl_c_leaves_what_is_done(clips, tmp_path, run, monkeypatch):
    from paddlevideo.extract import job

    real = job.Job.run

    def interrupted(self, video):
        if video.id == "sub/up.avi":
            raise KeyboardInterrupt
        return real(self, video)

    with monkeypatch.context() as patch:
        patch.setattr(job.Job, "run", interrupted)
        assert run(clips, "--workers", "1")[0] == 130
    code, out, _ = run(clips)
    assert code == 0 and "3 done, 1 of them by a run before" in out


# --------------------------------------------------------------------------------- parts


def test_two_parts_share_a_list_and_the_last_writes_the_store(clips, tmp_path, run, monkeypatch):
    code, out, _ = run(clips, "--part", "1/2")
    assert code == 0 and "part 1 of 2: videos: 2 done" in out
    assert "1 videos are still with other processes" in out
    assert not (tmp_path / "c.store").exists()
    monkeypatch.setenv("PADDLE_TRAINER_ID", "1")
    monkeypatch.setenv("PADDLE_TRAINERS_NUM", "2")
    code, out, _ = run(clips)
    assert code == 0 and "part 2 of 2: videos: 1 done" in out
    assert ids(FeatureStore(tmp_path / "c.store")) == ["right", "sub/up", "z"]


def test_parts_at_the_same_time(clips, tmp_path):
    words = [sys.executable, TOOL, str(clips), "--output", str(tmp_path / "c.store"), "--part"]
    running = [
        subprocess.Popen(
            [*words, part], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for part in ("1/2", "2/2")
    ]
    said = [process.communicate(timeout=120)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    assert ids(FeatureStore(tmp_path / "c.store")) == ["right", "sub/up", "z"]


def test_a_store_that_another_process_writes_is_left_to_it(clips, tmp_path, run):
    import fcntl

    (tmp_path / "c.store").mkdir()
    lock = os.open(tmp_path / "c.store", os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        code, out, _ = run(clips)
    finally:
        os.close(lock)
    assert code == 0 and "another process is writing it" in out


def test_a_store_that_another_process_has_just_written_is_left_alone(
    clips, tmp_path, run, monkeypatch
):
    from paddlevideo.extract.output import ExtractedStore

    assert run(clips)[0] == 0
    real, calls = ExtractedStore.existing, []

    def late(store):
        calls.append(store)
        return None if len(calls) < 3 else real(store)

    monkeypatch.setattr(ExtractedStore, "existing", late)
    code, out, _ = run(clips)
    assert code == 0 and "another process has written it" in out and len(calls) == 3


def test_pictures_that_cannot_be_written_stop_nothing(clips, tmp_path, run, monkeypatch):
    full = OSError(28, "No space left on device")
    monkeypatch.setattr(draw, "write_bytes_whole", lambda *_: (_ for _ in ()).throw(full))
    code, out, err = run(clips, "--draw", tmp_path / "pictures")
    assert code == 0 and "3 done" in out and err.count("not drawn") == 3


def test_a_place_for_pictures_that_is_no_folder_is_told_first(clips, tmp_path, run):
    (tmp_path / "file").touch()
    code, _, err = run(clips, "--draw", tmp_path / "file")
    assert code == 2 and "--draw" in err and "cannot be written" in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


# ------------------------------------------------------------------------------ networks


def onnx_yaml(folder, boxes, scores, more=""):
    """A YAML file with three networks for 48 x 64 frames."""
    detector = samples.boxes_network(folder / "detector.onnx", boxes, scores)
    crops, actions = (
        samples.mean_network(folder / "crops.onnx"),
        samples.action_network(folder / "actions.onnx"),
    )
    text = f"""
_base_: extract/onnx.yaml
regions:
  whole_frame: False
  detector: {{model: {detector}, input: {{size: [48, 64], fit: stretch}}, classes: [cat, dog]}}
  vectors:
    model: {crops}
    input: {{size: [16, 16], mean: [0, 0, 0], std: [1, 1, 1]}}
    margin: 0
actions:
  frames: 4
  vectors: {{model: {actions}, input: {{size: [16, 16]}}, classes: [red, other]}}
{more}
"""
    (folder / "my.yaml").write_text(text)
    return folder / "my.yaml"


def test_everything_by_networks(clips, tmp_path, run):
    config = onnx_yaml(tmp_path, [[0, 0, 32, 48], [32, 0, 64, 48]], [[0.9, 0.0], [0.2, 0.6]])
    assert run(clips, "-c", config)[0] == 0
    store = FeatureStore(tmp_path / "c.store")
    assert store.manifest.vocabularies == {
        "region": ["cat", "dog", "none"],
        "action": ["red", "other"],
    }
    clip = store[0]
    assert len(clip.regions) == 8, "two in each of four frames"
    assert clip.regions.shape[1] == 3 and clip.actions.shape[1] == 3
    assert clip.boxes[0].tolist() == [0, 0, 64, 96]
    assert not list(fault for fault in faults_of(store) if fault.kind != "no caption")
    frames = [frame[:, :64, ::-1].mean(axis=(0, 1)) / 255 for frame in samples.moving((2, 0))]
    numbers = [int(text) for text in clip.extra["frames"].split()]
    for row, number in zip(clip.regions[:4], numbers[:4], strict=True):
        np.testing.assert_allclose(row, frames[number], atol=0.05)


def test_a_video_without_detections_keeps_its_whole_frame(clips, tmp_path, run):
    config = onnx_yaml(tmp_path, [[0, 0, 32, 48]], [[0.1, 0.2]])
    code, out, _ = run(clips, "-c", config)
    assert code == 0 and "no region found: the whole frame is used: 3: right, sub/up, z" in out
    clip = FeatureStore(tmp_path / "c.store")[0]
    assert clip.boxes.tolist() == [[0, 0, samples.WIDTH, samples.HEIGHT]]
    assert clip.region_classes.dense().tolist() == [[0, 0, 1]]


def test_vectors_of_the_detector_and_no_action_classes(clips, tmp_path, run):
    config = onnx_yaml(tmp_path, [[0, 0, 32, 48], [0, 0, 9, 9]], [[0.9, 0.0], [0.1, 0.0]])
    vectors = [[1, 2, 3, 4], [3, 4, 5, 6]]
    detector = tmp_path / "detector.onnx"
    samples.boxes_network(detector, [[0, 0, 32, 48], [0, 0, 9, 9]], [[0.9, 0], [0.1, 0]], vectors)
    words = ["regions.vectors={name: detector}", "regions.detector.outputs.vectors=vectors"]
    words += ["regions.whole_frame=True", "actions.vectors.outputs.scores=null"]
    words += ["actions.vectors.classes=null"]
    code, _, err = run(clips, "-c", config, *(each for word in words for each in ("-o", word)))
    assert (code, err) == (0, "")
    store = FeatureStore(tmp_path / "c.store")
    assert store[0].regions.tolist() == [[2, 3, 4, 5], *[[1, 2, 3, 4]] * 4]
    assert store[0].action_classes.tolist() == [-1] * 4 and store.manifest.sizes.action_classes == 0
    assert {fault.kind for fault in faults_of(store)} == {"no caption"}


def test_classes_of_the_detector_as_an_output_of_their_own(clips, tmp_path, run):
    config = onnx_yaml(tmp_path, [[0, 0, 32, 48]], [[0.9, 0.0]])
    boxes = [[0, 0, 32, 48], [32, 0, 64, 48]]
    samples.boxes_network(tmp_path / "detector.onnx", boxes, [0.9, 0.8], classes=[1, 0])
    code, _, err = run(clips, "-c", config, "-o", "regions.detector.outputs.classes=classes")
    assert (code, err) == (0, "")
    clip = FeatureStore(tmp_path / "c.store")[0]
    classes = clip.region_classes.dense()[:, :2].argmax(axis=1)
    assert classes.tolist() == [1] * 4 + [0] * 4


def test_a_network_that_gives_no_numbers_fails_its_videos(clips, tmp_path, run):
    config = onnx_yaml(tmp_path, [[0, 0, 32, 48]], [[0.9, 0.0]])
    inputs = {"image": ["n", 3, 16, 16]}
    # The logarithm of what is negative.
    nodes = [("GlobalAveragePool", ["image"], "pooled", {}), ("Log", ["minus"], "features", {})]
    nodes.insert(1, ("Sub", ["pooled", "grey"], "minus", {}))
    samples.export(tmp_path / "crops.onnx", nodes, inputs, ["features"], {"grey": [0.9]})
    code, out, _ = run(clips, "-c", config)
    assert code == 1 and "features: 3: right.mp4" in out
    assert (
        "regions hold NaN or infinity"
        in json.loads((tmp_path / "c.store.status.jsonl").read_text().splitlines()[0])["reason"]
    )


def test_a_missing_output_lists_those_that_there_are(clips, tmp_path, run):
    config = onnx_yaml(tmp_path, [[0, 0, 32, 48]], [[0.9, 0.0]])
    code, _, err = run(clips, "-c", config, "-o", "regions.detector.outputs.scores=score")
    assert code == 2 and 'has no output "score". Did you mean "scores"? It has: boxes' in err
