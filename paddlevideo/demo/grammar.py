"""Scenes of the demo's clips, and captions for them.

A scene is one or two things that each do something over a background. Its captions come from a
small grammar with synonyms, so that many sentences describe one scene.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from paddlevideo.utils.errors import DataError

Triple = tuple[str, str, str]  # colour, shape, action

COLOURS = {
    "red": ("red", "crimson", "scarlet"),
    "orange": ("orange", "amber"),
    "yellow": ("yellow", "golden"),
    "green": ("green", "emerald"),
    "cyan": ("cyan", "turquoise"),
    "blue": ("blue", "azure"),
    "purple": ("purple", "violet"),
    "pink": ("pink", "rose"),
}
SHAPES = {
    "circle": ("circle", "disc"),
    "square": ("square", "box"),
    "triangle": ("triangle", "wedge"),
    "star": ("star",),
    "ring": ("ring", "hoop"),
    "cross": ("cross", "plus sign"),
    "heart": ("heart",),
    "moon": ("moon", "crescent"),
}
TEXTURES = {
    "plain": ("",),
    "striped": ("striped",),
    "dotted": ("dotted", "spotted"),
    "checkered": ("checkered",),
}
SIZES = {"small": ("small", "tiny"), "medium": ("",), "large": ("large", "big")}
ACTIONS = {
    "left": ("slides left", "glides to the left", "moves left"),
    "right": ("slides right", "glides to the right", "moves right"),
    "up": ("moves up", "rises", "climbs"),
    "down": ("moves down", "sinks", "falls"),
    "bounce": ("bounces", "jumps up and down"),
    "zigzag": ("zigzags", "moves in a zigzag"),
    "spin": ("spins", "rotates", "turns"),
    "grow": ("grows", "expands", "gets bigger"),
    "shrink": ("shrinks", "contracts", "gets smaller"),
    "fade": ("fades", "vanishes slowly"),
    "blink": ("blinks", "flashes on and off"),
    "orbit": ("orbits", "goes round and round"),
    "collide": ("collides with", "crashes into", "hits"),
}
BACKGROUNDS = {
    "gradient": ("over a gradient", "on a smooth background"),
    "noise": ("over static", "on a noisy background"),
    "grid": ("over a grid", "on a grid"),
}
JOINS = ("and", "while", "as")

ROUND = ("circle", "ring")  # their spin cannot be seen
GROWTH = ("grow", "shrink")  # a size would be right at one end of the clip only
SHARE_OF_TEST, SHARE_OF_VALID = 0.30, 0.15  # of all triples
SHARE_OF_PAIRS = 0.35  # of scenes: two things
SHARE_OF_BACKGROUNDS = 0.4  # of captions: the background is named
SHARE_OF_OMISSIONS = 0.1  # of training's size and texture words
ALTERNATIVES = 3  # captions of a training clip


@dataclass(frozen=True)
class Thing:
    """One moving shape; every field is a key of the table of the same name above."""

    colour: str
    shape: str
    action: str
    texture: str
    size: str

    @property
    def triple(self) -> Triple:
        """The combination that is unique in a test and does not occur in training."""
        return self.colour, self.shape, self.action


@dataclass(frozen=True)
class Scene:
    """One or two things over a background."""

    things: tuple[Thing, ...]
    background: str


def all_triples() -> list[Triple]:
    """Returns every (colour, shape, action) that a clip can show, in a fixed order."""
    triples = product(COLOURS, SHAPES, ACTIONS)
    return [t for t in triples if not (t[2] == "spin" and t[1] in ROUND)]


def split_triples(rng: np.random.Generator) -> dict[str, list[Triple]]:
    """Divides all triples into "train", "valid" and "test".

    Eight of the 64 pairs of colour and shape, one for each colour and each shape, go to the
    test with all their actions: training never sees those two words together.
    """
    shapes = rng.permutation(list(SHAPES)).tolist()
    unseen = set(zip(COLOURS, shapes, strict=True))
    triples = all_triples()
    rest = [t for t in triples if t[:2] not in unseen]
    order = [rest[i] for i in rng.permutation(len(rest))]
    test = [t for t in triples if t[:2] in unseen]
    missing = round(SHARE_OF_TEST * len(triples)) - len(test)
    stop = missing + round(SHARE_OF_VALID * len(triples))
    return {"test": test + order[:missing], "valid": order[missing:stop], "train": order[stop:]}


def sample_scenes(counts: Mapping[str, int], seed: int) -> dict[str, list[Scene]]:
    """Returns ``counts[split]`` scenes of each split, equal for equal seeds.

    Triples occur once in "valid" and "test": a caption names all things of its clip with colour,
    shape and action, so it describes one clip alone. Raises DataError if a split has too few
    triples for its clips.
    """
    rng = np.random.default_rng((seed, 0))
    pools = split_triples(rng)
    return {s: _draw(s, pools[s], counts[s], rng) for s in ("train", "valid", "test")}


def _draw(split: str, pool: Sequence[Triple], count: int, rng: np.random.Generator) -> list[Scene]:
    scenes: list[Scene] = []
    left: deque[Triple] = deque()
    refills = 0
    while len(scenes) < count:
        if not left:
            refills += 1
            if refills > 1 and split != "train":
                raise DataError(
                    f"the {split} split has different combinations for only {len(scenes)} clips, "
                    f"not for {count}: choose a smaller number"
                )
            left.extend(pool[i] for i in rng.permutation(len(pool)))
        things = _draw_triples(left, rng)
        if things:
            background = str(rng.choice(list(BACKGROUNDS)))
            scenes.append(Scene(tuple(_thing(t, rng) for t in things), background))
    return scenes


def _draw_triples(left: deque[Triple], rng: np.random.Generator) -> list[Triple]:
    """Takes one or two triples that fit together; none if a collision has no partner."""
    first = left.popleft()
    collides = first[2] == "collide"
    if not collides and rng.random() >= SHARE_OF_PAIRS:
        return [first]
    for second in left:
        if (second[2] == "collide") == collides and _colours_differ(first[0], second[0]):
            left.remove(second)
            return [first, second]
    return [] if collides else [first]


def _colours_differ(first: str, second: str) -> bool:
    """Whether colours are not neighbours on the colour circle, hard to distinguish in overlaps."""
    colours = list(COLOURS)
    step = (colours.index(first) - colours.index(second)) % len(colours)
    return 2 <= step <= len(colours) - 2


def _thing(triple: Triple, rng: np.random.Generator) -> Thing:
    texture = str(rng.choice(list(TEXTURES), p=(0.4, 0.2, 0.2, 0.2)))
    size = "medium" if triple[2] in GROWTH else str(rng.choice(list(SIZES)))
    return Thing(*triple, texture, size)


def caption(scene: Scene, rng: np.random.Generator, omit: float = 0.0) -> str:
    """Returns a sentence about ``scene``; size and texture are left out with rate ``omit``."""
    phrases = [_noun_phrase(thing, rng, omit) for thing in scene.things]
    verbs = [_pick(ACTIONS[thing.action], rng) for thing in scene.things]
    if scene.things[0].action == "collide":
        words = [phrases[0], verbs[0], phrases[1]]
    else:
        words = [phrases[0], verbs[0]]
        if len(phrases) == 2:
            words += [_pick(JOINS, rng), phrases[1], verbs[1]]
    if rng.random() < SHARE_OF_BACKGROUNDS:
        words.append(_pick(BACKGROUNDS[scene.background], rng))
    return " ".join(words)


def training_captions(scene: Scene, rng: np.random.Generator) -> list[str]:
    """Returns a few different sentences for ``scene``."""
    sentences = [caption(scene, rng, SHARE_OF_OMISSIONS) for _ in range(ALTERNATIVES)]
    return list(dict.fromkeys(sentences))


def plain_captions(scene: Scene) -> list[str]:
    """Returns the scene's plain sentence: the first of all synonyms, without the background.

    For two things there are two, as either may be named first.
    """
    orders = [scene.things] if len(scene.things) == 1 else [scene.things, scene.things[::-1]]
    return [_plain(things) for things in orders]


def _plain(things: Sequence[Thing]) -> str:
    nouns, verbs = [_plain_noun(thing) for thing in things], [ACTIONS[t.action][0] for t in things]
    if things[0].action == "collide":
        return f"{nouns[0]} {verbs[0]} {nouns[1]}"
    return f" {JOINS[0]} ".join(f"{n} {v}" for n, v in zip(nouns, verbs, strict=True))


def _plain_noun(thing: Thing) -> str:
    noun = (SIZES[thing.size], TEXTURES[thing.texture], COLOURS[thing.colour], SHAPES[thing.shape])
    return _with_article([words[0] for words in noun])


def _noun_phrase(thing: Thing, rng: np.random.Generator, omit: float) -> str:
    size, texture = _pick(SIZES[thing.size], rng), _pick(TEXTURES[thing.texture], rng)
    if rng.random() < omit:
        size = ""
    if rng.random() < omit:
        texture = ""
    return _with_article(
        [size, texture, _pick(COLOURS[thing.colour], rng), _pick(SHAPES[thing.shape], rng)]
    )


def _with_article(noun: Sequence[str]) -> str:
    words = [word for word in noun if word]
    article = "an" if words[0][0] in "aeiou" else "a"
    return " ".join([article, *words])


def _pick(words: Sequence[str], rng: np.random.Generator) -> str:
    return words[int(rng.integers(len(words)))]


def vocabulary() -> list[str]:
    """Returns every word that a caption can contain, sorted."""
    tables: Iterable[Mapping[str, Sequence[str]]] = (
        COLOURS,
        SHAPES,
        TEXTURES,
        SIZES,
        ACTIONS,
        BACKGROUNDS,
    )
    phrases = [p for table in tables for synonyms in table.values() for p in synonyms]
    return sorted({word for p in (*phrases, *JOINS, "a an") for word in p.split()})
