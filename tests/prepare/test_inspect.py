"""What is in a store, told in plain text; and what stays with its clips."""

import json

import numpy as np

from paddlevideo.loader.store import ClassTargets, FeatureStore
from paddlevideo.prepare import PackOptions, describe, pack
from tests.loader.clips import make_clip, write


def test_a_description_counts_what_is_there(tmp_path):
    clips = [make_clip(n, regions=1 + n % 30) for n in range(40)]
    store = write(tmp_path / "s", clips, vocabularies={"region": ["a", "b"]}, made_by={"x": 1})
    lines = list(describe(store, records=2))
    text = "\n".join(lines)
    assert "40 clips, 80 captions, 1 shard(s)" in text
    bars = [line for line in lines[lines.index("regions:") + 1 : lines.index("actions:")]]
    assert sum(int(line.split()[-1]) for line in bars) == 40 and len(bars) <= 12
    assert 'clip 1: "clip1" of video video7' in text and "(0.5-2 s)" in text
    assert "  from /videos/sub/фильм.mp4, 0.5 to 3.25 s" in lines


def test_the_likeliest_classes_are_named(tmp_path):
    classes = np.eye(9, dtype=np.float32)[:3]
    classes[0] = [0.1, 0.65, 0.2, 0.05, 0, 0, 0, 0, 0]
    clip = make_clip(region_classes=ClassTargets.of(classes), action_classes=np.array([1, 6]))
    names = {"region": ["cat", "dog"], "action": ["run", "sit"]}
    lines = list(describe(write(tmp_path / "s", [clip], vocabularies=names)))
    assert "  region 0: dog 0.65, 2 0.20, cat 0.10" in lines and "  actions: sit, 6" in lines
    assert "region 0:" not in "\n".join(describe(write(tmp_path / "t", [clip])))


def test_a_description_has_no_python_in_it(tmp_path):
    made_by = {
        "command": "tools/prepare_data.py pack",
        "sources": [{"path": "/a b/rows.npy", "bytes": 12345, "modified_ns": 17}],
        "captions": [["c.jsonl", "5af2"]],
        "extraction": {"regions": {"frames": 4, "whole_frame": True, "model": None}},
        "listed": [f"n{number}" for number in range(99)],
    }
    text = "\n".join(describe(write(tmp_path / "s", [make_clip()], made_by=made_by)))
    assert not set("{}[]'") & set(text) and "None" not in text and "True" not in text
    for line in (
        *("  command: tools/prepare_data.py pack", "  sources: /a b/rows.npy (12,345 bytes)"),
        *("  extraction.regions.frames: 4", "  extraction.regions.whole_frame: yes"),
    ):
        assert line in text.split("\n")
    assert "n9 and 89 more" in text


def test_a_clip_keeps_its_video_and_its_seconds(tmp_path):
    told = {"source": "/v/film.mp4", "span": (1.0, 2.0)}
    silent = {"source": "", "span": None, "video": "", "times": []}
    clips = [make_clip(0, **told), make_clip(1, **silent), make_clip(2, name="film_3_4", **silent)]
    write(tmp_path / "s", clips)
    lines = [
        {"clip": "clip1", "video": "film", "start": 5, "end": 7.5, "caption": "a dog"},
        {"clip": "clip0", "video": "film", "start": 8, "end": 9, "caption": "a cat"},
    ]
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    pack(PackOptions([tmp_path / "s"], tmp_path / "t", captions=[tmp_path / "c.jsonl"]))
    store = FeatureStore(tmp_path / "t")
    assert [store.about(number).span for number in range(3)] == [(1, 2), (5, 7.5), (3, 4)]
    assert [store.about(number).source for number in range(3)] == ["/v/film.mp4", "", ""]
    assert [store.about(number).video for number in range(3)] == ["video7", "film", "film"]
