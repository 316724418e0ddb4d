"""Writes a model as three programs that run without this package's model code.

"captions" and "videos" compute what depends on one side alone (``CaptionCache``, ``VideoCache``),
"pairs" the match margins of pairs. The number of rows is variable in all of them, and so is the
number of words of captions: short captions are as cheap as in the live model.

The programs are traced, not translated: Python runs once, and only the numbers of rows and words
may differ later. Code that reads those sizes uses ``layers.length_of``.

C captions, V videos, P pairs; T words.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle import Tensor, nn
from paddle.static import InputSpec

import paddlevideo
from paddlevideo.export.manifest import (
    Manifest,
    ProgramInfo,
    Similarity,
    Sizes,
    TensorInfo,
    Vocabulary,
    check_output,
)
from paddlevideo.files.whole import checksum, describe_whole, write_folder_whole
from paddlevideo.modeling.backbones.tangled import Message, Projected
from paddlevideo.modeling.framework.actbert import ActBert
from paddlevideo.modeling.framework.base import BaseFramework
from paddlevideo.modeling.framework.batches import CAPTION_KEYS, VIDEO_KEYS, hide_features
from paddlevideo.modeling.match_scorer import CaptionCache, VideoCache
from paddlevideo.utils.errors import ConfigError, WeightsError
from paddlevideo.utils.finite import first_non_finite

Arrays = dict[str, np.ndarray]
Compute = Callable[[Sequence[Tensor]], list[Tensor]]
BOX_SIZE = 5


def export_model(
    model: BaseFramework,
    output: str | Path,
    sizes: Sizes,
    vocabulary: Vocabulary,
    weights: str | Path,
    weights_sha256: str = "",
) -> Manifest:
    """Writes ``model`` into the folder ``output``, whole or not at all, and returns the manifest.

    ``weights`` is the file that the model was loaded from, for the manifest, with its checksum at
    that time. An earlier export is replaced. Raises ConfigError if the model is not an ActBert, if
    ``vocabulary`` does not fit it, or if ``output`` contains anything but an export; WeightsError
    if a weight is not finite, or if no validation has chosen the weight of similarities.
    """
    if not isinstance(model, ActBert):
        raise ConfigError(f"an ActBert can be exported, not a {type(model).__name__}")
    if vocabulary.size > model.backbone.vocabulary_size:
        raise ConfigError(
            f"{vocabulary.bert_model} has {vocabulary.size} words, the model "
            f"{model.backbone.vocabulary_size} (MODEL.backbone.vocab_size): set bert_model to the "
            "model's vocabulary"
        )
    if bad := first_non_finite({name: x.numpy() for name, x in model.named_parameters()}):
        raise WeightsError(f"the model is not exported: {bad}")
    similarity = similarity_of(model)
    output = Path(output)
    check_output(output)
    manifest: list[Manifest] = []

    def write(folder: Path) -> None:
        programs = write_programs(model, folder, sizes)
        files = {path.name: describe_whole(path) for path in sorted(folder.iterdir())}
        manifest.append(
            Manifest(
                paddlevideo=paddlevideo.__version__,
                paddle=paddle.__version__,
                weights=Path(weights).name,
                weights_sha256=weights_sha256 or checksum(weights),
                vocabulary=vocabulary,
                sizes=sizes,
                pair_batch=model.scorer.pair_batch,
                similarity=similarity,
                programs=programs,
                files=files,
            )
        )
        manifest[0].write(folder)

    write_folder_whole(output, write)
    return manifest[0]


def similarity_of(model: ActBert) -> Similarity | None:
    """Returns the scale and weight of similarities in scores; None without a retrieval head."""
    head = model.retrieval_head
    if head is None:
        return None
    return Similarity(float(head.scale), head.known_weight, head.width)


@paddle.no_grad()
def write_programs(model: ActBert, folder: Path, sizes: Sizes) -> dict[str, ProgramInfo]:
    """Writes the three programs, in evaluation mode. Returns their inputs and outputs."""
    training = model.training
    model.eval()
    small, large = (examples(model, sizes, rows, cut) for rows, cut in ((2, 1), (3, 0)))
    functions = program_functions(model, sizes, list(small["pairs"][0]))
    written = {}
    for name, compute in functions.items():
        inputs, outputs = (
            _variable(before, after) for before, after in zip(small[name], large[name], strict=True)
        )
        program = _Program(model, compute)
        program.eval()
        specs = [InputSpec(x.shape, x.dtype, x.name) for x in inputs]
        paddle.jit.save(program, str(folder / name), input_spec=[specs])
        # What Paddle writes for fine-tuning is a pickle, which jit.load would run.
        (folder / f"{name}.pdiparams.info").unlink(missing_ok=True)
        _check_whole(folder / name)
        written[name] = ProgramInfo(inputs, outputs)
    if training:
        model.train()
    return written


def _check_whole(program: Path) -> None:
    """Raises OSError if a program is incomplete: Paddle does not report a full disk."""
    try:
        paddle.jit.load(str(program))
    except Exception as error:
        text = f"{os.strerror(errno.ENOSPC)} ({str(error).strip().splitlines()[-1]:.80})"
        raise OSError(errno.ENOSPC, text, f"{program}.pdiparams") from error


def examples(
    model: ActBert, sizes: Sizes, rows: int, cut: int
) -> dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Returns inputs of zeros and the live model's outputs for each program.

    ``cut``: the number of words by which captions are shorter than the maximum.
    """
    captions, videos = example_batch(sizes, rows)
    captions = {key: array[:, : sizes.text_length - cut] for key, array in captions.items()}
    of_captions = flatten(model.encode_captions(captions))
    of_videos = flatten(model.encode_videos(videos))
    return {
        "captions": (captions, of_captions),
        "videos": (videos, of_videos),
        "pairs": (pair_inputs(of_captions, of_videos), {"margins": np.zeros(rows, np.float32)}),
    }


