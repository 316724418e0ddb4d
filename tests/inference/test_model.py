"""``pv.load``: vectors, scores and searches from Python, of videos and of their features."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

import paddlevideo as pv
from paddlevideo.extract.run import extract
from paddlevideo.extract.work import ExtractOptions
from paddlevideo.utils.errors import ConfigError, DataError, WeightsError
from tests.video_data import NAMES, OUTPUT, TEXTS, train_on_videos


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Videos, their store, and a run that trained on them and was tested."""
    folder = tmp_path_factory.mktemp("run")
    train_on_videos(folder)
    (folder / "empty").mkdir()
    return folder


@pytest.fixture(scope="module")
def model(run):
    return pv.load(run / OUTPUT)


@pytest.fixture(scope="module")
def tested(run):
    with np.load(run / "tested" / "scores.npz") as arrays:
        return {name: arrays[name] for name in arrays.files}


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_scores_are_those_of_a_test(run, model, tested):
    videos = model.encode_videos(run / "data/videos.store")
    assert videos.names == tested["video_ids"].tolist() == NAMES
    assert len(videos) == 5 and repr(videos) == "EncodedVideos(5 clips)"
    captions = tested["captions"].tolist()
    assert len(set(captions)) == 3
    scores = model.score(captions, videos)
    assert scores.dtype == np.float32 and scores.shape == (5, 5)
    close(scores, tested["scores"])
    close(model.score(captions, str(run / "data/videos.store")), tested["scores"])
    close(model.match_probability(captions, videos), 1 / (1 + np.exp(-tested["margins"])))
    assert np.ptp(scores) > 1e-3


def test_dot_products_of_vectors_are_the_similarities_of_a_search(run, model, tested):
    texts = model.embed_text(TEXTS)
    names, videos = model.embed_videos(run / "data/videos.store")
    assert texts.shape == (3, 8) and videos.shape == (5, 8) and names == NAMES
    assert texts.dtype == videos.dtype == np.float32
    close(np.linalg.norm(np.concatenate([texts, videos]), axis=1), 1)
    similarities = texts @ videos.T * model.similarity_scale
    close(similarities[[0, 1, 2, 0, 1]], tested["similarities"])
    assert model.similarity_weight == 0.5
    for row, text in zip(similarities, TEXTS, strict=True):
        answers = model.search(run / "data/videos.store", text)
        assert len(answers) == 5 and sorted(each.clip for each in answers) == NAMES
        close([each.similarity for each in answers], [row[names.index(a.clip)] for a in answers])
        close([a.score for a in answers], [a.margin + 0.5 * a.similarity for a in answers])
    assert list((run / OUTPUT / "search_index").iterdir())


def test_encoded_videos_are_searched_as_their_store_is(run, model):
    videos = model.encode_videos(run / "videos")
    for text in TEXTS:
        expected = model.search(run / "data/videos.store", text, best=3)
        found = model.search(videos, text, best=3)
        assert [each.clip for each in found] == [each.clip for each in expected]
        for name in ("score", "margin", "similarity"):
            close([getattr(a, name) for a in found], [getattr(a, name) for a in expected])


def test_batches_change_nothing(run, model):
    vectors = model.embed_text(TEXTS), model.embed_videos(run / "data/videos.store").vectors
    scores = model.score(TEXTS, run / "data/videos.store")
    for size in (1, 2, 100):
        pairs = ["MODEL.pair_batch=3"]
        other = pv.load(run / OUTPUT, batch_size=size, overrides=pairs)
        close(other.embed_text(TEXTS), vectors[0])
        close(other.embed_videos(run / "data/videos.store").vectors, vectors[1])
        close(other.score(TEXTS, run / "data/videos.store"), scores)
    assert model.embed_text([]).shape == (0, 8)
    assert model.score([], run / "data/videos.store").shape == (0, 5)
    close(model.score(TEXTS[0], run / "data/videos.store"), scores[:1])


