"""Exported programs: the live model's numbers, whole folders, clear errors."""

import json
import os

import numpy as np
import paddle
import pytest

import paddlevideo as pv
from paddlevideo.export import trace as export
from paddlevideo.export.manifest import ProgramInfo, Sizes, Vocabulary, read_manifest
from paddlevideo.export.run import ExportedModel
from paddlevideo.utils.errors import ConfigError, DataError, WeightsError
from tests.modeling.tiny import SIZES, make_batch

TINY = Sizes(text_length=12, regions=7, region_width=12, actions=3, action_width=10)
WORDS = Vocabulary("words.txt", 60)
CASES = {
    "released": {},
    "released, sum, head": {"fusion_method": "sum", "head": {"similarity_weight": 0.7}},
    "paper, head": {"tangle": "paper", "head": {}},
    "paper, sum, frozen": {"tangle": "paper", "fusion_method": "sum", "fixed_t_layer": 1},
    "fitted head, no actions": {
        "fixed_t_layer": 1,
        "head": {"name": "FittedHead", "words": 8},
        "without": ["actions"],
    },
    "one tangled layer": {f"{stream}_ent_attention_id": [0] for stream in "tva"},
    "no tangled layer": {f"{stream}_ent_attention_id": [] for stream in "tva"},
}


def build(head=None, seed=0, without=(), **changes):
    paddle.seed(seed)
    config = {
        "framework": "ActBert",
        "backbone": {"name": "BertForMultiModalPreTraining", **SIZES, **changes},
        "without": list(without),
    }
    if head is not None:
        learned = {"name": "RetrievalHead", "width": 8}
        config["retrieval_head"] = head if "name" in head else {**learned, **head}
    model = pv.build_model(config)
    rng = np.random.default_rng(seed)
    for parameter in model.parameters():
        if parameter.ndim == 2:
            noise = rng.normal(0, 0.25, parameter.shape).astype("float32")
            parameter.set_value(paddle.to_tensor(noise))
    model.eval()
    if model.num_fit_samples():
        model.fit([make_batch(clips=40)], np.asarray)
    return model


MODEL = build()


def write(model, folder):
    weights = folder / "weights.pdparams"
    paddle.save(model.state_dict(), str(weights))
    return export.export_model(model, folder / "exported", TINY, WORDS, weights)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """One export, which no test changes, and the model in it."""
    folder, model = tmp_path_factory.mktemp("export"), build(head={"similarity_weight": 0.3})
    model.train()
    return model, write(model, folder), folder / "exported"


@pytest.fixture
def copied(written, tmp_path):
    """A copy to damage."""
    folder = tmp_path / "exported"
    folder.mkdir()
    for path in written[2].iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def captions_of(batch):
    return {key: batch[key] for key in export.CAPTION_KEYS}


def videos_of(batch):
    return {key: batch[key] for key in export.VIDEO_KEYS}


@pytest.mark.parametrize("case", CASES)
def test_the_programs_give_what_the_model_gives(tmp_path, case):
    model = build(**CASES[case])
    write(model, tmp_path)
    exported = ExportedModel(tmp_path / "exported")
    for clips in (5, 1):
        batch = make_batch(clips, clips=clips)
        live = model.encode_captions(batch), model.encode_videos(batch)
        used = live[0].state.shape[1]
        cut = {key: array[:, :used] for key, array in captions_of(batch).items()}
        caches = exported.encode_captions(cut), exported.encode_videos(videos_of(batch))
        for expected, found in zip(live, caches, strict=True):
            expected = export.flatten(expected)
            assert list(expected) == list(found)
            for name, array in expected.items():
                np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-5, err_msg=name)
        margins = model.scorer.pair_margins(*live).numpy()
        spread = margins.std() if clips > 1 else 1.0
        np.testing.assert_allclose(exported.margins(*caches), margins, rtol=0, atol=1e-5 * spread)
        # Padding that is left in changes nothing.
        padded = exported.encode_captions(captions_of(batch))
        assert padded["state"].shape[1] == 12 > used
        found = exported.margins(padded, caches[1])
        np.testing.assert_allclose(found, margins, rtol=0, atol=1e-5 * spread)


