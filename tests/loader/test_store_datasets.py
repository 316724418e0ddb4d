"""A feature store in the place of PaddleVideo's files."""

import numpy as np
import pytest

from paddlevideo.cli import run as main
from paddlevideo.loader import build_dataset, build_pipeline
from paddlevideo.loader.build import SampleReader
from paddlevideo.loader.clips.records import RecordFile
from paddlevideo.loader.clips.rows import RowFile
from paddlevideo.loader.pipelines.text import RandomCap
from paddlevideo.loader.store import ClassTargets, Clip, Sizes, StoreWriter
from paddlevideo.loader.store import writer as writer_module
from paddlevideo.utils.errors import DataError
from tests.loader.clips import make_clip, write
from tests.tiny_data import (
    ACTION_CLASSES,
    ACTION_SIZE,
    REGION_CLASSES,
    REGION_SIZE,
    configuration,
    make_project,
)

SIZES = Sizes(REGION_SIZE, ACTION_SIZE, REGION_CLASSES, ACTION_CLASSES)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The tiny project, and the same data in two stores, float32 and with all classes kept."""
    folder = tmp_path_factory.mktemp("project")
    make_project(folder)
    rows = RowFile(folder / "train.npy")
    with StoreWriter(folder / "train.store", SIZES, dtype="float32") as writer:
        for index in range(len(rows)):
            writer.add(rows.read(index).with_targets(kept_mass=1.0))
        writer.finish()
    records = RecordFile(folder / "test.lmdb")
    sizes = Sizes(REGION_SIZE, ACTION_SIZE)
    with StoreWriter(folder / "test.store", sizes, dtype="float32") as writer:
        for index in range(len(records)):
            writer.add(records.read(index))
        writer.finish()
    return folder


def assert_equal(first, second):
    assert first.keys() == second.keys()
    for key, value in first.items():
        if isinstance(value, np.ndarray):
            np.testing.assert_allclose(value, second[key], rtol=1e-6, err_msg=key)
        else:
            assert value == second[key], key


def test_pre_training_samples_are_those_of_the_rows(project):
    configs = configuration(project)
    steps = build_pipeline(configs["PIPELINE"]["train"]["transform"])
    readers = [
        SampleReader(
            build_dataset({"format": "ActBertDataset", "file_path": str(project / name)}), steps
        )
        for name in ("train.npy", "train.store")
    ]
    for index in range(len(readers[0].dataset)):
        assert_equal(*(reader.read(3, index) for reader in readers))
    assert readers[1].dataset.name_of(2) == "clip002"
    assert readers[1].dataset.describe()["widths"] == readers[0].dataset.describe()["widths"]


def test_lists_choose_clips_of_a_store(project, tmp_path):
    (tmp_path / "few.txt").write_text("clip003\nclip001\n")
    options = {"format": "ActBertDataset", "file_path": str(project / "train.store")}
    dataset = build_dataset({**options, "only": str(tmp_path / "few.txt")})
    assert [dataset.name_of(number) for number in range(len(dataset))] == ["clip001", "clip003"]


def test_retrieval_numbers_are_those_of_the_lmdb(project, tmp_path):
    assert main.main(["-c", str(project / "tiny.yaml"), "-o", "epochs=1"]) == 0
    weights = str(project / "output" / "Tiny_epoch_00001.pdparams")
    texts = []
    for name in ("test.lmdb", "test.store"):
        changes = [f"DATASET.test.features_path={project / name}", f"output_dir={tmp_path / name}"]
        arguments = ["--test", "-c", str(project / "tiny.yaml"), "-w", weights, "-o", *changes]
        assert main.main(arguments) == 0
        texts.append((tmp_path / name / "queries.jsonl").read_text())
    assert texts[0] == texts[1]


def test_a_whole_run_trains_on_a_store(project, tmp_path):
    changes = [f"DATASET.train.file_path={project / 'train.store'}", f"output_dir={tmp_path}"]
    arguments = ["-c", str(project / "tiny.yaml"), "-o", *changes, "epochs=1"]
    assert main.main([*arguments, "DATASET.num_workers=2"]) == 0
    assert (tmp_path / "Tiny_epoch_00001.pdparams").is_file()


def test_classes_that_are_not_there_cannot_be_asked_for(project, tmp_path):
    clip = make_clip(region_classes=None, action_classes=None)
    write(tmp_path / "s", [clip])
    dataset = build_dataset({"format": "ActBertDataset", "file_path": str(tmp_path / "s")})
    steps = [{"FeaturePadding": {}}, {"RandomCap": {"rate": 0}}, "Tokenize"]
    for option in ("region_rate", "action_rate"):
        other = {"region_rate": 0, "action_rate": 0} | {option: 0.1}
        reader = SampleReader(dataset, build_pipeline([*steps, {"RandomMask": other}]))
        with pytest.raises(DataError, match=f'"clip0".*classes, which .* set its {option} to 0'):
            reader.read(0, 0)
    mask = {"RandomMask": {"region_rate": 0, "action_rate": 0}}
    sample = SampleReader(dataset, build_pipeline([*steps, mask])).read(0, 0)
    assert "image_target" not in sample
    assert (sample["image_label"] == -1).all() and (sample["action_label"] == -1).all()


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"regions": np.zeros((0, REGION_SIZE)), "boxes": np.zeros((0, 4))}, "has no regions"),
        ({"captions": ["  "]}, "has no caption"),
        ({"boxes": np.array([[0, 0, 900, 10.0]])}, "box 0 is"),
    ],
)
def test_a_clip_that_cannot_be_used_is_named(tmp_path, monkeypatch, changes, message):
    monkeypatch.setattr(writer_module, "check_clip", lambda *arguments: None)
    rows = len(changes.get("regions", np.zeros((1, 1))))
    fields = {
        "regions": np.ones((1, REGION_SIZE)),
        "boxes": np.array([[0, 0, 10, 10.0]]),
        "captions": ["a dog"],
        **changes,
    }
    with StoreWriter(tmp_path / "s", SIZES) as writer:
        writer.add(
            Clip(
                id="clip/7",
                image_h=240,
                image_w=320,
                actions=np.ones((1, ACTION_SIZE)),
                action_classes=np.zeros(1, int),
                region_classes=ClassTargets.of(np.ones((rows, REGION_CLASSES))),
                **fields,
            )
        )
        writer.finish()
    dataset = build_dataset({"format": "ActBertDataset", "file_path": str(tmp_path / "s")})
    with pytest.raises(DataError, match=f'clip 0 \\("clip/7"\\): {message}'):
        dataset[0]


def test_an_exclamation_mark_in_a_stores_caption_stays(tmp_path):
    path = tmp_path / "captions.json"
    path.write_text('["another"]')
    sample = {"caption": "stop! now", "captions": ["stop! now"]}
    found = RandomCap(str(path), rate=0.0)(sample, np.random.default_rng(0))
    assert found["caption"] == "stop! now"


def test_a_store_that_is_not_finished_is_refused_in_a_check(project, tmp_path):
    with StoreWriter(tmp_path / "s", SIZES):
        pass
    with pytest.raises(DataError, match="this store is not finished"):
        build_dataset({"format": "ActBertDataset", "file_path": str(tmp_path / "s")})
