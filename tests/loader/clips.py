"""Small clips for the tests of the feature store."""

import numpy as np

from paddlevideo.loader.store import ClassTargets, Clip, FeatureStore, Sizes, StoreWriter

SIZES = Sizes(region=12, action=10, region_classes=9, action_classes=7)


def make_clip(number=0, name=None, regions=3, actions=2, **changes):
    rng = np.random.default_rng(number)
    corner = rng.uniform(0, 100, (regions, 2))
    fields = {
        "id": name or f"clip{number}",
        "regions": rng.normal(size=(regions, 12)).astype("float32"),
        "boxes": np.concatenate([corner, corner + 20], axis=1).astype("float32"),
        "image_h": 240,
        "image_w": 320,
        "actions": rng.normal(size=(actions, 10)).astype("float32"),
        "action_classes": rng.integers(0, 7, actions),
        "region_classes": ClassTargets.of(rng.dirichlet(np.ones(9), regions)),
        "captions": [f"caption {number}", "ein zweiter, mit Umlauten: äöü"],
        "times": [(0.5, 2.0), (2.0, 3.25)],
        "video": "video7",
        "extra": {"license": "CC"},
        "source": "/videos/sub/фильм.mp4",
        "span": (0.5, 3.25),
    }
    return Clip(**{**fields, **changes})


def write(path, clips, **options):
    with StoreWriter(path, SIZES, **options) as writer:
        for clip in clips:
            writer.add(clip)
        writer.finish()
    return FeatureStore(path)


def assert_same(first, second, tolerance=0.0):
    for name in ("id", "image_h", "image_w", "captions", "video", "extra", "source", "span"):
        assert getattr(first, name) == getattr(second, name)
    assert [tuple(time) for time in first.times] == [tuple(time) for time in second.times]
    for name in ("regions", "boxes", "actions", "action_classes"):
        a, b = getattr(first, name), getattr(second, name)
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(
        first.region_classes.dense(), second.region_classes.dense(), rtol=1e-3, atol=1e-4
    )
