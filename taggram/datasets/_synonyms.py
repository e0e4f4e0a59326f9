"""Tags of MagnaTagATune that mean the same, and their merging.

Source: the groups that Keunwoo Choi proposed for the data set, as two systems use them: Dabral, Deshmukh and Malapati,
"A multi-scale convolutional neural network architecture for music auto-tagging", 2018, and the student project
"Audio-auto-tagging" of E. Markou and others, 2017, which has one tag more in a group, "female vocal". The spelling is
the data set's own: "clasical" and "harpsicord" are columns of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

MULTISCALE: Mapping[str, tuple[str, ...]] = {
    "beat": ("beats",),
    "chant": ("chanting",),
    "choir": ("choral",),
    "classical": ("clasical", "classic"),
    "drum": ("drums",),
    "electro": ("electronic", "electronica", "electric"),
    "fast": ("fast beat", "quick"),
    "female": (
        "female singer", "female singing", "female vocals", "female voice", "woman", "woman singing", "women",
    ),
    "flute": ("flutes",),
    "guitar": ("guitars",),
    "hard": ("hard rock",),
    "harpsichord": ("harpsicord",),
    "heavy": ("heavy metal", "metal"),
    "horn": ("horns",),
    "india": ("indian",),
    "jazz": ("jazzy",),
    "male": ("male singer", "male vocal", "male vocals", "male voice", "man", "man singing", "men"),
    "no beat": ("no drums",),
    "no singer": ("no singing", "no vocal", "no vocals", "no voice", "no voices", "instrumental"),
    "opera": ("operatic",),
    "orchestra": ("orchestral",),
    "quiet": ("silence",),
    "singer": ("singing",),
    "space": ("spacey",),
    "string": ("strings",),
    "synth": ("synthesizer",),
    "violin": ("violins",),
    "vocal": ("vocals", "voice", "voices"),
    "strange": ("weird",),
}  # fmt: skip
"""29 groups of 82 tags: the name that is kept, and those that go into it. "female vocal" stays a tag of its own."""

EMARKOU: Mapping[str, tuple[str, ...]] = {**MULTISCALE, "female": (*MULTISCALE["female"], "female vocal")}
"""The same groups of 83 tags, with "female vocal" in "female"."""


def kept_names(groups: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """Say into which tag each tag of a group goes.

    Args:
        groups: the name that is kept, and those that go into it.

    Returns:
        The name that is kept, for all others.
    """
    return {name: kept for kept, names in groups.items() for name in names}


def merge(tags: Sequence[str], groups: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Merge a vocabulary.

    Args:
        tags: in order.
        groups: the name that is kept, and those that go into it.

    Returns:
        The tags that are left, in the order that they had.
    """
    gone = kept_names(groups)
    return tuple(tag for tag in tags if tag not in gone)


def commonest(tags: Sequence[str], tagged: Iterable[Iterable[str]], n_tags: int) -> tuple[str, ...]:
    """Choose the tags that most clips have.

    Args:
        tags: all there are, in the order that decides between tags that are as common as each other.
        tagged: the tags of each clip.
        n_tags: how many are wanted.

    Returns:
        The tags, the commonest first.
    """
    counts = Counter(tag for one in tagged for tag in set(one))
    return tuple(sorted(tags, key=lambda tag: -counts[tag])[:n_tags])
