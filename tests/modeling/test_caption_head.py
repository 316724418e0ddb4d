"""The head that writes captions, and its beam search."""

import itertools
import threading

import numpy as np
import paddle
import pytest

import paddlevideo as pv
from paddlevideo.modeling.beam import BeamSettings, search
from paddlevideo.modeling.heads.caption import Following
from paddlevideo.utils.errors import ConfigError, DataError
from tests.modeling.tiny import SIZES, make_batch

START, END = 1, 2


def build(seed=0, **options):
    paddle.seed(seed)
    head = {"name": "CaptionHead", "layers": 2, "num_attention_heads": 2, "max_length": 6}
    backbone = {"name": "BertForMultiModalPreTraining", **SIZES}
    model = pv.build_model(
        {"framework": "ActBertTask", "backbone": backbone, "head": {**head, **options}}
    )
    rng = np.random.default_rng(seed)
    for parameter in model.parameters():
        if parameter.ndim == 2:
            noise = rng.normal(0, 0.25, parameter.shape).astype("float32")
            parameter.set_value(paddle.to_tensor(noise))
    model.eval()
    return model


def make_clips(clips=3, length=6, seed=0):
    """Clips with captions of different lengths."""
    rng = np.random.default_rng(seed)
    batch = make_batch(seed, clips)
    batch = {key: x for key, x in batch.items() if key.startswith(("image_", "action_"))}
    target = np.zeros((clips, length), np.int64)
    for row, words in zip(target, itertools.cycle([length - 2, 2, 1]), strict=False):
        row[: words + 2] = [START, *rng.integers(3, 60, words), END]
    sentence = np.tile([START, END], (clips, 1))
    text = {"token_type_ids": np.zeros_like(sentence), "text_mask": np.ones_like(sentence)}
    return {**batch, "text_ids": sentence, **text, "target_ids": target}


def log_probability(model, batch, clip, words):
    """The log probability of a caption, from the loss of the clip alone."""
    one = {key: x[clip : clip + 1] for key, x in batch.items()}
    one["target_ids"] = np.array([[START, *words, END]])
    return -float(model(one, {"caption_loss": 1.0})["caption_loss"])


def test_the_loss_is_the_mean_over_the_words_of_all_captions():
    model, batch = build(), make_clips()
    assert model.loss_counts(batch) == {"caption_loss": 5 + 3 + 2}
    total = sum(
        log_probability(model, batch, clip, [w for w in row[1:] if w not in (0, END)])
        for clip, row in enumerate(batch["target_ids"])
    )
    assert float(model(batch)["loss"]) == pytest.approx(-total / 10, rel=1e-5)


def test_label_smoothing_mixes_in_the_mean_over_all_words():
    batch = make_clips()
    plain, smooth = build(), build(label_smoothing=0.25)
    states, tensors = plain.encode(batch)
    hidden = plain.head.decoder(
        plain.head.embed(tensors["target_ids"][:, :-1]), plain.head.read(states, tensors)
    )
    logs = paddle.nn.functional.log_softmax(plain.head.logits(hidden.flatten(0, 1))).numpy()
    kept = batch["target_ids"][:, 1:].ravel() != 0
    expected = 0.75 * float(plain(batch)["loss"]) - 0.25 * logs[kept].mean()
    assert float(smooth(batch)["loss"]) == pytest.approx(expected, rel=1e-5)


def test_a_word_does_not_see_later_words():
    model, batch = build(), make_clips()
    states, tensors = model.encode(batch)
    memory = model.head.read(states, tensors)
    words = tensors["target_ids"]
    other = words.clone()
    other[:, 3:] = 7
    first, second = (
        model.head.decoder(model.head.embed(x), memory).numpy() for x in (words, other)
    )
    np.testing.assert_allclose(first[:, :3], second[:, :3], atol=1e-5)
    assert np.abs(first[:, 3:] - second[:, 3:]).max() > 1e-2


