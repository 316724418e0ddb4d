"""The videos' side of a test: held, or encoded again; all pairs, or those of the shortlists."""

import logging
import sys
import threading
import tracemalloc

import numpy as np
import paddle
import pytest

from paddlevideo.loader.build import BatchLoader, SampleReader
from paddlevideo.loader.sampler import GridSampler
from paddlevideo.metrics.base import EvaluationData
from paddlevideo.modeling import ActBert
from paddlevideo.modeling.match_scorer import VideoCache
from paddlevideo.retrieval import MSRVTTMetric, shortlist
from paddlevideo.retrieval import gallery as gallery_module
from paddlevideo.retrieval.gallery import Gallery
from paddlevideo.retrieval.shortlist import Ranks
from paddlevideo.retrieval.test import MarginPredictor
from paddlevideo.utils import progress
from paddlevideo.utils.errors import ConfigError, WeightsError
from tests.modeling.test_retrieval_head import with_head
from tests.modeling.tiny import build, make_batch

VIDEOS = 7


class Source:
    """A gallery that can be read by places, and counts what is read."""

    def __init__(self, clips, batch=3):
        self.clips, self.batch, self.read = clips, batch, 0

    def __len__(self):
        return len(self.clips["image_feat"])

    def __iter__(self):
        for start in range(0, len(self), self.batch):
            yield self.take(np.arange(start, min(start + self.batch, len(self))))

    def take(self, places):
        self.read += len(places)
        return {key: value[places] for key, value in self.clips.items()}


@pytest.fixture(scope="module")
def clips():
    return make_batch(1, clips=VIDEOS)


@pytest.fixture(params=["head", "no head"])
def model(request):
    return with_head() if request.param == "head" else build(pair_batch=3)


def test_a_gallery_that_does_not_fit_is_encoded_again_and_gives_the_same(model, clips, caplog):
    held = Gallery(model.encode_videos, Source(clips), 1.0)
    with caplog.at_level(logging.INFO, "paddlevideo"):
        source = Source(clips)
        streamed = Gallery(model.encode_videos, source, 1e-9)
    assert held.kept is not None and streamed.kept is None
    assert "do not fit into MODEL.gallery_gigabytes=1e-09" in caplog.text
    assert held.size == streamed.size == VIDEOS
    if model.retrieval_head is None:
        assert source.read == 3, "without vectors there is no reason to read it all"
    else:
        np.testing.assert_allclose(held.vectors, streamed.vectors, rtol=1e-6)
    captions = model.encode_captions(make_batch(2))
    np.testing.assert_allclose(
        model.margins(captions, streamed).numpy(),
        model.margins(captions, held).numpy(),
        rtol=1e-4,
        atol=1e-6,
    )


def test_a_source_that_can_only_be_iterated_is_held(model, clips):
    gallery = Gallery(model.encode_videos, iter(Source(clips)), 1e-9)
    assert gallery.kept is not None and gallery.size == VIDEOS


class Encoded:
    """The part of an encoded batch that a first stage uses."""

    nbytes = 1 << 40  # never fits

    def __init__(self, rows):
        self.vector, self.size = paddle.to_tensor(rows), len(rows)


class Numbers:
    """A gallery whose clips are numbers, of which vectors are made."""

    def __init__(self, count, width, batch):
        self.count, self.width, self.batch, self.read = count, width, batch, []

    def __len__(self):
        return self.count

    def __iter__(self):
        for start in range(0, self.count, self.batch):
            yield self.take(range(start, min(start + self.batch, self.count)))

    def take(self, places):
        places = np.asarray(places)
        self.read.append(places)
        return places

    def encode(self, places):
        steps = np.arange(self.width, dtype="float32")
        return Encoded(places[:, None].astype("float32") + steps / self.width)

    @property
    def vectors(self):
        return self.encode(np.arange(self.count)).vector.numpy()


