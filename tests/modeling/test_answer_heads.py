"""Heads that choose from listed answers: losses, logits, and the list in the checkpoint."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

from paddlevideo.modeling import build_model, load_weights
from paddlevideo.modeling.heads.answers import LIST, decoded
from paddlevideo.modeling.transfer import to_tensors
from paddlevideo.utils.errors import ConfigError, DataError, WeightsError
from tests.modeling.tiny import SIZES, make_batch

ANSWERS = ["red", "green", "red", "blue", "red", "green"]


class Questions:
    """What a head needs of a data set."""

    def answers(self):
        return ANSWERS

    def pieces(self, text):
        return [10 + len(text), 20] if text == "green" else [10 + len(text)]


def make(name="BlankHead", ready=True, **options):
    paddle.seed(0)
    backbone = {"name": "BertForMultiModalPreTraining", **SIZES, "fusion_dropout_prob": 0.0}
    model = build_model(
        {"framework": "ActBertTask", "backbone": backbone, "head": {"name": name, **options}}
    )
    model.eval()
    if ready:
        model.set_up_from(Questions())
    return model


def questions(answers=("green", "red", "other"), **options):
    batch = make_batch(clips=len(answers), **options)
    return {**batch, "blank": np.arange(1, len(answers) + 1) % 3, "answer": list(answers)}


def part(batch, rows):
    return {key: value[rows] for key, value in batch.items()}


HEADS = pytest.mark.parametrize("name", ["BlankHead", "AnswerHead"])


@HEADS
def test_the_list_holds_the_most_frequent_answers(name):
    assert make(name, num_answers=2).head.names == ["red", "green"]
    assert make(name).head.names == ["red", "green", "blue"]
    head = make(name).head
    assert head.labels(["blue", "other", "red"]).tolist() == [2, -1, 0]


@HEADS
def test_the_loss_of_micro_batches_adds_up(name):
    model, batch = make(name), questions(("green", "red", "other", "blue"))
    counts = model.loss_counts(batch)
    assert counts == {"answer_loss": 3.0}
    whole = model(batch)
    parts = [model(part(batch, rows), counts) for rows in (slice(0, 1), slice(1, 4))]
    assert sum(float(each["loss"]) for each in parts) == pytest.approx(
        float(whole["loss"]), rel=1e-5
    )
    assert whole.accuracies["answer_accuracy"].total == 3


@HEADS
def test_answers_outside_the_list_add_nothing(name):
    model, batch = make(name), questions(("other", "else"))
    assert model.loss_counts(batch) == {"answer_loss": 0.0}
    assert float(model(batch)["loss"]) == 0


@HEADS
def test_predictions_are_the_best_answers_in_order(name):
    model, batch = make(name), questions()
    predicted = model.predict(batch, None)
    assert [sorted(row) for row in predicted["answers"]] == [["blue", "green", "red"]] * 3
    assert (np.diff(predicted["scores"], axis=1) <= 0).all()


def test_a_blanks_logit_is_that_of_its_pieces_mean():
    model, batch = make(), questions()
    head, backbone = model.head, model.backbone
    bias = np.linspace(-1, 1, head.num_answers).astype("float32")
    head.answer_bias.set_value(paddle.to_tensor(bias))
    backbone.word_head.decoder_bias.set_value(paddle.linspace(-1, 1, 60))
    states, tensors = model.encode(batch)
    logits = head.logits(states, tensors).numpy()
    words = backbone.word_head(states.text, backbone.text_embeddings.word.weight).numpy()
    at_blank = words[np.arange(3), batch["blank"]]
    expected = np.stack([at_blank[:, 13], at_blank[:, [15, 20]].mean(axis=1), at_blank[:, 14]], 1)
    np.testing.assert_allclose(logits, expected + bias[:3], atol=1e-5)


@HEADS
def test_the_list_travels_with_the_weights(name, tmp_path):
    model, batch = make(name), questions()
    path = str(tmp_path / "task.pdparams")
    paddle.save(model.to_released(model.state_dict()), path)
    other = make(name, ready=False)
    load_weights(other, path, for_test=True)
    assert other.head.names == ["red", "green", "blue"]
    first, second = (each.predict(batch, None) for each in (model, other))
    assert first["answers"] == second["answers"]
    np.testing.assert_allclose(first["scores"], second["scores"], atol=1e-6)


@HEADS
def test_another_list_than_the_checkpoints_is_refused(name, tmp_path):
    model, path = make(name), str(tmp_path / "task.pdparams")
    paddle.save(model.to_released(model.state_dict()), path)
    (tmp_path / "answers.txt").write_text("red\nyellow\nblue\n")
    given = str(tmp_path / "answers.txt")
    with pytest.raises(WeightsError, match=r'list of 3 answers, the first .* "green".*answers.txt'):
        load_weights(make(name, ready=False, answers=given), path)
    if name == "BlankHead":
        with pytest.raises(WeightsError, match="num_answers is 2"):
            load_weights(make(name, ready=False, num_answers=2), path)


def test_a_list_from_a_file(tmp_path):
    path = tmp_path / "answers.txt"
    path.write_text("\N{BYTE ORDER MARK}green\n\nblue\n")
    head = make(answers=str(path)).head
    assert head.names == ["green", "blue"] and head.pieces == [[15, 20], [14]]
    for text, message in (("", "no answers"), ("a\nb\na\n", '"a" twice'), ("a\nb\nc\n", "has 3")):
        path.write_text(text)
        with pytest.raises(ConfigError, match=message):
            make(answers=str(path), num_answers=2 if "c" in text else 9)
    with pytest.raises(ConfigError, match="cannot be read"):
        make(answers=str(tmp_path / "absent.txt"))


def test_what_a_test_needs_is_named(tmp_path):
    model, path = make(), str(tmp_path / "weights.pdparams")
    state = model.to_released(model.state_dict())
    paddle.save({name: x for name, x in state.items() if "head." not in name}, path)
    with pytest.raises(WeightsError, match=r"lack .*head"):
        load_weights(make(ready=False), path, for_test=True)
    load_weights(make(ready=False), path)  # to train from
    with pytest.raises(ConfigError, match="no list of answers yet"):
        make(ready=False)(questions())
    with pytest.raises(ConfigError, match=r"object has no answers.*BlankHead"):
        make(ready=False).set_up_from(object())


def test_a_damaged_list_is_named():
    state = make().state_dict()[f"head.{LIST}"].numpy()
    assert decoded(state)[0] == ["red", "green", "blue"]
    for broken in (state[:-3], np.zeros(0, np.uint8), np.frombuffer(b'{"answers": []}', np.uint8)):
        with pytest.raises(WeightsError, match=r"head.answer_list in the weights is damaged"):
            decoded(broken)


def test_open_questions_are_learned_from_clips_and_words():
    """The answer needs both: which word is asked for decides which stream's sign counts."""
    rng = np.random.default_rng(0)
    batch = questions(["x"] * 64, words=8, regions=4, actions=1)
    batch["text_mask"][:], batch["image_mask"][:] = 1, 1
    asked, shown = rng.integers(0, 2, 64), rng.integers(0, 2, 64)
    batch["text_ids"][:, 1] = 30 + asked
    batch["image_feat"][:] = np.where(shown[:, None, None], 1.0, -1.0)
    batch["answer"] = [["red", "green"][at] for at in asked ^ shown]
    model = make("AnswerHead")
    model.train()
    rate = paddle.optimizer.AdamW(3e-3, parameters=model.parameters())
    for _ in range(60):
        model(batch)["loss"].backward()
        rate.step()
        rate.clear_grad()
    model.eval()
    predicted = [row[0] for row in model.predict(batch, None)["answers"]]
    assert np.mean([a == b for a, b in zip(predicted, batch["answer"], strict=True)]) > 0.95


