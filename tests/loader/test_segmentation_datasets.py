"""Data sets with a label for every second, and what is wrong with their files."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path

import numpy as np
import pytest

from paddlevideo.loader import COINDataset, MSTCNDataset
from paddlevideo.loader.dataset import segmentation
from paddlevideo.loader.timeline.labels import coin_labels
from paddlevideo.utils.class_names import coin_classes, read_class_names, read_coin
from paddlevideo.utils.errors import ConfigError, DataError
from tests.timeline_data import CLASSES, labels_of, mstcn_keys, write_coin, write_mstcn


@pytest.fixture
def folder(tmp_path):
    return write_mstcn(tmp_path)


def test_a_sample_is_a_video(folder):
    data = MSTCNDataset(**mstcn_keys(folder), file_path=str(folder / "splits" / "test.bundle"))
    assert data.videos == ["v0", "v2"] and len(data) == 2
    sample = data[1]
    assert sample["timeline"].seconds == 40 and sample["index"] == 1
    np.testing.assert_array_equal(data.truth()[1], labels_of(2, 40))
    assert data.classes == CLASSES
    assert data.describe()["videos"] == 2


def test_of_several_rows_a_second_the_first_is_taken(folder):
    """As MS-TCN's own files have, of 15 frames a second."""
    expected = MSTCNDataset(**mstcn_keys(folder))
    samples = [expected[index]["timeline"].window(0) for index in range(4)]
    truth = expected.truth()
    for path in (folder / "features").iterdir():
        rows = np.repeat(np.load(path), 15, axis=1)
        np.save(path, rows[:, :-7])  # the last second is not complete
    for path in (folder / "groundTruth").iterdir():
        path.write_text("".join(f"{name}\n" * 15 for name in path.read_text().split()))
    data = MSTCNDataset(**mstcn_keys(folder), rows_per_second=15)
    assert [len(labels) for labels in data.truth()] == [23, 31, 40, 17]
    for index in range(4):
        np.testing.assert_array_equal(data.truth()[index], truth[index])
        found = data[index]["timeline"].window(0)
        np.testing.assert_array_equal(found["action_feat"], samples[index]["action_feat"])
    with pytest.raises(DataError, match="23 seconds of labels.*have 338.*set rows_per_second"):
        path = folder / "groundTruth" / "v0.txt"
        path.write_text("".join(path.read_text().splitlines(keepends=True)[::15]))
        MSTCNDataset(**mstcn_keys(folder))[0]


def test_training_takes_windows(folder):
    data = MSTCNDataset(**mstcn_keys(folder)).for_training()
    # 23 s: 0 and 7; 31: 0, 12 and 15; 40: 0, 12 and 24; 17: 0 and 1
    assert len(data) == 2 + 3 + 3 + 2
    sample = data[4]
    assert data.name_of(4) == "v1 from 15 s"
    np.testing.assert_array_equal(sample["second_labels"], labels_of(1, 31)[15:31])
    assert sample["action_feat"].shape == (16, 6) and sample["action_mask"].all()


def test_seconds_beyond_a_video_have_no_label(folder):
    (folder / "only.txt").write_text("v3\n")
    keys = {**mstcn_keys(folder), "max_action_num": 20, "only": str(folder / "only.txt")}
    sample = MSTCNDataset(**keys).for_training()[0]
    assert (sample["second_labels"][17:] == -1).all() and (sample["second_labels"][:17] >= 0).all()
    assert sample["action_mask"].tolist() == [1] * 17 + [0] * 3


def test_a_bundle_can_be_left_out(folder):
    data = MSTCNDataset(**mstcn_keys(folder), exclude=str(folder / "splits" / "test.bundle"))
    assert data.videos == ["v1", "v3"]


def test_features_a_second_short_are_masked_and_not_trained_on(folder):
    path = folder / "features" / "v3.npy"
    np.save(path, np.load(path)[:, :-1])
    (folder / "only.txt").write_text("v3")
    data = MSTCNDataset(**mstcn_keys(folder), only=str(folder / "only.txt"))
    assert data[0]["timeline"].seconds == 17
    last = data.for_training()[1]
    assert last["action_mask"][-1] == 0 and last["second_labels"][-1] == -1


