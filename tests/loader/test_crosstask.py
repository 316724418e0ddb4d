"""CrossTask's files, the data set, and what is wrong with them."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from paddlevideo.loader import CrossTaskDataset
from paddlevideo.utils.errors import DataError
from tests.timeline_data import STEPS, crosstask_keys, write_crosstask


@pytest.fixture
def folder(tmp_path):
    return write_crosstask(tmp_path)


def test_a_sample_is_a_video_with_the_texts_of_its_task(folder, caplog):
    with caplog.at_level(logging.INFO, "paddlevideo"):
        data = CrossTaskDataset(**crosstask_keys(folder))
    assert "left out 1 of 4 videos" in caplog.text
    assert [data.name_of(index) for index in range(len(data))] == ["7_x0", "8_x1", "7_x2"]
    video = data[1]["step_video"]
    assert video.card.steps == STEPS[1:] and video.seconds == 30
    assert video.texts()["text_ids"].shape == (2, 8)
    assert data.describe()["tasks"] == 2


def test_truth_has_the_seconds_from_floor_to_ceiling(folder):
    truth = CrossTaskDataset(**crosstask_keys(folder)).truth()
    assert [each.task for each in truth] == ["7", "8", "7"]
    assert truth[0].seconds.shape == (24, 3)
    assert np.flatnonzero(truth[0].seconds[:, 1]).tolist() == [9, 10, 11, 12, 13]


def test_the_clip_around_a_second_has_it_in_the_middle(folder):
    data = CrossTaskDataset(**crosstask_keys(folder))
    rows = np.load(folder / "features" / "x0.npy")
    batches = list(data.step_video(0).clips(10))
    assert [len(batch["action_feat"]) for batch in batches] == [10, 10, 4]
    np.testing.assert_allclose(batches[1]["action_feat"][0], rows[9:12])
    assert batches[0]["action_mask"][0].tolist() == [0, 1, 1]
    np.testing.assert_allclose(batches[0]["action_feat"][0], [rows[0] * 0, rows[0], rows[1]])
    assert batches[2]["action_mask"][-1].tolist() == [1, 1, 0]


def test_a_clip_may_have_means_over_several_lengths(folder):
    data = CrossTaskDataset(**{**crosstask_keys(folder), "scales": [1, 5]})
    rows = np.load(folder / "features" / "x0.npy")
    clips = next(data.step_video(0).clips(30))
    assert clips["action_feat"].shape == (24, 1, 12) and clips["action_feat"].dtype == np.float32
    second, around = np.split(clips["action_feat"][:, 0], 2, axis=1)
    np.testing.assert_allclose(second, rows)
    np.testing.assert_allclose(around[10], rows[8:13].mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(around[0], rows[:3].mean(axis=0), rtol=1e-5)  # no second before it
    assert clips["action_mask"].all()


def test_training_takes_every_second_of_a_step(folder):
    data = CrossTaskDataset(**crosstask_keys(folder)).for_training()
    assert len(data) == 5 * (3 + 2 + 3)
    sample = data[0]
    assert data.name_of(0) == "7_x0 at 2 s"
    first = CrossTaskDataset(**crosstask_keys(folder)).tokens.encode(STEPS[0])
    np.testing.assert_array_equal(sample["text_ids"], first["text_ids"])
    assert sample["action_feat"].shape == (3, 6) and sample["next_sentence_label"] == 0


def test_seconds_without_a_step_may_have_a_text(folder):
    keys = {**crosstask_keys(folder), "background_text": "nothing"}
    source = CrossTaskDataset(**keys)
    data = source.for_training()
    assert len(data) == 24 + 30 + 27
    expected = source.tokens.encode("nothing")["text_ids"]
    np.testing.assert_array_equal(data[0]["text_ids"], expected)
    assert (data[2]["text_ids"] != expected).any()
    np.testing.assert_array_equal(source.step_video(0).texts()["text_ids"][-1], expected)


def test_lists_of_crosstask_choose_videos(folder):
    keys = {**crosstask_keys(folder), "exclude": str(folder / "videos_val.csv")}
    assert CrossTaskDataset(**keys).videos == ["x1", "x2"]
    keys = {**crosstask_keys(folder), "only": str(folder / "videos_val.csv")}
    assert CrossTaskDataset(**keys).videos == ["x0"]


# ------------------------------------------------------------------------ bad input


def check(folder, message):
    with pytest.raises(DataError, match=message):
        CrossTaskDataset(**crosstask_keys(folder)).truth()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "4,1.0,2.0",
            r'7_x2\.csv: line 2: step 4, but task 7 \("Make Soup"\) has the steps 1',
        ),
        ("0,1.0,2.0", "line 2: step 0, but task 7"),
        ("1,5.0,2.0", "line 2: the segment is from 5 to 2 s"),
        ("1,5.0,29.5", "line 2: the segment ends at 29.5 s, but the video has 27 s"),
        ("1,5.0", "line 2.*expected the number of a step from 1"),
        ("\u00b2,5.0,6.0", "line 2.*expected the number of a step from 1"),
        ("1,5.0,end", "line 2: the segment is .*expected its start and its end"),
    ],
)
def test_annotations_with_mistakes(folder, line, message):
    (folder / "annotations" / "7_x2.csv").write_text(f"1,2.0,5.0\n{line}\n")
    check(folder, message)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\n3\n", "\n4\n", r"tasks_primary\.txt: line 5: 3 steps, but line 4 says 4"),
        ("\n3\n", "\n\u00b2\n", r"tasks_primary\.txt: line 1.*expected five lines for each task"),
        ("\n3\n", "\nthree\n", r"tasks_primary\.txt: line 1.*expected five lines for each task"),
        ("8\nSalt", "7\nSalt", 'line 7: task "7" occurs twice'),
        ("stir soup,add salt\n\n8", ",add salt\n\n8", "A step is a text without a comma"),
    ],
)
def test_cards_with_mistakes(folder, old, new, message):
    path = folder / "tasks_primary.txt"
    path.write_text(path.read_text().replace(old, new, 1))
    check(folder, message)


def test_a_list_of_videos_with_mistakes(folder):
    (folder / "videos.csv").write_text("7,x0,url\n7 x1 url\n")
    check(folder, r"videos\.csv: line 2.*expected task,video,address")
    (folder / "videos.csv").write_text("71,x0,url\n")
    check(folder, 'task "71" has no card')
    (folder / "videos.csv").write_text("7,x9,url\n")
    check(folder, r"none of its 1 videos is annotated.*7_x9\.csv")
    (folder / "videos.csv").write_text("\n")
    check(folder, "names no video")


def test_videos_without_features(folder):
    (folder / "features" / "x1.npy").unlink()
    check(folder, "1 of 3 videos have no features.*x1")