def test_cached_steps_equal_the_whole_caption():
    model, batch = build(), make_clips()
    states, tensors = model.encode(batch)
    head = model.head
    whole = head.decoder(head.embed(tensors["target_ids"]), head.read(states, tensors))
    following = Following(head, head.read(states, tensors))
    rows = np.arange(3)
    for position in range(4):
        logs = following(batch["target_ids"][:, position], rows)
        expected = paddle.nn.functional.log_softmax(head.logits(whole[:, position])).numpy()
        np.testing.assert_allclose(logs[:, 1:], expected[:, 1:], atol=1e-4)


@pytest.mark.parametrize("streams", [["actions"], ["regions", "actions"], ["text", "regions"]])
def test_captions_depend_on_the_streams_that_are_read(streams):
    model, batch = build(streams=streams), make_clips()
    loss = float(model(batch)["loss"])
    changed = {**batch, "action_feat": batch["action_feat"][::-1].copy()}
    # released weights' regions and words read the actions, never the other way round
    assert float(model(changed)["loss"]) != pytest.approx(loss, abs=1e-6)
    changed = {**batch, "image_feat": batch["image_feat"][::-1].copy()}
    same = float(model(changed)["loss"]) == pytest.approx(loss, abs=1e-6)
    assert same == (streams == ["actions"])


def test_padding_of_a_batch_does_not_change_a_caption():
    model, batch = build(streams=["regions", "actions"]), make_clips()
    together = model.predict(batch, None)
    for clip in range(3):
        alone = model.predict({key: x[clip : clip + 1] for key, x in batch.items()}, None)
        np.testing.assert_array_equal(alone["words"][0], together["words"][clip])
        assert alone["scores"][0] == pytest.approx(together["scores"][clip], abs=1e-4)


def test_scores_of_found_captions_are_their_log_probabilities():
    model, batch = build(beam=4, length_penalty=0.5), make_clips()
    found = model.predict(batch, None)
    for clip in range(3):
        words = [word for word in found["words"][clip] if word]
        if len(words) < 6:  # else it has no end
            expected = log_probability(model, batch, clip, words) / (len(words) + 1) ** 0.5
            assert found["scores"][clip] == pytest.approx(expected, abs=1e-4)


def test_the_word_embedding_is_the_backbones_alone():
    model = build(train_words=False)
    names = [name for name, _ in model.head.named_parameters()]
    assert not any("embedding" in name for name in names)
    word = model.backbone.text_embeddings.word.weight
    assert word.stop_gradient
    model.train()
    model(make_clips())["loss"].backward()
    assert word.grad is None
    trained = build()
    trained(make_clips())["loss"].backward()
    assert float(trained.backbone.text_embeddings.word.weight.grad.abs().max()) > 0


def test_word_dropout_hides_words_in_training_only():
    model, batch = build(word_dropout=1.0, dropout=0.0, attention_dropout=0.0), make_clips()
    changed = {**batch, "target_ids": batch["target_ids"].copy()}
    changed["target_ids"][0, 1] = 9
    before = [x["target_ids"][:, :-1] for x in (batch, changed)]
    assert not np.array_equal(*before)
    evaluated = [model.head.embed(paddle.to_tensor(x)).numpy() for x in before]
    assert not np.allclose(*evaluated)
    model.train()
    trained = [model.head.embed(paddle.to_tensor(x)).numpy() for x in before]
    np.testing.assert_allclose(*trained)


def test_captions_longer_than_the_head_allows():
    with pytest.raises(DataError, match="max_length is 6: raise it"):
        build()(make_clips(length=9))


def test_no_streams_is_an_error():
    with pytest.raises(ConfigError, match="names no stream"):
        build(streams=[])


# --------------------------------------------------------------------------------- search


def chain(table):
    """Following words depend on the word before, as rows of ``table`` (V, V) say."""
    logs = np.log(np.asarray(table) / np.sum(table, axis=1, keepdims=True))
    return lambda words, rows: logs[words]