def test_videos_are_extracted_as_the_training_clips_were(run, model):
    expected = model.embed_videos(run / "data/videos.store").vectors
    np.savez(run / "videos" / "other.npz", expected)  # does not make it a folder of features
    files = [run / "videos" / f"{name}.mp4" for name in reversed(NAMES)]
    for videos, names in (
        (run / "videos", NAMES),
        ((str(file) for file in files[:3]), NAMES[:1:-1]),
        (files[4], NAMES[:1]),
    ):
        found = model.embed_videos(videos)
        assert found.names == names
        close(found.vectors, expected[[NAMES.index(name) for name in names]])


def test_a_long_video_can_be_several_clips(run, model):
    model.extraction = pv.Extraction(seconds=1)
    try:
        names, vectors = model.embed_videos(run / "videos" / "dog.mp4")
    finally:
        model.extraction = pv.Extraction()
    assert names == ["dog_0_1", "dog_1_2"] and vectors.shape == (2, 8)


def test_clips_that_do_not_fit_into_memory_are_read_again(run, model, tmp_path, monkeypatch):
    """From the temporary store, which lives as long as they do."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    kept = model.encode_videos(run / "videos")
    assert not list(tmp_path.iterdir())
    small = pv.load(run / OUTPUT, overrides=["MODEL.gallery_gigabytes=0"])
    streamed = small.encode_videos(run / "videos")
    assert list(tmp_path.iterdir())
    close(small.score(TEXTS, streamed), model.score(TEXTS, kept))
    close(streamed.vectors, kept.vectors)
    del streamed
    assert not list(tmp_path.iterdir())


def test_without_a_head_there_are_scores_and_no_vectors(run, tested):
    bare = pv.load(run / OUTPUT, overrides=["MODEL.retrieval_head=null"])
    videos = bare.encode_videos(run / "data/videos.store")
    close(bare.score(tested["captions"].tolist(), videos), tested["margins"])
    assert bare.similarity_weight == 0
    best = bare.search(run / "data/videos.store", TEXTS[0], best=2)
    assert [each.clip for each in best] == [a.clip for a in bare.search(videos, TEXTS[0], best=2)]
    for wanted in (
        lambda: bare.embed_text(TEXTS),
        lambda: bare.embed_videos(run / "videos"),
        lambda: videos.vectors,
        lambda: bare.similarity_scale,
    ):
        with pytest.raises(ConfigError, match="trained without one.*compare with score"):
            wanted()


def test_a_changed_store_is_searched_as_it_is_now(run, model, tmp_path):
    store = tmp_path / "videos.store"
    shutil.copytree(run / "data/videos.store", store)
    assert len(model.search(store, TEXTS[0])) == 5
    shutil.rmtree(store)
    assert extract(ExtractOptions(run / "videos" / "holiday.mp4", store)) == 0
    assert [each.clip for each in model.search(store, TEXTS[0])] == ["holiday"]


def test_a_video_that_fails_is_left_out_on_request(run, model, tmp_path, caplog):
    (tmp_path / "bad.mp4").touch()
    videos = [tmp_path / "bad.mp4", run / "videos" / "cooking.mp4"]
    with pytest.raises(
        DataError, match=r"1 of 2 videos could not be used: .*bad\.mp4.*skip_failed"
    ):
        model.embed_videos(videos)
    tolerant = pv.load(run / OUTPUT, extraction=pv.Extraction(skip_failed=True))
    assert tolerant.embed_videos(videos).names == [f"{run.name}/videos/cooking"]
    assert "1 of 2 videos could not be used" in caplog.text
    with pytest.raises(DataError, match="1 of 1 videos could not be used"):
        tolerant.embed_videos(tmp_path / "bad.mp4")


@pytest.mark.parametrize(
    ("mistake", "kind", "message"),
    [
        (lambda m, f: m.embed_text(["a dog", " "]), ConfigError, "is empty"),
        (lambda m, f: m.embed_text(["a dog", 3.0]), ConfigError, r"texts\[1\]: 3.0 is a float"),
        (lambda m, f: m.search(f / "data/videos.store", ["a"]), ConfigError, "text: .* is a list"),
        (lambda m, f: m.search(f / "data/videos.store", "a", best=0), ConfigError, "best is 0"),
        (lambda m, f: m.embed_text(None), ConfigError, "expected a text or a list of texts"),
        (lambda m, f: m.embed_videos(7), ConfigError, "7 is a int; expected a path or a list"),
        (lambda m, f: m.search("x", "a", best=2.5), ConfigError, "best is 2.5; expected a whole"),
        (lambda m, f: m.embed_videos(""), ConfigError, "'' is a str; expected a path"),
        (lambda m, f: m.score(" ", f / "nowhere"), ConfigError, "is empty"),
        (lambda m, f: m.search(f / "nowhere", " "), ConfigError, "is empty"),
        (lambda m, f: m.embed_videos([]), ConfigError, "the list is empty"),
        (lambda m, f: m.embed_videos([b"cooking.mp4"]), ConfigError, "is a bytes; expected a path"),
        (lambda m, f: m.embed_videos([f / "v.mp4"] * 2), ConfigError, "is listed twice"),
        (lambda m, f: m.embed_videos([f / "videos"] * 2 + ["a"]), ConfigError, "listed twice"),
        (lambda m, f: m.embed_videos(["a", f / "videos"]), ConfigError, "give one folder"),
        (lambda m, f: m.embed_videos(f / "nowhere"), DataError, "no such file or folder"),
        (lambda m, f: m.embed_videos(f / "tested"), DataError, "lacks regions"),
        (lambda m, f: m.embed_videos(f / "empty"), DataError, "holds no video"),
        (lambda m, f: m.score("a", "no.mp4"), DataError, r"no\.mp4: there is no such"),
        (lambda m, f: pv.load(f / "absent"), WeightsError, "no such weight file"),
        (lambda m, f: pv.load(f / OUTPUT, "x.yaml"), ConfigError, r"x\.yaml"),
        (
            lambda m, f: pv.load(f / OUTPUT, batch_size=0).embed_text("a"),
            ConfigError,
            "size is 0",
        ),
    ],
)
def test_a_mistake_is_one_clear_line(run, model, mistake, kind, message):
    with pytest.raises(kind, match=message) as raised:
        mistake(model, run)
    assert "\n" not in str(raised.value)


def test_encoded_videos_belong_to_their_model(run, model):
    other = pv.load(run / OUTPUT)
    with pytest.raises(ConfigError, match="encoded by another model"):
        other.score("a", model.encode_videos(run / "data/videos.store"))


def test_weights_without_a_record_of_their_extraction_say_so(run, tmp_path):
    shutil.copytree(run / OUTPUT, tmp_path / "output", ignore=shutil.ignore_patterns("*.json"))
    alone = pv.load(tmp_path / "output")
    with pytest.raises(ConfigError, match=r"no extraction\.json beside it"):
        alone.embed_videos(run / "videos")
    alone.extraction = pv.Extraction("extract/classical.yaml")
    assert alone.embed_videos(run / "videos" / "cooking.mp4").names == ["cooking"]


def test_weights_of_another_task_say_what_they_do(run):
    head = ["MODEL.framework=ActBertTask", "MODEL.head.name=CaptionHead"]
    with pytest.raises(ConfigError, match="its CaptionHead describes videos.*paddlevideo predict"):
        pv.load(run / OUTPUT, overrides=head)


def test_unknown_words_are_told_once_for_all_texts(model, caplog):
    model.embed_text(["a \u6d0b dog", "the \u6d0b soup", "a dog"])
    (record,) = caplog.records
    assert record.getMessage().count("unknown words") == 2
