"""What embeds a sound as those of a catalogue were embedded."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Mapping
from os import PathLike, fsdecode
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taggram._stores import is_address, without_password
from taggram.catalogue._stores import at_hand
from taggram.errors import AudioError, CatalogueError, TaggramError, printable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from taggram.audio import Source
    from taggram.tagger import Tagger


class Embedder:
    """Embeds sound with the model of a catalogue, which is loaded when it is first wanted.

    Args:
        model: where the model lies now, if it is a file that was moved; None is where it was.
        kit: where the kit lies now, likewise.
        device: what the network computes on.
    """

    def __init__(
        self, model: str | PathLike[str] | None = None, kit: str | PathLike[str] | None = None, device: str = "auto"
    ) -> None:
        self._given = {
            name: fsdecode(value) for name, value in (("model", model), ("kit", kit)) if value is not None
        }  # fmt: skip
        self._device = device
        self._tagger: Tagger | None = None
        self._lock = threading.Lock()

    def embed(self, card: Mapping[str, Any], source: Source) -> NDArray[np.float32]:
        """Compute the embedding of a sound.

        Args:
            card: of the catalogue.
            source: the sound; one at an address is fetched.

        Returns:
            (size,) float32.

        Raises:
            AudioError: the sound cannot be fetched, read or used.
            CatalogueError: the model is not where it was, or has other weights.
            ConfigError: there is no such kind of store.
            MissingExtraError: the package for the store is not installed.
        """
        with _fetched(source) as here, self._lock:
            if self._tagger is None:
                self._tagger = self._load(card)
            return embedding_of(self._tagger, here)

    def _load(self, card: Mapping[str, Any]) -> Tagger:
        from taggram.tagger import Tagger

        names = {"model", "hop_s", "max_duration_s", "engine", "kit", "precision"} & card["settings"].keys()
        settings = {name: card["settings"][name] for name in names} | self._given
        check_there(settings)
        tagger = Tagger(**settings, device=self._device)
        if not is_by(tagger, card):
            raise CatalogueError(
                f"the catalogue is by other weights of {printable(card['model'])} than those at hand, so embeddings "
                "cannot be compared; --model FILE or --kit FILE (in Python model=, kit=) names those that it is by, "
                "and `taggram catalogue` with these makes a layer of their own."
            )
        return tagger


@contextlib.contextmanager
def _fetched(source: Source) -> Iterator[Source]:
    """Have a sound at hand; errors name the address that it was fetched from."""
    if not (isinstance(source, str) and is_address(source)):
        yield source
        return
    shown = without_password(source)
    with contextlib.ExitStack() as stack:
        try:
            here = stack.enter_context(at_hand(source))
        except TaggramError:
            raise
        except FileNotFoundError as error:
            raise AudioError("there is nothing at that address.", shown) from error
        except Exception as error:  # each kind of store has errors of its own
            reason = printable(without_password(str(error))) or type(error).__name__
            raise AudioError(f"it cannot be fetched: {reason}", shown) from error
        try:
            yield here
        except AudioError as error:
            raise AudioError(error.reason, shown) from error


def embedding_of(tagger: Tagger, source: Source) -> NDArray[np.float32]:
    """Compute the embedding of a sound as catalogues hold it: the mean over the patches.

    Args:
        tagger: of the catalogue.
        source: the sound.

    Returns:
        (size,) float32.

    Raises:
        AudioError: the sound cannot be read or used.
    """
    mean: NDArray[np.float32] = tagger.tag_and_embed(source)[1].features.mean(axis=0)
    return mean


def is_by(tagger: Tagger, card: Mapping[str, Any]) -> bool:
    """Say whether the embeddings of a tagger can be compared with those of a catalogue.

    Args:
        tagger: the tagger.
        card: of the catalogue.

    Returns:
        Whether it has the same weights, and its embeddings are of the same layer.
    """
    from taggram.models._fingerprint import weights_sha256

    weights = weights_sha256(tagger.model, with_head=tagger.kit is None)
    return bool(weights == card["weights_sha256"]) and bool(tagger.embedding_layer == card["embedding"]["layer"])


def check_there(settings: Mapping[str, Any]) -> None:
    """Refuse settings of a catalogue whose model or kit is no longer where it was.

    Args:
        settings: `model`, a name or a file, and `kit`, a file or None.

    Raises:
        CatalogueError: a file is not there; the message names the option that says where it is now.
    """
    from taggram.models._registry import MODEL_SUFFIX

    for name in ("model", "kit"):
        value = settings[name]
        is_file = value is not None and (name == "kit" or value.endswith(MODEL_SUFFIX) or os.sep in value)
        if is_file and not Path(value).exists():
            raise CatalogueError(
                f"the {name} that the catalogue is by is not at {printable(value)}; --{name} FILE (in Python "
                f"{name}=) says where it is now."
            )