def brute_force(table, longest, penalty):
    """All sequences of at most ``longest`` words, the end included, with their ratings."""
    logs = np.log(np.asarray(table) / np.sum(table, axis=1, keepdims=True))
    words = [w for w in range(len(table)) if w != END]
    rated = {}
    for length in range(1, longest):
        for sequence in itertools.product(words, repeat=length):
            steps = zip((START, *sequence), (*sequence, END), strict=True)
            rated[sequence] = sum(logs[a, b] for a, b in steps) / (length + 1) ** penalty
    return rated


@pytest.mark.parametrize("penalty", [0.0, 0.7, 1.5])
def test_a_wide_beam_finds_the_best_of_all_sequences(penalty):
    table = np.random.default_rng(3).random((5, 5)) ** 3 + 1e-3
    rated = brute_force(table, 5, penalty)
    settings = BeamSettings(width=150, longest=5, length_penalty=penalty, no_repeat=0)
    (found,) = search(1, START, END, chain(table), settings)
    best = max(rated, key=rated.get)
    assert tuple(found[0][1]) == best
    assert found[0][0] == pytest.approx(rated[best])


def test_a_beam_of_one_takes_the_most_probable_word():
    table = np.full((5, 5), 0.01)
    table[START, 3], table[3, 4], table[4, END] = 1, 1, 1
    settings = BeamSettings(width=1, longest=5, length_penalty=1.0, no_repeat=0)
    assert [words for ((_, words),) in search(2, START, END, chain(table), settings)] == [
        [3, 4]
    ] * 2


def test_no_pair_of_words_occurs_twice():
    table = np.full((6, 6), 0.01)
    table[START, 3], table[3, 4], table[4, 3] = 1, 1, 1
    table[:, END] = 0.02
    settings = BeamSettings(width=3, longest=7, length_penalty=2.0, no_repeat=0)
    (free,) = search(1, START, END, chain(table), settings)
    assert free[0][1][:4] == [3, 4, 3, 4]
    (found,) = search(1, START, END, chain(table), BeamSettings(3, 7, 2.0, no_repeat=2))
    for _, words in found:
        pairs = list(itertools.pairwise(words))
        assert len(pairs) == len(set(pairs))


def test_a_caption_has_at_least_a_word():
    table = np.full((4, 4), 0.1)
    table[:, END] = 100
    (found,) = search(1, START, END, chain(table), BeamSettings(2, 5, 1.0, 0))
    assert len(found[0][1]) >= 1


# ---------------------------------------------------------------------- closed-form part


def alone(array):
    return np.asarray(array, np.float64)


def fitted(batches=6, **options):
    """A head that was fitted to clips whose first action feature decides their second word."""
    model = build(words=12, fitted_words=6, penalty=0.01, **options)
    made = []
    for number in range(batches):
        batch = make_clips(16, seed=number)
        batch["index"] = np.arange(16) + 16 * number
        shown = batch["action_feat"][:, 0, 0] > 0
        batch["target_ids"][:] = 0
        batch["target_ids"][:, :4] = [START, 50, 0, END]
        batch["target_ids"][:, 2] = np.where(shown, 51, 52)
        batch["action_mask"][:] = 0
        batch["action_mask"][:, 0] = 1
        made.append(batch)
    model.fit(iter(made), alone)
    return model, made


def test_known_words_are_the_most_frequent_ones():
    model, _ = fitted()
    ids = model.head.known.ids.numpy()
    assert set(ids[:2]) == {END, 50} and set(ids[2:4]) == {51, 52} and len(ids) == 12
    assert model.head.known.column(END) in (0, 1)
    assert model.head.known.column(59) == 11  # not known
    bias = model.head.word_bias.numpy()
    assert np.exp(bias[:2]) == pytest.approx([1 / 3, 1 / 3], abs=0.01)


def test_words_in_most_captions_are_not_fitted():
    model, _ = fitted()
    columns = model.head.word_map.word_columns.numpy()
    assert not {END, 50} & set(model.head.known.ids.numpy()[columns[:2]])


