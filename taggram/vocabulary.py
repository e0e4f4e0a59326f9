"""Tag vocabularies: the names of the tags, in the order of a network's outputs.

Two systems may use the same 50 tags in another order, so a vocabulary is named after the system whose order it is.
"""

from __future__ import annotations

from taggram.errors import unknown_name


def _tags(listed: str) -> tuple[str, ...]:
    """Split a comma-separated list that may run over several lines."""
    return tuple(" ".join(tag.split()) for tag in listed.split(","))


MTT50_MUSICNN = _tags(
    """
    guitar, classical, slow, techno, strings, drums, electronic, rock, fast, piano, ambient,
    beat, violin, vocal, synth, female, indian, opera, male, singing, vocals, no vocals,
    harpsichord, loud, quiet, flute, woman, male vocal, no vocal, pop, soft, sitar, solo,
    man, classic, choir, voice, new age, dance, male voice, female vocal, beats, harp, cello,
    no voice, weird, country, metal, female voice, choral
    """
)
"""MagnaTagATune, the 50 most frequent tags, in the order of the musicnn models.

Source: the tag list of musicnn 0.1.0 (github.com/jordipons/musicnn-training).
"""

MTT50_SAMPLECNN = _tags(
    """
    guitar, classical, slow, techno, strings, drums, electronic, rock, fast, piano, ambient,
    beat, violin, vocal, synth, female, indian, opera, male, singing, vocals, no vocals,
    harpsichord, loud, quiet, flute, woman, male vocal, no vocal, pop, soft, sitar, solo,
    man, classic, choir, voice, new age, dance, male voice, female vocal, beats, harp, cello,
    no voice, weird, country, female voice, metal, choral
    """
)
"""The same 50 tags in the order of the SampleCNN family: "female voice" and "metal" stand the other way round.

Source: top50_tags.txt of github.com/jongpillee/music_dataset_split, multi-word tags in the data set's own spelling.
"""

MSD50 = _tags(
    """
    rock, pop, alternative, indie, electronic, female vocalists, dance, 00s, alternative rock,
    jazz, beautiful, metal, chillout, male vocalists, classic rock, soul, indie rock, Mellow,
    electronica, 80s, folk, 90s, chill, instrumental, punk, oldies, blues, hard rock, ambient,
    acoustic, experimental, female vocalist, guitar, Hip-Hop, 70s, party, country, easy listening,
    sexy, catchy, funk, electro, heavy metal, Progressive rock, 60s, rnb, indie pop, sad,
    House, happy
    """
)
"""Last.fm, the 50 most frequent tags of the Million Song Dataset, in the order that musicnn and SampleCNN share.

Source: MSD_split of github.com/jongpillee/music_dataset_split.
"""

VOCABULARIES = {
    "mtt50_musicnn": MTT50_MUSICNN,
    "mtt50_samplecnn": MTT50_SAMPLECNN,
    "msd50": MSD50,
}


def load_vocabulary(name: str) -> tuple[str, ...]:
    """Give the tags of a vocabulary.

    Args:
        name: one of `VOCABULARIES`, such as "mtt50_musicnn".

    Returns:
        The tags in the order of a network's outputs.

    Raises:
        UnknownNameError: there is no vocabulary of that name.
    """
    if name not in VOCABULARIES:
        raise unknown_name("vocabulary", name, VOCABULARIES, f"There are {', '.join(VOCABULARIES)}")
    return VOCABULARIES[name]
