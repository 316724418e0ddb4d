"""HowTo100M rows: parity with the recorded arrays, and every fault named."""

from __future__ import annotations

import numpy as np
import pytest

from paddlevideo.loader import ActBertDataset, FeaturePadding, build_dataset
from paddlevideo.utils.errors import DataError
from tests.loader.data import F, make_row, save_rows


def test_padded_rows_equal_the_recorded_ones(shared):
    dataset = ActBertDataset(str(shared / "reference" / "actbert_train_data.npy"))
    expected = np.load(shared / "reference" / "howto100m_expected.npz")
    step = FeaturePadding()
    assert len(dataset) == 4
    for index in range(4):
        sample = step(dataset[index], np.random.default_rng(0))
        for key in ("image_feat", "image_target", "image_loc", "action_feat", "action_target"):
            assert sample[key].dtype == expected[f"{index}/{key}"].dtype
            np.testing.assert_allclose(sample[key], expected[f"{index}/{key}"], rtol=0, atol=1e-6)


def test_real_rows_open_and_hold_what_the_file_holds(shared):
    path = shared / "data" / "youcook2_mini" / "dev_data.npy"
    dataset, known = ActBertDataset(str(path)), np.load(path, allow_pickle=True)
    for index in range(0, len(dataset), 37):
        sample = dataset[index]
        assert dataset.name_of(index) == known[index][6] and sample["caption"] == known[index][7]
        assert sample["region_feat"].dtype == np.float32  # stored as float16
        np.testing.assert_array_equal(sample["region_feat"], known[index][0])
        np.testing.assert_array_equal(sample["action_target"], known[index][9])
    assert dataset.describe()["widths"] == {"region": 1280, "region_classes": 81, "action": 1280}


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_types_become_float32(tmp_path, dtype):
    row = make_row(dtype=dtype)
    row[0][0, 0] = dtype(6e-8)  # float16 subnormal
    path = save_rows(tmp_path / "rows.npy", [row])
    sample = build_dataset({"format": "ActBertDataset", "file_path": path})[0]
    assert sample["region_feat"].dtype == sample["action_feat"].dtype == np.float32
    np.testing.assert_array_equal(sample["region_feat"], row[0].astype(np.float32))
    assert sample["bert_model"] == "bert-base-uncased" and sample["index"] == 0


def test_rows_saved_as_a_table(tmp_path):
    array = np.empty((2, 11), dtype=object)
    for number in range(2):
        array[number] = np.array(make_row(f"clip{number}") + [None], dtype=object)[:-1]
    np.save(tmp_path / "rows.npy", array)
    assert ActBertDataset(str(tmp_path / "rows.npy")).name_of(1) == "clip1"


def with_change(place, value):
    def change(row):
        row[place] = value(row[place]) if callable(value) else value

    return change


def poke(index, value):
    def change(array):
        array = array.copy()
        array[index] = value
        return array

    return change


FAULTS = {
    "fewer rows": (
        with_change(0, lambda a: a[:2]),
        r"region features has shape \(2, 6\); expected \(3",
    ),
    "other width": (with_change(0, lambda a: a[:, :4]), r"region features has shape \(3, 4\)"),
    "classes": (with_change(1, lambda a: a[:, :2]), r"class distribution has shape \(3, 2\)"),
    "boxes": (with_change(2, lambda a: a[:, :3]), r"boxes has shape \(3, 3\)"),
    "actions": (with_change(8, lambda a: a[0]), r"action features has shape \(3,\)"),
    "action classes": (with_change(9, lambda a: a[:1]), r"action classes have shape \(1,\)"),
    "action class type": (with_change(9, lambda a: a + 0.5), "action classes are not"),
    "not an array": (with_change(0, "text"), "region features is not an array"),
    "nan": (with_change(0, poke((1, 2), np.nan)), r"region features\[1, 2\] is nan"),
    "infinity": (with_change(8, poke((0, 1), np.inf)), r"action features\[0, 1\] is inf"),
    "nan target": (with_change(1, poke((2, 0), np.nan)), r"class distribution\[2, 0\] is nan"),
    "negative target": (with_change(1, poke((2, 0), -0.2)), "negative entries"),
    "zero target": (with_change(1, poke(2, 0.0)), "all zero"),
    "box outside": (with_change(2, poke((1, 2), 101.5)), r"box 1 is .* 100 pixels wide and 80"),
    "box below": (with_change(2, poke((2, 3), 82)), "box 2 is"),
    "box left": (with_change(2, poke((0, 0), -2)), "box 0 is"),
    "box turned": (with_change(2, poke((1, 2), 0)), "box 1 is"),
    "no image": (with_change(4, 0), "0 x 100 pixels"),
    "height": (with_change(4, "tall"), "image height is 'tall'"),
    "count": (with_change(3, -1), "n is -1"),
    "no regions": (with_change(3, 0), "has no regions"),
    "no caption": (with_change(7, "  "), "caption is '  '"),
    "caption type": (with_change(7, 3), "caption is 3"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_names_file_row_and_clip(tmp_path, name):
    change, message = FAULTS[name]
    row = make_row("bad one")
    change(row)
    dataset = ActBertDataset(save_rows(tmp_path / "rows.npy", [make_row("good"), row]))
    assert dataset[0]["region_feat"].shape == (3, F)
    with pytest.raises(DataError, match=rf'rows\.npy: row 1 \(clip "bad one"\): .*{message}'):
        dataset[1]


def test_a_box_may_leave_the_image_by_a_pixel(tmp_path):
    row = make_row()
    row[2][0] = [-1, -1, 101, 81]
    assert ActBertDataset(save_rows(tmp_path / "rows.npy", [row]))[0]["boxes"][0, 0] == -1


def test_overflowing_sums_are_not_taken_for_infinity(tmp_path):
    row = make_row()
    row[0][:] = 3e38
    assert np.isfinite(
        ActBertDataset(save_rows(tmp_path / "rows.npy", [row]))[0]["region_feat"]
    ).all()


def test_no_actions_are_legal(tmp_path):
    path = save_rows(tmp_path / "rows.npy", [make_row("a"), make_row("b", actions=0)])
    sample = FeaturePadding(4, 2)(ActBertDataset(path)[1], np.random.default_rng(0))
    assert sample["action_mask"].tolist() == [0, 0] and not sample["action_feat"].any()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([make_row("a"), make_row("b"), make_row("a")], "1 clip ids occur in several rows: a"),
        ([make_row("a"), make_row("b")[:10]], "row 1 has 10 entries; expected 11"),
        ([], "holds no rows"),
        ([[np.zeros(3)] + make_row("a")[1:]], "entry 0 is not a two-dim"),
    ],
)
def test_faults_of_the_whole_file(tmp_path, rows, message):
    with pytest.raises(DataError, match=rf"rows\.npy: .*{message}"):
        ActBertDataset(save_rows(tmp_path / "rows.npy", rows))


def test_missing_empty_and_other_files(tmp_path):
    (tmp_path / "empty.npy").touch()
    np.save(tmp_path / "numbers.npy", np.zeros((3, 11)))
    for name, message in [("absent", "No such file"), ("empty", "empty"), ("numbers", "object")]:
        with pytest.raises(DataError, match=rf"{name}\.npy: .*{message}"):
            ActBertDataset(str(tmp_path / f"{name}.npy"))