@pytest.mark.parametrize("size", [2, 3, 5])
@pytest.mark.parametrize("count", [1, 8, 23])
def test_ranks_encode_each_video_once_and_have_all_vectors(size, count, monkeypatch):
    monkeypatch.setattr(gallery_module, "EXCHANGE", 3 * 4 * 4)  # a batch of three at once
    meeting, passed = threading.Barrier(size, timeout=60), [None] * size
    sources = [Numbers(count, 4, 3) for _ in range(size)]
    largest, made = [], [None] * size

    def run(rank):
        def gather(item):
            passed[rank] = item
            largest.append(sum(block.nbytes for block in item))
            meeting.wait()
            items = list(passed)
            meeting.wait()
            return items

        ranks = Ranks(rank, size, gather)
        made[rank] = Gallery(sources[rank].encode, sources[rank], 1.0, ranks).vectors

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for vectors in made:
        np.testing.assert_array_equal(vectors, sources[0].vectors)
    shared = np.concatenate([np.concatenate(source.read[1:] or [[]]) for source in sources])
    np.testing.assert_array_equal(np.sort(shared), np.arange(count))
    assert max(largest) <= 3 * 4 * 4


@pytest.mark.parametrize("gigabytes", [0.0, 1.0])
def test_a_long_match_with_all_clips_logs_where_it_is(clips, gigabytes, monkeypatch, caplog):
    """Without top_k, a batch of captions may take an hour in a large gallery."""
    monkeypatch.setattr(progress, "LOGGED", 0.0)
    model = with_head()
    gallery = Gallery(model.encode_videos, Source(clips), gigabytes)
    with caplog.at_level("INFO", "paddlevideo"):
        sizes = [chunk.size for chunk in gallery.chunks(3)]
    assert sizes == [3, 3, 1]
    told = [each for each in caplog.messages if each.startswith("clips matched with a batch of")]
    assert [each.split(": ")[1].split(",")[0] for each in told] == ["33 %", "67 %", "100 %"]


def test_the_vectors_of_a_gallery_are_in_memory_once():
    source = Numbers(100_000, 64, 500)
    tracemalloc.start()
    try:
        vectors = Gallery(source.encode, source, 1.0).vectors
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert vectors.nbytes == 100_000 * 64 * 4
    assert peak < 1.2 * vectors.nbytes + 100_000 * 8, "and the numbers that were read"