def test_the_window_reads_the_words_beside_the_blank_only_where_they_are():
    model, batch = make(window=2, window_size=8), questions()
    head = model.head
    states, tensors = model.encode(batch)
    read = head._beside(tensors["text_ids"], tensors["text_mask"], tensors["blank"]).numpy()
    table = model.backbone.text_embeddings.word.weight.numpy()
    width = table.shape[1]
    for row, blank in enumerate(batch["blank"].tolist()):
        ids = batch["text_ids"][row]
        near = [ids[blank + step] if blank + step >= 0 else 0 for step in (-2, -1, 1, 2)]
        others = [at for at in range(len(ids)) if batch["text_mask"][row, at] and at != blank]
        expected = np.stack([*table[near], table[ids[others]].mean(axis=0)])
        expected -= expected.mean(axis=1, keepdims=True)
        expected /= np.sqrt(expected.var(axis=1, keepdims=True) + 1e-5)
        np.testing.assert_allclose(read[row].reshape(5, width), expected, atol=1e-4)
    before = head.logits(states, tensors).numpy()
    head.reader[-1].bias.set_value(paddle.ones([width]))
    assert np.abs(head.logits(states, tensors).numpy() - before).max() > 1e-3


def test_padding_does_not_change_what_the_window_reads():
    model, batch = make(window=3, window_size=8), questions()
    longer = {**batch, **{k: np.pad(batch[k], ((0, 0), (0, 4))) for k in ("text_ids", "text_mask")}}
    longer["token_type_ids"] = np.zeros_like(longer["text_ids"])
    states = model.encode(batch)[0]
    first = model.head.logits(states, model.encode(batch)[1])
    second = model.head.logits(states, model.encode(longer)[1])
    np.testing.assert_allclose(first.numpy(), second.numpy(), atol=1e-6)