def test_missing_streams_are_told_once(folder, caplog):
    segmentation._tell.cache_clear()
    with caplog.at_level(logging.INFO, "paddlevideo"):
        MSTCNDataset(**mstcn_keys(folder))
        MSTCNDataset(**mstcn_keys(folder))
    told = [line for line in caplog.messages if "masked" in line]
    assert len(told) == 1 and "no text and no regions" in told[0]


def test_coin_has_a_label_a_second_from_floor_to_ceiling(tmp_path):
    path = write_coin(tmp_path)
    keys = {"features_path": str(tmp_path / "features"), "action_feature_dim": 6}
    data = COINDataset(str(path), subset="training", **keys)
    assert data.videos == ["c0", "c1"]
    expected = np.zeros(30, np.int64)
    expected[3:9], expected[12:21] = 1, 2
    np.testing.assert_array_equal(data.truth()[0], expected)
    assert data.classes == CLASSES[:3]
    assert COINDataset(str(path), **keys).videos == ["c2"]
    with pytest.raises(ConfigError, match='no video with the subset "validation"'):
        COINDataset(str(path), subset="validation", **keys)


# ------------------------------------------------------------------------ bad input


def check(folder, message, **more):
    with pytest.raises(DataError, match=message):
        data = MSTCNDataset(**{**mstcn_keys(folder), **more})
        data.truth()
        for index in range(len(data)):
            data[index]


def test_a_label_that_is_not_in_the_mapping(folder):
    path = folder / "groundTruth" / "v1.txt"
    path.write_text(path.read_text().replace("stir_soup", "stir_soop", 1))
    check(folder, r'v1\.txt: line 6: "stir_soop" is not one of.*Did you mean "stir_soup"')


def test_features_and_labels_of_other_lengths(folder):
    path = folder / "groundTruth" / "v1.txt"
    path.write_text(path.read_text() + "background\n" * 2)
    check(folder, r"v1\.txt: 33 seconds of labels, but the features .* have 31")


def test_a_bundle_with_an_unknown_video(folder):
    bundle = folder / "splits" / "other.bundle"
    bundle.write_text("v0.txt\n\nv9.txt\n")
    check(folder, r'other\.bundle: line 3: video "v9" has no file of labels', file_path=str(bundle))
    bundle.write_text("\n")
    check(folder, "names no video", file_path=str(bundle))


def test_a_list_with_an_unknown_video(folder):
    (folder / "list.txt").write_text("v0\nvideo\n")
    check(folder, r"list\.txt: 1 of 2 lines name no video", exclude=str(folder / "list.txt"))
    keys = {"exclude": str(folder / "list.txt"), "missing_ids": "warn"}
    assert MSTCNDataset(**mstcn_keys(folder), **keys).videos == ["v1", "v2", "v3"]
    (folder / "list.txt").write_text("v0\nv1\nv2\nv3\n")
    check(folder, "leave no video", exclude=str(folder / "list.txt"))


def test_videos_without_features_are_counted(folder):
    (folder / "features" / "v2.npy").unlink()
    check(folder, r"1 of 4 videos have no features in .*features: v2")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 background\n2 cut\n", "expected 0 to 1, without gaps"),
        ("0 background\n0 cut\n", "line 2.*occurs twice"),
        ("0 background\n1 background\n", "line 2.*occurs twice"),
        ("background 0\n", "line 1.*expected a class's number and its name"),
        ("0 background\n\u00b2 cut\n", "line 2.*expected a class's number and its name"),
        (f"{'9' * 5000} cut\n", "line 1.*expected a class's number and its name"),
        ("", "expected 0 to 1"),
        ("0 background\0\n", "line 1: holds NUL bytes"),
    ],
)
def test_a_mapping_with_mistakes(folder, text, message):
    (folder / "mapping.txt").write_text(text)
    check(folder, message)


def test_a_mapping_may_have_tabs_and_be_utf16(folder):
    path = folder / "mapping.txt"
    path.write_text(path.read_text().replace(" ", "\t"), encoding="utf-16")
    assert MSTCNDataset(**mstcn_keys(folder)).classes == CLASSES