def test_a_kept_gallery_is_joined_tensor_by_tensor(clips):
    model = with_head()
    parts = [model.encode_videos(batch) for batch in Source(clips)]
    held = VideoCache.concatenate(iter(parts))
    expected = model.encode_videos(clips)
    joined, whole = [], []
    held._each(lambda x: joined.append(x.numpy()))
    expected._each(lambda x: whole.append(x.numpy()))
    assert len(joined) == len(whole) > 5 and held.size == VIDEOS
    for one, other in zip(joined, whole, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def predictor(model, clips, captions):
    """A predictor of ``captions``, what it told the metric, and its batches of two captions."""
    samples = [
        {"index": index, **{key: rows[index] for key, rows in captions.items() if key != "index"}}
        for index in range(len(captions["text_ids"]))
    ]
    loader = BatchLoader(SampleReader(samples), GridSampler(len(samples), 2))
    metric = MSRVTTMetric()
    data = EvaluationData(Source(clips), loader, lambda state: [state], metric.start)
    made = metric.predictor(model, data)
    assert isinstance(made, MarginPredictor)
    return made, metric.first, loader


def rows_of(made, loader):
    return [row for batch in made.batches(loader) for row in made.predict(batch)]


@pytest.mark.parametrize("gigabytes", [1.0, 1e-9])
def test_shortlisted_margins_are_those_of_the_whole_matrix(clips, gigabytes):
    model = with_head(similarity_weight=0.0)
    model.top_k, model.gallery_gigabytes = (2, 2), gigabytes
    captions = make_batch(3, clips=5)
    made, first, loader = predictor(model, clips, captions)
    lists = first.shortlists
    assert lists.text_to_video.shape == (5, 2) and lists.video_to_text.shape == (VIDEOS, 2)
    some = rows_of(made, loader)
    whole = model.margins(model.encode_captions(captions), model.encode_videos(clips)).numpy()
    for caption, row in enumerate(some):
        np.testing.assert_allclose(
            row, whole[caption, lists.of_caption(caption)], rtol=1e-4, atol=1e-6
        )
    units, unit = made.progress_units()
    assert unit == "pairs" and units == len(lists.pairs[0]) // 5


def test_the_first_stage_has_the_heads_similarities(clips):
    model = with_head()
    captions = make_batch(3, clips=5)
    _, first, _ = predictor(model, clips, captions)
    assert first.shortlists is None, "without top_k every pair is matched"
    head = model.retrieval_head
    texts, videos = model.encode_captions(captions).vector, model.encode_videos(clips).vector
    expected = (texts @ videos.t() * head.scale).detach().numpy()
    np.testing.assert_allclose(first.block(), expected, rtol=1e-4, atol=1e-5)
    pairs = np.array([0, 4, 2]), np.array([6, 0, 3])
    np.testing.assert_allclose(first.similarities(*pairs), expected[pairs], rtol=1e-4, atol=1e-5)


def test_k_beyond_captions_and_videos_is_one_stage(clips):
    model = with_head()
    model.top_k = (VIDEOS, VIDEOS)
    assert predictor(model, clips, make_batch(0))[1].shortlists is None


def test_what_would_end_the_first_stage_ends_a_test_before_its_gallery_is_read(clips, monkeypatch):
    source, captions = Source(clips), make_batch(3, clips=5)
    loader = BatchLoader(SampleReader([captions]), GridSampler(1, 1))
    model = with_head(similarity_weight="auto")
    model.top_k = (2, 2)
    metric = MSRVTTMetric()
    with pytest.raises(WeightsError, match="no validation has chosen it"):
        metric.predictor(model, EvaluationData(source, loader, None, metric.start))
    monkeypatch.setitem(sys.modules, "faiss", None)
    monkeypatch.setattr(shortlist, "APPROXIMATE_FROM", VIDEOS)
    model = with_head(first_stage="approximate")
    model.top_k = (2, 2)
    with pytest.raises(ConfigError, match="pip install faiss-cpu"):
        MSRVTTMetric().predictor(model, EvaluationData(source, loader, None, None))
    assert source.read == 0


def test_a_framework_that_predicts_itself_is_asked(clips):
    class Own(ActBert):
        def prepare(self, context):
            return len(context)

        def predict(self, batch, prepared):
            return np.zeros((len(batch["index"]), prepared))

    model = with_head()
    data = EvaluationData(Source(clips), None, None, None)
    model.__class__ = Own
    assert MSRVTTMetric().predictor(model, data).predict({"index": [0, 1]}).shape == (2, VIDEOS)


def test_captions_beyond_the_limit_are_read_and_encoded_again(clips, monkeypatch):
    model = with_head()
    captions = make_batch(3, clips=6)
    one = model.encode_captions({key: rows[:2] for key, rows in captions.items()}).nbytes
    source = Gallery(model.encode_videos, Source(clips), 1.0)
    used = 1e9 - source.spare
    read = []
    reader = SampleReader.read
    monkeypatch.setattr(
        SampleReader, "read", lambda self, epoch, at: read.append(at) or reader(self, epoch, at)
    )
    rows = {}
    for name, gigabytes in (("all", 1.0), ("one batch", (used + 1.5 * one) * 1e-9), ("none", 0)):
        model.gallery_gigabytes = gigabytes
        read.clear()
        made, _, loader = predictor(model, clips, captions)
        rows[name] = np.stack(rows_of(made, loader)), read[6:]
    assert rows["all"][1] == []
    assert rows["one batch"][1] == [2, 3, 4, 5]
    assert rows["none"][1] == [0, 1, 2, 3, 4, 5]
    for found, _ in rows.values():
        np.testing.assert_allclose(found, rows["all"][0], rtol=1e-4, atol=1e-6)


def test_top_k_needs_a_head():
    with pytest.raises(ConfigError, match="top_k=5 needs a MODEL.retrieval_head"):
        build_top_k(5)
    for wrong in (-1, [0, 3], [1, 2, 3]):
        with pytest.raises(ConfigError, match="top_k=.*expected 0, or the number of videos"):
            build_top_k(wrong)


def build_top_k(count):
    import paddlevideo as pv
    from tests.modeling.tiny import SIZES

    backbone = {"name": "BertForMultiModalPreTraining", **SIZES}
    return pv.build_model({"framework": "ActBert", "backbone": backbone, "top_k": count})


def test_a_gallery_knows_its_bytes(clips):
    cache = build().encode_videos(clips)
    sizes = []
    cache._each(lambda x: sizes.append(x.numpy().nbytes))
    assert cache.nbytes == sum(sizes) > 1000
    assert paddle.is_tensor(cache.state)