def test_components_are_those_of_the_standardized_features():
    model = make(components=3)
    batches = [questions(seed=seed) for seed in range(4)]
    model.fit(batches, lambda array: array)
    head = model.head
    features = [head.clip.features(to_tensors(batch)).numpy() for batch in batches]
    x = np.concatenate(features).astype(np.float64)
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    states, tensors = model.encode(batches[1])
    _, spread, axes = np.linalg.svd(x, full_matrices=False)
    expected = x[3:6] @ axes[:3].T / np.sqrt((spread[:3] ** 2).mean() / len(x))
    found = head.clip(tensors).numpy()
    np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-3)
    assert model.num_fit_samples() > 0 and make().num_fit_samples() == 0
    before = head.logits(states, tensors).numpy()
    head.clip_map.weight.set_value(paddle.ones(head.clip_map.weight.shape))
    assert np.abs(head.logits(states, tensors).numpy() - before).max() > 1e-3


def test_ranks_fit_the_components_of_one():
    batches = [questions(seed=seed) for seed in range(4)]
    sums = [[], []]
    for kept, some in zip(sums, (batches[:1], batches[1:]), strict=True):
        make(components=2).fit(some, lambda array, kept=kept: kept.append(array) or array)
    others = iter(sums[1])
    ranks, one = make(components=2), make(components=2)
    ranks.fit(batches[:1], lambda array: array + next(others))
    one.fit(batches, lambda array: array)
    np.testing.assert_allclose(
        np.abs(ranks.head.clip.axes.numpy()), np.abs(one.head.clip.axes.numpy()), atol=1e-4
    )


def test_what_components_cannot_be_fitted_to_is_named():
    batch = questions()
    batch["image_feat"][1, 0, 2] = np.nan
    with pytest.raises(DataError, match="not finite"):
        make(components=2).fit([batch], lambda array: array)
    with pytest.raises(DataError, match="0 samples"):
        make(components=2).fit([], lambda array: array)
    with pytest.raises(ConfigError, match="components is 99, but a clip has only 22"):
        make(components=99)
