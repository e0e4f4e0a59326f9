"""Stores that fsspec knows, such as s3://bucket/music: which places lie in one, and how it is opened."""

from __future__ import annotations

import re
from typing import Any

from taggram.errors import ConfigError, MissingExtraError, printable

PACKAGES = {"fsspec.implementations.http": "aiohttp requests", "fsspec.implementations.sftp": "paramiko"}


def is_address(place: object) -> bool:
    """Whether a place is an address in a store, and no file or folder of this machine."""
    return isinstance(place, str) and "://" in place


def without_password(text: str) -> str:
    """Take the passwords out of addresses such as https://name:password@host/music.

    Args:
        text: an address, or a message with some in it.

    Returns:
        The same, with *** in their places.
    """
    return re.sub(r"(?<=://)([^/@:\s]*):[^/@\s]*@", r"\1:***@", text)


def open_store(address: str) -> tuple[Any, str]:
    """Open the store of an address.

    Args:
        address: such as s3://bucket/song.mp3. Keys and the like are those that the package for the kind of store finds.

    Returns:
        The file system, and the path in it.

    Raises:
        ConfigError: there is no such kind of store.
        MissingExtraError: the package for it is not installed.
    """
    import fsspec
    from fsspec.registry import known_implementations

    kind, shown = address.partition("://")[0], printable(without_password(address))
    try:
        files, path = fsspec.core.url_to_fs(address)
    except ImportError as error:
        package = _package_of(known_implementations.get(kind, {}).get("class", kind))
        raise MissingExtraError(
            f"{shown}: stores of the kind {kind}:// need {package}, which is not installed: pip install {package}"
        ) from error
    except ValueError as error:
        raise ConfigError(
            f"{shown}: there is no kind of store {kind}://; there are s3, gs, abfs, http, file and more, see fsspec."
        ) from error
    return files, path


def _package_of(implementation: str) -> str:
    """Name the package to install for a file system of fsspec, such as s3fs.S3FileSystem."""
    module = implementation.rpartition(".")[0] or implementation
    return PACKAGES.get(module, module.partition(".")[0])
