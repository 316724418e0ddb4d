"""A real detector on real videos: people, dogs and bears are found where they are."""

import numpy as np
import pytest

from paddlevideo.extract.boxes import overlaps
from paddlevideo.loader.store import FeatureStore
from tests.extract import samples

#: For videos of the folder, by eye: what is to be found, and roughly where, in parts of the frame.
#: The detector is a very small one: it calls the bears sheep, and where they lie is what counts.
EXPECTED = {
    "cve_vid1": [
        ({"bear", "sheep", "cow"}, (0.49, 0.07, 0.77, 0.87)),
        ({"bear", "sheep", "cow"}, (0.0, 0.43, 0.55, 1.0)),
    ],
    "iv_example1": [({"dog"}, (0.25, 0.45, 0.53, 0.63))],
    "mma_demo": [({"person"}, (0.5, 0.0, 1.0, 1.0))],
    "mma_test.avi": [({"person"}, (0.27, 0.0, 1.0, 1.0))],
    "mma_test_video_structuralize": [({"person"}, (0.63, 0.43, 0.72, 0.9))],
    "pv_example": [({"person"}, (0.05, 0.34, 0.6, 1.0))],
    "v_GGSY1Qvo990": [({"person"}, (0.38, 0.16, 0.72, 0.93))],
    "v_ZNVhz7ctTq0": [({"car"}, (0.7, 0.12, 0.85, 0.18)), ({"person"}, (0.55, 0.14, 0.62, 0.38))],
}


@pytest.fixture(scope="module")
def store(shared, tmp_path_factory):
    pytest.importorskip("onnxruntime", reason="runs a detector with onnxruntime: extra test")
    from paddlevideo.cli import extract_features

    folder = tmp_path_factory.mktemp("real")
    model = f"regions.detector.model={shared / 'weights' / 'picodet_xs_416_processed.onnx'}"
    words = ["-c", "picodet.yaml", "-o", model, "--output", str(folder / "r.store")]
    assert extract_features.main([str(shared / "data" / "videos"), *words]) == 0
    return FeatureStore(folder / "r.store")


def regions(clip, names, wanted):
    """Boxes, in parts of the frame, of the regions whose likeliest class is one of ``wanted``."""
    rows = clip.region_classes.dense()[:, :-1]
    named = np.array([names[row.argmax()] if row.any() else "none" for row in rows])
    sides = [clip.image_w, clip.image_h] * 2
    return clip.boxes[np.isin(named, sorted(wanted))] / sides


@pytest.mark.parametrize("name", EXPECTED)
def test_things_are_found_where_they_are(store, name):
    clip = store[store.find(name)]
    names = store.manifest.vocabularies["region"]
    for wanted, place in EXPECTED[name]:
        found = regions(clip, names, wanted)
        assert len(found), f"no {wanted}"
        assert overlaps(np.array(place), found).max() > 0.6, (wanted, found.round(2).tolist())


def test_bears_are_called_bears_where_their_shape_is_kept(shared, capfd, tmp_path):
    pytest.importorskip("onnxruntime", reason="runs a detector with onnxruntime: extra test")
    model = f"regions.detector.model={shared / 'weights' / 'picodet_xs_416_processed.onnx'}"
    words = ["-c", "picodet.yaml", "-o", model, "-o", "regions.detector.input.fit=pad"]
    command = samples.Command(capfd, tmp_path / "c.store")
    assert command(shared / "data" / "videos" / "cve_vid1.mp4", *words)[0] == 0
    store = FeatureStore(tmp_path / "c.store")
    found = regions(store[0], store.manifest.vocabularies["region"], {"bear"})
    for _, place in EXPECTED["cve_vid1"]:
        assert overlaps(np.array(place), found).max() > 0.5, found.round(2).tolist()


def test_every_video_is_there(store):
    assert len(store) == 10
    assert all(len(store[number].regions) <= 36 for number in range(10))


def test_classical_regions_of_real_videos(shared, capfd, tmp_path):
    video = shared / "data" / "videos" / "iv_example1.mp4"
    code, out, _ = samples.Command(capfd, tmp_path / "c.store")(video)
    assert code == 0 and "1 done" in out
    clip = FeatureStore(tmp_path / "c.store")[0]
    assert len(clip.regions) == 8 and clip.boxes[0].tolist() == [0, 0, 640, 480]
