"""Features without weights: they see what was drawn, and always the same."""

import cv2
import numpy as np
import pytest

from paddlevideo.extract.boxes import overlaps
from paddlevideo.extract.classical import appearance, motion
from paddlevideo.extract.classical.appearance import ClassicalAppearance
from paddlevideo.extract.classical.motion import COLOUR_WIDTH, KINDS, ClassicalMotion, ThingMotion
from paddlevideo.extract.classical.regions import ClassicalRegions
from paddlevideo.extract.schema import (
    ClassicalActions,
    ClassicalDetector,
    ClassicalVectors,
    ThingActions,
)
from tests.extract.samples import BLUE, GREEN, HEIGHT, RED, moving, picture
from tests.extract.samples import WIDTH as FRAME_WIDTH

REGIONS = ClassicalRegions(ClassicalDetector())
APPEARANCE = ClassicalAppearance(ClassicalVectors())
MOTION = ClassicalMotion(ClassicalActions())
THINGS = ThingMotion(ThingActions())


@pytest.mark.parametrize("colour, word", [(RED, "red"), (GREEN, "green"), (BLUE, "blue")])
@pytest.mark.parametrize("scale", [1, 5])
def test_a_thing_is_boxed_where_it_is_and_its_colour_named(colour, word, scale):
    frame = np.full((HEIGHT, FRAME_WIDTH, 3), 120, np.uint8)
    frame[20:60, 70:110] = colour
    frame = np.repeat(np.repeat(frame, scale, 0), scale, 1)
    found = REGIONS.find(frame, frame)
    place = np.array([70, 20, 110, 60]) * scale
    overlap = overlaps(place, found.boxes)
    assert overlap.max() > 0.85
    best = found.classes[overlap.argmax()]
    assert REGIONS.names[best[:-1].argmax()] == f"{word} plain"
    np.testing.assert_allclose(found.classes.sum(axis=1), 1, atol=1e-5)
    assert (np.diff(found.scores) <= 0).all()
    height, width = frame.shape[:2]
    assert (found.boxes >= 0).all() and (found.boxes <= [width, height, width, height]).all()


def test_what_moves_counts_more():
    before, after = picture(40, 30, colour=(140, 140, 140)), picture(46, 30, colour=(140, 140, 140))
    moved, still = REGIONS.find(before, after), REGIONS.find(before, before)
    place = np.array([40, 30, 72, 62])
    assert moved.scores[overlaps(place, moved.boxes) > 0.5].max() > still.scores.max()


def test_a_frame_without_anything_has_its_quarters():
    frame = np.full((HEIGHT, FRAME_WIDTH, 3), 120, np.uint8)
    found = REGIONS.find(frame, frame)
    assert len(found.boxes) == 4 and found.boxes[3].tolist() == [64, 48, 128, 96]
    assert REGIONS.names[REGIONS.whole(frame)[0].argmax()] == "grey plain"


def test_texture_is_told():
    frame = np.full((HEIGHT, FRAME_WIDTH, 3), 60, np.uint8)
    frame[:, ::6], frame[:, 1::6] = 220, 220
    assert REGIONS.names[REGIONS.whole(frame)[0, :-1].argmax()].endswith("lined")
    noise = np.random.default_rng(0).integers(0, 255, (HEIGHT, FRAME_WIDTH, 1), np.uint8)
    noise = cv2.GaussianBlur(noise, (3, 3), 0)[..., None].repeat(3, axis=2)
    assert REGIONS.names[REGIONS.whole(noise)[0, :-1].argmax()].endswith("patterned")


def test_vectors_tell_things_apart_and_are_always_the_same():
    red, blue = picture(48, 32), picture(48, 32, colour=BLUE)
    boxes = np.array([[48, 32, 80, 64], [0, 0, 128, 96], [127.6, 95.5, 128, 96]])
    rows, others = APPEARANCE.describe(red, boxes), APPEARANCE.describe(blue, boxes)
    assert (
        rows.shape == (3, appearance.WIDTH) and np.isfinite(rows).all() and np.abs(rows).max() < 10
    )
    assert np.linalg.norm(rows[0] - others[0]) > 3 * np.linalg.norm(rows[1] - others[1])
    threads = cv2.getNumThreads()
    try:
        cv2.setNumThreads(1)
        np.testing.assert_array_equal(rows, APPEARANCE.describe(red.copy(), boxes))
        again = REGIONS.find(red, red)
        cv2.setNumThreads(2)
        for first, second in zip(again[:3], REGIONS.find(red, red)[:3], strict=True):
            np.testing.assert_array_equal(first, second)
    finally:
        cv2.setNumThreads(threads)