def test_scores_are_margins_and_weighted_similarity(written):
    model, manifest, folder = written
    model.eval()
    batch, exported = make_batch(clips=4), ExportedModel(folder)
    captions, videos = model.encode_captions(batch), model.encode_videos(batch)
    margins = paddle.stack(
        [model.scorer.pair_margins(captions.part(slice(i, i + 1)), videos) for i in range(4)]
    )
    similarities = captions.vector @ videos.vector.t() * model.retrieval_head.scale
    model.train()
    cache = exported.encode_videos(videos_of(batch))
    for row in range(4):
        one = {key: array[row : row + 1] for key, array in captions_of(batch).items()}
        found = exported.scores(exported.encode_captions(one), cache)
        expected = (margins + 0.3 * similarities)[row].numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_the_manifest_names_everything(written):
    model, manifest, folder = written
    assert read_manifest(folder) == manifest
    record = json.loads((folder / "export.json").read_text())
    assert record["format"] == 1 and record["paddlevideo"] == pv.__version__
    assert record["sizes"]["text_length"] == 12 and record["vocabulary"]["size"] == 60
    assert {path.name for path in folder.iterdir()} == {"export.json", *manifest.files}
    inputs = {x.name: x for x in manifest.programs["captions"].inputs}
    assert inputs["text_ids"].shape == (-1, -1) and inputs["text_ids"].dtype == "int64"
    outputs = {x.name: x for x in manifest.programs["videos"].outputs}
    assert outputs["vector"].shape == (-1, 8) and outputs["state"].shape == (-1, 7, 24)
    assert [x.name for x in manifest.programs["pairs"].outputs] == ["margins"]
    similarity = manifest.similarity
    assert similarity.weight == 0.3 and similarity.width == 8
    assert similarity.scale == pytest.approx(float(model.retrieval_head.scale))


def test_a_model_in_training_stays_in_training(written):
    assert written[0].training


def write_marks(folder, mark, error=None):
    """An export whose programs, which take seconds to make, are a few bytes."""

    def write_programs(model, partial, sizes):
        (partial / "pairs.json").write_text(mark)
        if error is not None:
            raise error
        nothing = ProgramInfo((), ())
        return {"captions": nothing, "videos": nothing, "pairs": nothing}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "write_programs", write_programs)
        return write(MODEL, folder)


def test_a_second_export_replaces_the_first(tmp_path):
    first, second = write_marks(tmp_path, "one"), write_marks(tmp_path, "two")
    assert first.files != second.files
    assert read_manifest(tmp_path / "exported") == second
    assert (tmp_path / "exported" / "pairs.json").read_text() == "two"
    assert {path.name for path in tmp_path.iterdir()} == {"exported", "weights.pdparams"}


def test_an_empty_folder_is_used(tmp_path):
    (tmp_path / "exported").mkdir()
    assert write_marks(tmp_path, "one") == read_manifest(tmp_path / "exported")


@pytest.mark.parametrize("name", ["photo.png", "export.json"])
def test_a_folder_of_something_else_is_left_alone(tmp_path, name):
    (tmp_path / "exported").mkdir()
    (tmp_path / "exported" / name).write_text("mine")
    with pytest.raises(ConfigError, match="nothing in it was changed"):
        write_marks(tmp_path, "one")
    assert (tmp_path / "exported" / name).read_text() == "mine"


def test_an_export_with_a_foreign_file_is_left_alone(tmp_path):
    first = write_marks(tmp_path, "one")
    (tmp_path / "exported" / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"notes\.txt"):
        write_marks(tmp_path, "two")
    assert read_manifest(tmp_path / "exported") == first


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "exported").write_text("mine")
    with pytest.raises(ConfigError, match="is a file"):
        write_marks(tmp_path, "one")


@pytest.mark.parametrize("error", [OSError("no space left on device"), KeyboardInterrupt()])
def test_a_failed_export_leaves_the_old_one(tmp_path, error):
    first = write_marks(tmp_path, "one")
    with pytest.raises(type(error)):
        write_marks(tmp_path, "two", error)
    assert read_manifest(tmp_path / "exported") == first
    assert (tmp_path / "exported" / "pairs.json").read_text() == "one"
    assert {path.name for path in tmp_path.iterdir()} == {"exported", "weights.pdparams"}


