"""Published experiments: one study a file, run by `taggram study NAME`. Listing them loads none of them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from taggram.errors import unknown_name

if TYPE_CHECKING:
    from taggram.studies._base import Study

STUDIES = {  # study: the class in the module of that name, and what it asks
    "elmarc": ("Elmarc", "How far do features of random CNNs, which are never trained, carry a classifier?"),
    "few_data": ("FewData", "What learns best from 1 to 100 examples a class?"),
    "ballroom": ("Ballroom", "Do filters shaped for rhythm or for timbre need fewer weights to tell dances apart?"),
    "phonemes": (
        "Phonemes",
        "Do filters shaped for timbre tell sung phonemes apart, beside squares, an MLP and a GMM?",
    ),
    "instruments": ("Instruments", "Do they tell the instruments of a mix, beside a deep network of squares?"),
    "tagging_timbre": ("TaggingTimbre", "Do they tag music, beside squares and one filter over all mels?"),
    "artist": ("Artist", "What are features worth that were learned by telling artists apart?"),
    "jingju": ("Jingju", "Does the score help a CNN to find where sung syllables begin?"),
    "at_scale": ("AtScale", "Which learns best from ever more tracks: a waveform, a spectrogram network, or trees?"),
    "compare": ("Compare", "Which network reaches what, at which cost, on one data set under one protocol?"),
    "sample_level": (
        "SampleLevel",
        "How small should the first filters on the waveform be, and how deep the network?",
    ),
    "rese": ("ReSE", "Which blocks, and how many levels of features, make such a network better?"),
    "multilevel": (
        "Multilevel",
        "Do several layers of networks of several lengths tag better together than the best one alone?",
    ),
    "multiscale": ("Multiscale", "Does a network tag better that looks at a clip in three resolutions?"),
    "label_reduction": (
        "LabelReduction",
        "What is learned of merged and fewer tags, by networks of two or three layers?",
    ),
    "bag_of_features": (
        "BagOfFeatures",
        "How well do bags of sparse features tag, with a network that was pre-trained?",
    ),
}


def list_studies() -> list[str]:
    """Name the studies."""
    return list(STUDIES)


def find_study(name: str) -> type[Study]:
    """Give the class of a study.

    Args:
        name: one of `list_studies()`.

    Returns:
        The class.

    Raises:
        UnknownNameError: there is no such study.
    """
    if name not in STUDIES:
        raise unknown_name("study", name, STUDIES, f"`taggram study` lists all {len(STUDIES)}")
    study: type[Study] = getattr(importlib.import_module(f"taggram.studies.{name}"), STUDIES[name][0])
    return study