@pytest.mark.parametrize(
    "step, grow, kind",
    [
        ((2, 0), 0, "right"),
        ((-2, 0), 0, "left"),
        ((0, 1.5), 0, "down"),
        ((0, -1.5), 0, "up"),
        ((0, 0), 2.0, "towards"),
        ((0, 0), 0, "still"),
    ],
)
def test_motion_is_named(step, grow, kind):
    window = np.stack([MOTION.reduce(frame) for frame in moving(step, 12, grow)])
    vectors, classes = MOTION.describe([window], 0.1)
    assert vectors.shape == (1, motion.WIDTH) and vectors.dtype == np.float32
    assert KINDS[classes[0]] == kind
    again, _ = MOTION.describe([window.copy()], 0.1)
    np.testing.assert_array_equal(vectors, again)


def two_things(red=(2, 0), blue=(0, 0), count=12):
    """Frames of a red thing above and a blue one below; each moves by (x, y) pixels per frame."""
    frames = np.full((count, HEIGHT, FRAME_WIDTH, 3), 120, np.uint8)
    for index, frame in enumerate(frames):
        for colour, (x, y), (dx, dy) in ((RED, (20, 10), red), (BLUE, (70, 60), blue)):
            left, top = x + dx * index, y + dy * index
            frame[top : top + 20, left : left + 24] = colour
    return np.stack([THINGS.reduce(frame) for frame in frames])


def test_each_of_two_things_has_its_own_motion_and_colour():
    colours = {}
    for name, window in {
        "red": two_things(red=(3, 0)),
        "blue": two_things(red=(0, 0), blue=(-3, 0)),
    }.items():
        vectors, classes = THINGS.describe([window], 0.1)
        assert vectors.shape == (2, motion.WIDTH + COLOUR_WIDTH) and vectors.dtype == np.float32
        moving_one = int(KINDS[classes[0]] == "still")
        kinds = {KINDS[classes[moving_one]], KINDS[classes[1 - moving_one]]}
        assert kinds == {"right" if name == "red" else "left", "still"}
        colours[name] = vectors[moving_one, motion.WIDTH :]
        together, _ = MOTION.describe([window], 0.1)
        assert together.shape == (1, motion.WIDTH)
    hues = {name: int(row[:-3].argmax()) for name, row in colours.items()}
    assert hues["red"] != hues["blue"]
    assert np.abs(colours["red"] - colours["blue"]).max() > 1


def test_a_thing_alone_has_the_vector_of_the_window():
    windows = [
        np.stack([MOTION.reduce(f) for f in moving(step, 12, 0)]) for step in ((2, 0), (0, 1))
    ]
    windows.append(np.full((12, 72, 96, 3), 120, np.uint8))  # nothing stands out
    vectors, classes = THINGS.describe(windows, 0.1)
    expected, kinds = MOTION.describe(windows, 0.1)
    np.testing.assert_array_equal(vectors[:, : motion.WIDTH], expected)
    np.testing.assert_array_equal(classes, kinds)
    assert not vectors[2, motion.WIDTH :].any() and vectors[0, motion.WIDTH :].any()


def test_motion_backwards_is_the_other_way():
    frames = moving((0, 0), 12, 2.0)[::-1]
    away = MOTION.describe([np.stack([MOTION.reduce(frame) for frame in frames])], 0.1)
    assert KINDS[away[1][0]] == "away"
    slow = np.stack([MOTION.reduce(frame) for frame in moving((2, 0), 12)])
    fast, half = MOTION.describe([slow], 0.1)[0], MOTION.describe([slow], 0.2)[0]
    assert fast.sum() > half.sum(), "the same way in half of the time is faster"


@pytest.mark.parametrize("shape", [(1, 640), (8, 640), (640, 1), (3, 2000), (1, 1), (2, 2)])
@pytest.mark.filterwarnings("error")
def test_very_flat_and_tiny_pictures_are_described(shape):
    rng = np.random.default_rng(0)
    for frames in (np.full((4, *shape, 3), 9, np.uint8), rng.integers(0, 255, (4, *shape, 3))):
        frames = frames.astype(np.uint8)
        found = ClassicalRegions(ClassicalDetector()).find(frames[0], frames[1])
        vectors = ClassicalAppearance(ClassicalVectors()).describe(frames[0], found.boxes)
        window = np.stack([MOTION.reduce(frame) for frame in frames])
        pieces, kinds = MOTION.describe([window], 0.1)
        assert vectors.shape == (len(found.boxes), appearance.WIDTH)
        assert pieces.shape == (1, motion.WIDTH)
        apart, _ = THINGS.describe([window], 0.1)
        assert apart.shape[1] == motion.WIDTH + COLOUR_WIDTH and np.isfinite(apart).all()
        assert np.isfinite(vectors).all() and np.isfinite(pieces).all() and len(kinds) == 1
