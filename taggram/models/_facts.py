"""The facts that a listing of networks shows, so that listing them loads no torch.

They stand in networks.json, which `python -m taggram.models._facts` makes from the networks themselves. A network that
is not in it yet is listed by its name alone.
"""

from __future__ import annotations

import functools
import inspect
import json
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path

from taggram.models import NETWORKS

FILE = "networks.json"


@dataclass(frozen=True, kw_only=True)
class ListedNetwork:
    """What a listing says of a network with its default options.

    Attributes:
        name: as in `create_model`.
        title: what it is, in a few words.
        paper: who, where and when.
        task: what comes out, see `Task`.
        n_outputs: of the head in the paper, or the length of the features where there is none.
        n_parameters: that it learns.
        sample_rate: of the waveform, in Hz.
        patch_s: length of a patch in seconds.
    """

    name: str
    title: str
    paper: str
    task: str
    n_outputs: int
    n_parameters: int
    sample_rate: int
    patch_s: float


@functools.cache
def read_listing() -> dict[str, ListedNetwork]:
    """Read the facts of all networks, by name."""
    text = resources.files("taggram.models").joinpath(FILE).read_text(encoding="utf-8")
    return {facts["name"]: ListedNetwork(**facts) for facts in json.loads(text)}


def find_listed(name: str) -> ListedNetwork:
    """Find the facts of one network by building it without storage; this loads torch.

    Args:
        name: one of `NETWORKS`.

    Returns:
        Its facts as they are now.
    """
    import torch

    from taggram.models import create_model, find_facts
    from taggram.models._summary import patch_s

    facts = find_facts(name)
    with torch.device("meta"):
        model = create_model(name, n_tags=facts.n_tags)
    return ListedNetwork(
        name=name,
        title=(inspect.getdoc(type(model)) or "").partition("\n")[0].removesuffix("."),
        paper=facts.paper,
        task=model.task,
        n_outputs=model.n_tags or model.n_features,
        n_parameters=sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad),
        sample_rate=model.frontend.sample_rate,
        patch_s=round(patch_s(model), 4),
    )


def main() -> None:
    """Write networks.json anew."""
    listing = [asdict(find_listed(name)) for name in sorted(NETWORKS)]
    path = Path(__file__).with_name(FILE)
    path.write_text(json.dumps(listing, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