def test_an_export_that_paddle_cut_short_on_a_full_disk_is_an_error(tmp_path, monkeypatch):
    save = paddle.jit.save

    def cut(program, path, **more):
        save(program, path, **more)
        os.truncate(f"{path}.pdiparams", 100)  # without a word, as it does

    monkeypatch.setattr(paddle.jit, "save", cut)
    with pytest.raises(OSError, match="No space left on device"):
        write(MODEL, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["weights.pdparams"]


def test_what_cannot_be_exported_is_explained(tmp_path):
    with pytest.raises(WeightsError, match="no validation has chosen"):
        write(build(head={"similarity_weight": "auto"}), tmp_path)
    with pytest.raises(DataError, match="max_position_embeddings"):
        long = Sizes(30, 7, 12, 3, 10)
        export.export_model(MODEL, tmp_path / "x", long, WORDS, tmp_path / "weights.pdparams")
    with pytest.raises(ConfigError, match="61 words"):
        words = Vocabulary("other.txt", 61)
        export.export_model(MODEL, tmp_path / "x", TINY, words, tmp_path / "weights.pdparams")
    with pytest.raises(ConfigError, match="not a Linear"):
        export.export_model(paddle.nn.Linear(1, 1), tmp_path / "x", TINY, WORDS, tmp_path)
    assert not (tmp_path / "x").exists()


def drop(path):
    path.unlink()


def shorten(path):
    path.write_bytes(path.read_bytes()[:-1])


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("damage", "name", "message"),
    [
        (drop, "videos.pdiparams", r"videos\.pdiparams is missing"),
        (shorten, "pairs.pdiparams", r"pairs\.pdiparams has \d+ bytes"),
        (flip, "captions.pdiparams", r"captions\.pdiparams is damaged"),
        (drop, "export.json", "is not an exported model"),
        (shorten, "export.json", r"export\.json is damaged|cannot"),
    ],
)
def test_a_damaged_file_is_named(copied, damage, name, message):
    if name == "export.json" and damage is shorten:
        (copied / name).write_text((copied / name).read_text().rstrip())
    damage(copied / name)
    with pytest.raises(WeightsError, match=message) as caught:
        ExportedModel(copied)
    assert "Export the model again" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "has format 2"),
        ({"sizes": None}, "is damaged"),
        ({"programs": {}}, "is damaged"),
        ({"files": {"../weights.pdparams": {"bytes": 1, "sha256": ""}}}, "is missing"),
    ],
)
def test_a_wrong_manifest_is_named(copied, change, message):
    record = json.loads((copied / "export.json").read_text())
    (copied / "export.json").write_text(json.dumps({**record, **change}))
    with pytest.raises(WeightsError, match=message):
        ExportedModel(copied)


def test_a_program_that_paddle_cannot_read_is_explained(copied):
    record = json.loads((copied / "export.json").read_text())
    name = next(x for x in record["files"] if x.startswith("pairs.") and "params" not in x)
    (copied / name).rename(copied / "pairs.other")
    record["files"]["pairs.other"] = record["files"].pop(name)
    (copied / "export.json").write_text(json.dumps(record))
    with pytest.raises(WeightsError, match="cannot load what Paddle"):
        ExportedModel(copied)


def test_a_pickle_beside_the_programs_is_refused(copied):
    (copied / "videos.pdiparams.info").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(WeightsError, match="would run code"):
        ExportedModel(copied)


def test_arrays_that_do_not_fit_are_named(written):
    exported, batch = ExportedModel(written[2]), make_batch(clips=2)
    with pytest.raises(DataError, match=r"image_feat has shape \(2, 7, 11\).*\(any, 7, 12\)"):
        wrong = {**videos_of(batch), "image_feat": batch["image_feat"][..., :11]}
        exported.encode_videos(wrong)
    with pytest.raises(DataError, match="13 ids"):
        exported.encode_captions(captions_of(make_batch(words=13)))
    with pytest.raises(DataError, match="needs image_loc"):
        exported.encode_videos({"image_feat": batch["image_feat"]})


def test_weights_that_are_not_finite_are_neither_exported_nor_run(tmp_path, monkeypatch):
    model = build()
    weight = model.backbone.encoder.layers["text"][0].attention.query.weight
    weight.set_value(paddle.full_like(weight, float("nan")))
    with pytest.raises(WeightsError, match="query.weight holds NaN"):
        write(model, tmp_path)
    monkeypatch.setattr(export, "first_non_finite", lambda arrays: None)  # as exports used to be
    write(model, tmp_path)
    with pytest.raises(WeightsError, match="captions: the exported weight .* holds NaN"):
        ExportedModel(tmp_path / "exported")