def test_a_bundle_with_a_video_twice(folder):
    bundle = folder / "splits" / "other.bundle"
    bundle.write_text("v0.txt\nv1.txt\nv0.txt\n")
    check(folder, r'other\.bundle: line 3: video "v0" occurs twice', file_path=str(bundle))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"segment": [9.0, 3.0]}, 'video "c0", annotation 1: the segment is from 9 to 3 s'),
        ({"segment": [9.0, 33.0]}, "annotation 1: the segment ends at 33 s, but the video has 30"),
        ({"segment": [-2.0, 3.0]}, "expected a start of 0 or more"),
        ({"segment": "3"}, "expected its start and its end"),
        ({"segment": "39"}, "the segment is '39'; expected its start and its end"),
        ({"id": "x"}, 'the id is "x"; expected a whole number'),
        ({"id": "\u00b2"}, 'the id is "\u00b2"; expected a whole number'),
        ({"id": "99999999999"}, 'the id is "99999999999"; expected a whole number from 1 to 99999'),
        ({"id": "1"}, 'id 1 is "stir_soup", but "cut_onion" before'),
    ],
)
def test_annotations_of_coin_with_mistakes(tmp_path, change, message):
    path = write_coin(tmp_path)
    value = json.loads(path.read_text())
    value["database"]["c0"]["annotation"][1].update(change)
    path.write_text(json.dumps(value))
    keys = {"features_path": str(tmp_path / "features"), "action_feature_dim": 6}
    with pytest.raises(DataError, match=message):
        COINDataset(str(path), subset="training", **keys).truth()


@pytest.mark.parametrize("annotation", ["text", {"id": "1"}, [["1", 2]], 5])
def test_annotations_that_are_not_a_list_of_maps(tmp_path, annotation):
    path = write_coin(tmp_path)
    value = json.loads(path.read_text())
    value["database"]["c1"]["annotation"] = annotation
    path.write_text(json.dumps(value))
    with pytest.raises(
        DataError, match='COIN.json: video "c1": "annotation" is not a list of maps'
    ):
        read_class_names(str(path))


def test_another_file_of_classes_must_agree(tmp_path):
    path = write_coin(tmp_path)
    keys = {"features_path": str(tmp_path / "features"), "action_feature_dim": 6}
    (tmp_path / "mapping.txt").write_text("0 background\n1 stir_soup\n2 cut_onion\n")
    with pytest.raises(DataError, match='id 1 is "cut_onion".*"stir_soup" in .*mapping.txt'):
        COINDataset(str(path), class_file=str(tmp_path / "mapping.txt"), **keys)
    (tmp_path / "mapping.txt").write_text("0 background\n1 cut_onion\n")
    with pytest.raises(DataError, match='id 2 is "stir_soup".*has only the classes 0 to 1'):
        COINDataset(str(path), class_file=str(tmp_path / "mapping.txt"), **keys)


def test_a_file_that_is_not_of_coins_form(tmp_path):
    path = tmp_path / "COIN.json"
    path.write_text("")
    with pytest.raises(DataError, match="COIN.json: is empty"):
        read_class_names(str(path))
    path.write_bytes(b'{"database":\n{"\xe9": {}}}')
    with pytest.raises(DataError, match="COIN.json: line 2: cannot be read as UTF-8"):
        read_class_names(str(path))
    path.write_text("[]")
    with pytest.raises(DataError, match='expected JSON of the form {"database"'):
        read_class_names(str(path))
    path.write_text('{"database": []}')
    with pytest.raises(DataError, match="not a map"):
        read_class_names(str(path))


def test_labels_of_coins_test_are_the_published_number_of_seconds():
    path = Path(__file__).parents[3] / "shared" / "data" / "coin_test.json"
    if not path.exists():
        pytest.skip(f"{path} is missing")
    database = read_coin(str(path))
    classes = len(coin_classes(database, str(path)))
    labels = [coin_labels(name, entry, classes, str(path)) for name, entry in database.items()]
    every = np.concatenate(labels)
    assert len(labels) == 2797 and len(every) == 396_826
    assert 100 * np.mean(every == 0) == pytest.approx(58.82, abs=0.005)


def test_a_duration_is_needed(tmp_path):
    path = write_coin(tmp_path)
    value = json.loads(path.read_text())
    keys = {"features_path": str(tmp_path / "features"), "action_feature_dim": 6}
    for duration in ("long", 0, True, 1e15):
        value["database"]["c0"]["duration"] = duration
        path.write_text(json.dumps(value))
        with pytest.raises(DataError, match=re.escape(f'"duration" is {duration!r}; ')):
            COINDataset(str(path), subset="training", **keys).truth()
