"""What extraction draws: file names that keep their characters, labels that can be read."""

import numpy as np

from paddlevideo.extract import draw
from tests.loader.clips import make_clip


def test_names_of_pictures_keep_their_letters():
    assert draw.picture_name("一个人 café-ё.1") == "一个人 café-ё.1.jpg"
    for name in ("a/b", "a\\b", "a\nb", "a\0b", "a\udcffb", "\x1b[31m"):
        made = draw.picture_name(name)
        assert made.startswith(name[0] if name[0].isalpha() else "_")
        assert not set(made) & set("/\\\n\0\x1b\udcff") and made != draw.picture_name("a_b")
    long = [draw.picture_name("猫" * 300 + end) for end in ("a", "b")]
    assert len(set(long)) == 2 and all(len(name.encode()) < 220 for name in long)


def test_labels_stay_in_a_picture_and_apart():
    boxes = np.tile([100.0, 80, 128, 96], (12, 1))
    clip = make_clip(0, regions=12, boxes=boxes, extra={"frames": " ".join(["3"] * 12)})
    names = {"region": ["a very long name of a class " * 3] * 99, "action": ["действие " * 9] * 99}
    bare = draw.drawn(np.full((96, 128, 3), 90, np.uint8), clip, 4, {})
    picture = draw.drawn(np.full((96, 128, 3), 90, np.uint8), clip, 3, names)
    assert picture.shape == bare.shape == (360, 480, 3) and (picture != bare).any()