def test_the_map_is_ridge_regression_without_the_own_fold():
    model, batches = fitted()
    head = model.head
    features, index = [], np.concatenate([batch["index"] for batch in batches])
    for batch in batches:
        regions, actions = batch["image_feat"][:, 0], batch["action_feat"][:, 0]
        features.append(np.concatenate([regions, actions], axis=1).astype(np.float64))
    features = np.concatenate(features)
    x = (features - features.mean(axis=0)) / features.std(axis=0) / np.sqrt(features.shape[1])
    words = np.concatenate([batch["target_ids"][:, 2] for batch in batches])
    word = head.known.ids.numpy()[head.word_map.word_columns.numpy()[0]]
    share = (words == word).mean()
    y = ((words == word) - share) / np.sqrt(share)
    others = index // 48 % 5 != 0  # the first batch is of fold 0
    square = x[others].T @ x[others] + 0.01 * np.eye(x.shape[1])
    expected = x[:16] @ np.linalg.solve(square, x[others].T @ y[others])
    tensors = {key: paddle.to_tensor(each) for key, each in batches[0].items()}
    hints = head.hints(tensors, tensors["index"]).numpy()
    np.testing.assert_allclose(hints[:, 0], expected, atol=1e-3)
    square = x.T @ x + 0.01 * np.eye(x.shape[1])
    np.testing.assert_allclose(
        head.hints(tensors).numpy()[:, 0], x[:16] @ np.linalg.solve(square, x.T @ y), atol=1e-3
    )
    assert ((hints[:, 0] > 0) == (words[:16] == word)).mean() > 0.7


def test_captions_are_of_known_words_and_follow_the_map():
    model, batches = fitted()
    found = model.predict(batches[0], None)["words"]
    known = set(model.head.known.ids.numpy()) | {0}
    assert set(found.ravel().tolist()) <= known
    losses = []
    for weight in (0.0, 1.0):
        model.head.map_weight.set_value(paddle.to_tensor(weight))
        losses.append(float(model(batches[0])["loss"]))
    assert losses[1] < losses[0]


def test_cached_steps_equal_the_whole_caption_with_a_map():
    model, batches = fitted()
    one = {key: each[:1] for key, each in batches[0].items()}
    one["index"] = one["index"] + 10**6  # no matter: without fold maps
    model.head.word_map.fold_maps = []
    found = model.predict(one, None)
    words = [word for word in found["words"][0] if word]
    if len(words) < 6:
        expected = log_probability(model, one, 0, words) / (len(words) + 1)
        assert found["scores"][0] == pytest.approx(expected, abs=1e-4)


def test_words_that_are_not_known_are_not_learned():
    model, batches = fitted()
    batch = {key: each[:2].copy() for key, each in batches[0].items()}
    batch["target_ids"][:, 1:] = [[50, END, 0, 0, 0]] * 2
    kept = float(model(batch, {"caption_loss": 1.0})["loss"])
    batch["target_ids"][:, 3] = 59  # after the end, so that nothing else changes
    assert float(model(batch, {"caption_loss": 1.0})["loss"]) == pytest.approx(kept, rel=1e-5)


def test_fitted_words_need_known_words():
    with pytest.raises(ConfigError, match="needs words"):
        build(fitted_words=5)


def test_ranks_fit_what_one_does():
    one, batches = fitted()
    shares = [batches[::2], batches[1::2], []]
    barrier, given = threading.Barrier(3), [None] * 3

    def total_of(rank):
        def total(array):
            given[rank] = np.asarray(array, np.float64)
            barrier.wait()
            together = sum(given)
            barrier.wait()
            return together

        return total

    heads = [build(words=12, fitted_words=6, penalty=0.01).head for _ in shares]
    threads = [
        threading.Thread(target=head.fit, args=(iter(share), total_of(rank)))
        for rank, (head, share) in enumerate(zip(heads, shares, strict=True))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name, expected in one.head.state_dict().items():
        for head in heads:
            np.testing.assert_allclose(head.state_dict()[name].numpy(), expected, atol=1e-4)
    for expected, *others in zip(*(h.word_map.fold_maps for h in (one.head, *heads)), strict=True):
        for other in others:
            np.testing.assert_allclose(other.numpy(), expected.numpy(), atol=1e-3)