def example_batch(sizes: Sizes, rows: int) -> tuple[Arrays, Arrays]:
    """Returns captions of full length and clips of zeros."""
    words = np.zeros((rows, sizes.text_length), np.int64)
    regions, actions = (rows, sizes.regions), (rows, sizes.actions)
    videos = (
        np.zeros((*regions, sizes.region_width), np.float32),
        np.zeros((*regions, BOX_SIZE), np.float32),
        np.ones(regions, np.int64),
        np.zeros((*actions, sizes.action_width), np.float32),
        np.ones(actions, np.int64),
    )
    captions = dict(zip(CAPTION_KEYS, (words, words, words + 1), strict=True))
    return captions, dict(zip(VIDEO_KEYS, videos, strict=True))


def _variable(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[TensorInfo, ...]:
    """Returns shapes with -1 for the sizes that differ between two examples."""
    return tuple(
        TensorInfo(
            name,
            tuple(
                int(a) if a == b else -1 for a, b in zip(x.shape, after[name].shape, strict=True)
            ),
            str(np.asarray(x).dtype),
        )
        for name, x in before.items()
    )


# ------------------------------------------------------------------- caches as named tensors


def flatten(cache: CaptionCache | VideoCache) -> dict[str, Tensor]:
    """Returns the tensors of a cache by name: a field, or "first_key" for the member of a tuple."""
    tensors = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, tuple):
            for member, inner in zip(getattr(item, "_fields", range(len(item))), item, strict=True):
                visit(f"{name}_{member}", inner)
        elif item is not None and not isinstance(item, int):
            tensors[name] = item

    for name, item in vars(cache).items():
        visit(name, item)
    return tensors


def caption_cache(tensors: Mapping[str, Tensor], padded_length: int) -> CaptionCache:
    """Returns the cache that was flattened. Tensors that scoring does not read may be absent."""
    first, vector = _member(Projected, "first", tensors), tensors.get("vector")
    return CaptionCache(tensors["state"], tensors.get("bias"), first, vector, padded_length)


def video_cache(tensors: Mapping[str, Tensor]) -> VideoCache:
    """Returns the cache that was flattened. Tensors that scoring does not read may be absent."""
    queries = [name for name in tensors if name.startswith("action_queries_")]
    return VideoCache(
        tensors["state"],
        tensors.get("bias"),
        _member(Projected, "first", tensors),
        _member(Message, "region_message", tensors),
        tuple(tensors[f"action_queries_{index}"] for index in range(len(queries))),
        tensors.get("pooled_actions"),
        tensors.get("actions"),
        tensors.get("action_bias"),
        tensors.get("vector"),
    )


def _member(kind: Any, name: str, tensors: Mapping[str, Tensor]) -> Any:
    fields = [f"{name}_{field}" for field in kind._fields]
    return kind(*(tensors[field] for field in fields)) if fields[0] in tensors else None


def pair_inputs(captions: Mapping[str, Any], videos: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the tensors that scoring reads, under "caption_" and "video_" names.

    Vectors are compared outside; a bias matters only if its stream has layers left. Paddle refuses
    inputs that a program does not read.
    """
    unread = {"vector"}
    if "actions" not in videos:
        unread.add("action_bias")
    if "first_key" not in videos:  # no tangled layers: no stream has layers left
        unread.add("bias")
    return {
        f"{side}_{name}": x
        for side, cache in (("caption", captions), ("video", videos))
        for name, x in cache.items()
        if name not in unread
    }


# ------------------------------------------------------------------------------ the programs


class _Program(nn.Layer):
    """``compute``, a list of tensors to a list of tensors, with the parameters of ``model``.

    Paddle rewrites ``forward``, which takes one argument, and runs ``compute`` once, unchanged.
    """

    def __init__(self, model: ActBert, compute: Compute) -> None:
        super().__init__()
        self.model, self.compute = model, paddle.jit.not_to_static(compute)

    def forward(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Runs the program."""
        return self.compute(tensors)


def program_functions(model: ActBert, sizes: Sizes, names: Sequence[str]) -> dict[str, Compute]:
    """Returns what the programs compute; ``names`` are those of the inputs of "pairs"."""

    def captions(tensors: Sequence[Tensor]) -> list[Tensor]:
        """Maps ``CAPTION_KEYS``, (C, T) each, to a ``CaptionCache``, padding included."""
        batch = dict(zip(CAPTION_KEYS, tensors, strict=True))
        return list(flatten(model.scorer.encode_words(batch, sizes.text_length)).values())

    def videos(tensors: Sequence[Tensor]) -> list[Tensor]:
        """Maps ``VIDEO_KEYS`` to a ``VideoCache``: all regions and actions, padding included."""
        batch = dict(zip(VIDEO_KEYS, tensors, strict=True))
        return list(
            flatten(model.scorer.encode_videos(hide_features(batch, model.without))).values()
        )

    def pairs(tensors: Sequence[Tensor]) -> list[Tensor]:
        """Maps ``names``, P rows each, to margins (P,)."""
        inputs = dict(zip(names, tensors, strict=True))
        caption, video = (
            {name.removeprefix(side): x for name, x in inputs.items() if name.startswith(side)}
            for side in ("caption_", "video_")
        )
        cache = caption_cache(caption, sizes.text_length)
        return [model.scorer.pair_margins(cache, video_cache(video))]

    return {"captions": captions, "videos": videos, "pairs": pairs}
