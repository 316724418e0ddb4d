"""The four steps, alone and together."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paddlevideo.loader import FeaturePadding, RandomCap, RandomMask, Tokenize, load_tokenizer
from paddlevideo.loader.captions import open_bank
from paddlevideo.loader.clips.sample import box_vectors
from paddlevideo.utils.errors import ConfigError, DataError
from tests.loader.data import C, F, G, make_row

TOKENIZER = load_tokenizer("bert-base-uncased")


def raw(regions=3, actions=2, caption="stir it!mix it well", **more):
    row = make_row(regions=regions, actions=actions, caption=caption)
    return {
        "region_feat": row[0],
        "region_target": row[1],
        "boxes": row[2],
        "image_h": row[4],
        "image_w": row[5],
        "caption": caption,
        "action_feat": row[8],
        "action_target": row[9],
        "bert_model": "bert-base-uncased",
        "index": 7,
        **more,
    }


def rng(seed=0):
    return np.random.default_rng(seed)


@given(st.integers(1, 9), st.integers(0, 7), st.integers(1, 6), st.integers(1, 4), st.booleans())
@settings(max_examples=60, deadline=None)
def test_padding_keeps_the_first_and_zeroes_the_rest(regions, actions, most, most_actions, half):
    sample = raw(regions, actions)
    if half:  # float16 storage, as the data set hands it on
        sample["region_target"] = sample["region_target"].astype(np.float16).astype(np.float32)
    before = {key: np.copy(value) for key, value in sample.items()}
    out = FeaturePadding(most, most_actions)(sample, rng())
    kept, kept_actions = min(regions, most), min(actions, most_actions)
    assert out["image_feat"].shape == (most, F) and out["image_target"].shape == (most, C)
    np.testing.assert_array_equal(out["image_feat"][:kept], sample["region_feat"][:kept])
    np.testing.assert_allclose(out["image_target"][:kept].sum(axis=1), 1, atol=1e-6)
    assert out["image_mask"].tolist() == [1] * kept + [0] * (most - kept)
    np.testing.assert_array_equal(
        out["action_feat"][:kept_actions], sample["action_feat"][:kept_actions]
    )
    assert out["action_mask"].tolist() == [1] * kept_actions + [0] * (most_actions - kept_actions)
    for key, start in [("image_feat", kept), ("image_target", kept), ("image_loc", kept),
                       ("action_feat", kept_actions), ("action_target", kept_actions)]:  # fmt: skip
        assert not out[key][start:].any()
    for key, value in before.items():  # a step leaves what it was given as it was
        np.testing.assert_array_equal(sample[key], value)


def test_box_vectors():
    vectors = box_vectors(np.array([[10, 20, 60, 40]], np.float32), height=80, width=100)
    np.testing.assert_allclose(vectors, [[0.1, 0.25, 0.6, 0.5, 50 * 20 / 8000]], rtol=1e-6)


def test_caption_is_replaced_half_of_the_time(caption_path):
    step = RandomCap(caption_path)
    own, others = {"stir it", "mix it well"}, {"cut the onion", "add salt", "season it", "serve"}
    seen = [step(raw(), rng(seed)) for seed in range(1000)]
    drawn = sum(sample["next_sentence_label"] for sample in seen)
    assert 430 < drawn < 570
    for sample in seen:
        assert sample["caption"] in (others if sample["next_sentence_label"] else own)
    assert {sample["caption"] for sample in seen} == own | others


def test_the_rate_of_replacement_can_be_set(caption_path):
    for rate, drawn in ((0.0, {0}), (1.0, {1})):
        step = RandomCap(caption_path, rate=rate)
        assert {step(raw(), rng(seed))["next_sentence_label"] for seed in range(50)} == drawn
    with pytest.raises(ConfigError, match="rate is 2"):
        RandomCap(caption_path, rate=2)


def test_a_replacement_is_never_the_clip_s_own_caption(tmp_path):
    path = tmp_path / "captions.json"
    path.write_text(json.dumps(["stir it"] * 3 + ["serve"]))
    seen = [RandomCap(str(path))(raw(), rng(seed)) for seed in range(200)]
    assert all((sample["caption"] == "serve") == sample["next_sentence_label"] for sample in seen)
    path = tmp_path / "own.json"
    path.write_text(json.dumps(["stir it"]))
    seen = [RandomCap(str(path))(raw(), rng(seed)) for seed in range(20)]
    assert not any(sample["next_sentence_label"] for sample in seen)


def test_blank_alternatives_are_dropped(caption_path):
    captions = {
        RandomCap(caption_path)(raw(caption="! stir !  !!"), rng(s))["caption"] for s in range(40)
    }
    assert "stir" in captions and "" not in captions
    with pytest.raises(DataError, match="blank"):
        RandomCap(caption_path)(raw(caption=" ! !"), rng())


def test_caption_file_is_read_once(caption_path, monkeypatch):
    first = RandomCap(caption_path)
    monkeypatch.setattr("builtins.open", None)
    assert RandomCap(caption_path).bank is first.bank


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (None, "cannot be read"),
        ("", "is empty"),
        ("[]", "holds no captions"),
        ('{"a": 1}', "no captions of a known kind"),
        ('["cut", 3]', "caption 1 is 3"),
        ('["cut", "!"]', 'caption 1: the caption "!" is blank'),
    ],
)
def test_faulty_caption_files(tmp_path, contents, message):
    path = tmp_path / "captions.json"
    if contents is not None:
        path.write_text(contents)
    with pytest.raises(DataError, match=rf"captions\.json: .*{message}"):
        open_bank(str(path))


def test_tokenize(tmp_path):
    out = Tokenize(max_seq_length=6)(raw(caption="stir it"), rng())
    ids = TOKENIZER.encode("stir it", 6)
    assert (
        out["text_ids"].tolist() == [*ids, 0, 0] and out["text_mask"].tolist() == [1] * 4 + [0] * 2
    )
    assert not out["token_type_ids"].any() and "caption" not in out
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "stir"]
    (tmp_path / "vocab.txt").write_text("\n".join(pieces))
    own = Tokenize(str(tmp_path))(raw(caption="stir it"), rng())
    assert own["text_ids"][:5].tolist() == [2, 5, 1, 3, 0] and own["bert_model"] == str(tmp_path)
    from_dataset = Tokenize()(raw(caption="stir it", bert_model=str(tmp_path)), rng())
    np.testing.assert_array_equal(from_dataset["text_ids"], own["text_ids"])
    with pytest.raises(ConfigError):
        Tokenize(max_seq_length=2)


def ready(regions=3, actions=2, caption="stir it well", length=12, most=5):
    sample = raw(regions, actions, caption, next_sentence_label=0)
    return Tokenize(max_seq_length=length)(FeaturePadding(most, 4)(sample, rng()), rng())


@given(
    st.integers(0, 2**32),
    st.integers(1, 7),
    st.integers(0, 6),
    st.floats(0, 1, allow_subnormal=False),
    st.integers(0, 14),
)
@settings(max_examples=80, deadline=None)
def test_masking_is_consistent(seed, regions, actions, rate, words):
    sample = ready(regions, actions, "stir " * words)
    before = {key: np.copy(value) for key, value in sample.items()}
    out = RandomMask(word_rate=rate, region_rate=rate, action_rate=rate)(sample, rng(seed))
    ids, length = sample["text_ids"], int(sample["text_mask"].sum())

    labelled = out["text_labels"] != -1
    assert not labelled[0] and not labelled[length - 1 :].any()  # [CLS], [SEP], padding
    np.testing.assert_array_equal(out["text_labels"][labelled], ids[labelled])
    np.testing.assert_array_equal(out["text_ids"][~labelled], ids[~labelled])

    real = int(sample["image_mask"].sum())
    chosen = out["image_label"] == 1
    assert set(out["image_label"]) <= {1, -1} and not chosen[real:].any()
    feat = out["image_feat"]
    np.testing.assert_array_equal(feat[1:][~chosen], sample["image_feat"][~chosen])
    assert all(
        not row.any() or (row == old).all()
        for row, old in zip(feat[1:], sample["image_feat"], strict=True)
    )
    np.testing.assert_allclose(feat[0], feat[1:].sum(axis=0) / real, atol=1e-5)
    assert out["image_loc"][0].tolist() == [0, 0, 1, 1, 1]
    np.testing.assert_array_equal(out["image_loc"][1:], sample["image_loc"])
    assert out["image_mask"].tolist() == [1, *sample["image_mask"]]
    np.testing.assert_array_equal(out["image_target"], sample["image_target"])

    asked = out["action_label"] != -1
    assert not asked[int(sample["action_mask"].sum()) :].any()
    np.testing.assert_array_equal(out["action_label"][asked], sample["action_target"][asked])
    np.testing.assert_array_equal(out["action_feat"][~asked], sample["action_feat"][~asked])
    for key, value in before.items():
        np.testing.assert_array_equal(sample[key], value)


def test_rates_in_expectation():
    sample = ready(30, 4, "stir " * 30, length=32, most=30)
    step, generator = RandomMask(), rng(1)
    runs = [step(sample, generator) for _ in range(800)]
    labels = np.array([run["text_labels"] for run in runs])[:, 1:31]
    ids = np.array([run["text_ids"] for run in runs])[:, 1:31]
    chosen = labels != -1
    assert chosen.mean() == pytest.approx(0.15, abs=0.01)
    assert (ids[chosen] == TOKENIZER.mask_id).mean() == pytest.approx(0.8, abs=0.03)
    assert (ids[chosen] == labels[chosen]).mean() == pytest.approx(0.1, abs=0.02)
    other = ids[chosen & (ids != labels) & (ids != TOKENIZER.mask_id)]
    assert other.min() < 2000 and other.max() > 28500  # the whole vocabulary
    regions = np.array([run["image_label"] for run in runs]) == 1
    zeroed = ~np.array([run["image_feat"][1:] for run in runs]).any(axis=2)
    assert regions.mean() == pytest.approx(0.15, abs=0.01)
    assert zeroed[regions].mean() == pytest.approx(0.9, abs=0.02)
    actions = np.array([run["action_label"] for run in runs]) != -1
    assert actions.mean() == pytest.approx(0.15, abs=0.03)
    hidden = ~np.array([run["action_feat"] for run in runs]).any(axis=2)
    assert hidden[actions].mean() == pytest.approx(0.9, abs=0.05)


def test_everything_masked():
    step = RandomMask(
        word_rate=1, region_rate=1, action_rate=1, mask_share=1, random_share=0, zero_share=1
    )
    out = step(ready(caption="stir it well"), rng())
    assert out["text_ids"][:6].tolist() == [101, 103, 103, 103, 102, 0]
    # One action stays: a stream of nothing but zeros has no usable gradient.
    assert not out["image_feat"].any() and not out["action_feat"][1:].any()
    assert out["action_feat"][0].any() and out["action_label"][0] != -1


def test_lengths_are_compared_with_what_arrives():
    RandomMask(12, 4, 5)(ready(), rng())
    for lengths, option in [((13, 4, 5), "max_seq_length is 13.*produce 12"),
                            ((12, 5, 5), "max_action_length"),
                            ((12, 4, 36), "max_region_length")]:  # fmt: skip
        with pytest.raises(ConfigError, match=option):
            RandomMask(*lengths)(ready(), rng())


@pytest.mark.parametrize("rates", [{"word_rate": 1.2}, {"mask_share": 0.95}, {"zero_share": -0.1}])
def test_impossible_rates(rates):
    with pytest.raises(ConfigError, match="probabilities"):
        RandomMask(**rates)


def test_four_steps_give_exactly_the_table(caption_path):
    sample = raw(40, 9)
    for step in (FeaturePadding(), RandomCap(caption_path), Tokenize(), RandomMask()):
        sample = step(sample, rng())
    shapes = {key: np.shape(value) for key, value in sample.items()}
    assert shapes == {
        "text_ids": (36,), "token_type_ids": (36,), "text_mask": (36,), "text_labels": (36,),
        "image_feat": (37, F), "image_loc": (37, 5), "image_mask": (37,), "image_label": (36,),
        "image_target": (36, C), "action_feat": (5, G), "action_mask": (5,), "action_label": (5,),
        "index": (), "next_sentence_label": (),
    }  # fmt: skip


def test_impossible_padding():
    with pytest.raises(ConfigError):
        FeaturePadding(0)
