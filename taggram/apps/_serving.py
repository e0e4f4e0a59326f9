"""From the words of `taggram serve` to a running service."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from taggram._processes import n_cores
from taggram.apps._options import parse_options
from taggram.apps._server_settings import Access, ServedModel, ServiceSettings
from taggram.apps._server_start import check_packages, open_address
from taggram.apps._tagging import TaggerSettings
from taggram.catalogue._embedder import check_there
from taggram.catalogue.asking import Catalogue
from taggram.errors import CatalogueError, ConfigError, did_you_mean
from taggram.models._registry import is_model_file, title_of
from taggram.tagger import DEFAULT_MODEL

TOKEN_VARIABLE = "TAGGRAM_TOKEN"  # noqa: S105 (its name)


def serve_models(
    models: Sequence[str],
    words: Sequence[str],
    *,
    kits: Sequence[str] = (),
    engine: str = "torch",
    precision: str = "float32",
    host: str | None,
    port: int,
    token: str | None,
    cors: Sequence[str],
    max_duration_s: float,
    spool: Path | None,
    device: str,
    catalogue: Path | None = None,
) -> None:
    """Serve models until told to stop.

    Args:
        models: names or files.
        words: settings as KEY=VALUE.
        kits: files of kits. Without models and kits, the default model is offered.
        engine: what runs networks.
        precision: the numbers that they compute in.
        host: address to listen on; None is this machine alone.
        port: port; 0 is any that is free.
        token: what requests must bear, or None.
        cors: origins whose pages may ask.
        max_duration_s: longest sound that is taken, in seconds.
        spool: folder for uploads, or None.
        device: what torch computes on.
        catalogue: folder of a catalogue that can be asked too; its model is offered beside the others, or alone.

    Raises:
        CatalogueError: there is no catalogue, or it is damaged or too new.
        ConfigError: a setting makes no sense.
        UnknownNameError: there is no such model.
        TaggramError: the service cannot start.
    """
    access = Access(host=host, port=port, token=token, cors=tuple(cors))
    settings = _settings({"max_duration_s": max_duration_s, **parse_options(words)})
    if spool is not None and not spool.is_dir():
        raise ConfigError(f"spool: there is no folder {str(spool)!r}.")
    check_packages()
    os.environ.pop(TOKEN_VARIABLE, None)  # decoders, which meet hostile files, need not have it
    asked = None if catalogue is None else _open_to_all(catalogue, settings)
    if not models and not kits and asked is None:
        models = [DEFAULT_MODEL]
    wanted = [
        *(TaggerSettings(DEFAULT_MODEL, None, max_duration_s, device, engine, kit, precision) for kit in kits),
        *(TaggerSettings(model, None, max_duration_s, device, engine, precision=precision) for model in models),
    ]
    offered = [_offered(one) for one in wanted]
    collection = None
    if asked is not None:
        from taggram.apps._server_catalogue import ServedCatalogue

        own = _own_model(asked, wanted, max_duration_s, device)
        has_it = own is None or own.name in {one.name for one in offered}  # whose weights tell, once they are loaded
        if own is not None and not has_it:
            offered.append(own)
        collection = ServedCatalogue(asked, None if has_it or own is None else own.name, settings.find_s)
    names = [one.name for one in offered]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ConfigError(f"two models are called {', '.join(sorted(twice))}; a service needs a name for each.")
    with open_address(access) as listener:
        from taggram.apps.server import run_service  # torch loads when all else is right

        run_service(offered, access, settings, listener, device=device, spool=spool, collection=collection)


def _open_to_all(folder: Path, settings: ServiceSettings) -> Catalogue:
    """Open a catalogue so that questions to it leave cores to what else is asked."""
    return Catalogue(folder, timeout_s=settings.find_s, n_threads=max(1, n_cores() // 2))


def _own_model(
    catalogue: Catalogue, wanted: Sequence[TaggerSettings], max_duration_s: float, device: str
) -> ServedModel | None:
    """Give the model of a catalogue; None if it is not where it was, and may be one of those that are wanted."""
    used = catalogue.card["settings"]
    precision = used.get("precision", "float32")  # which catalogues of an earlier version do not have
    try:
        check_there(used)
    except CatalogueError:
        if not wanted:
            raise
        return None
    return _offered(TaggerSettings(used["model"], None, max_duration_s, device, used["engine"], used["kit"], precision))


def _settings(given: dict[str, object]) -> ServiceSettings:
    """Make the settings, or say which there are."""
    known = [field.name for field in dataclasses.fields(ServiceSettings)]
    for name in given:
        if name not in known:
            raise ConfigError(
                f"serve has no setting {name!r}.{did_you_mean(name, known)} There are {', '.join(known)}."
            )
    return ServiceSettings(**given)  # type: ignore[arg-type]  # their types are checked there


def _offered(wanted: TaggerSettings) -> ServedModel:
    """Check a model or a kit, and have the weights at hand."""
    wanted.ready()
    computing: dict[str, object] = {"engine": wanted.engine, "precision": wanted.precision}
    if wanted.kit is not None:
        kit = os.path.abspath(wanted.kit)  # noqa: PTH100 (links stay what they are)
        return ServedModel(name=title_of(kit), settings={"kit": kit, **computing}, is_kit=True)
    name = model = wanted.model
    if is_model_file(model):
        name, model = title_of(model), os.path.abspath(model)  # noqa: PTH100
    return ServedModel(name=name, settings={"model": model, **computing})
