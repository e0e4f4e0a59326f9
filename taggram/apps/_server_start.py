"""What must be right before the service loads torch: its packages, and the address that it listens on."""

from __future__ import annotations

import importlib.util
import socket

from taggram.apps._server_settings import Access
from taggram.errors import ConfigError, missing_extra, printable

BACKLOG = 1_024  # connections that the system holds until they are taken
NEEDED = ("fastapi", "uvicorn", "prometheus_client", "python_multipart", "swagger_ui_bundle", "plotly")


def check_packages() -> None:
    """Refuse to start where something is missing.

    Raises:
        MissingExtraError: the extra `serve` is not installed.
    """
    for package in NEEDED:
        if importlib.util.find_spec(package) is None:
            raise missing_extra(package.replace("_", "-"), "serve", "the service and its page")


def open_address(access: Access) -> socket.socket:
    """Listen on the address of the service.

    Args:
        access: where.

    Returns:
        The socket. Who asks before the service is up waits.

    Raises:
        ConfigError: the address cannot be listened on.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(access.address, access.port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except UnicodeError as error:
        raise ConfigError(f"--host: {printable(access.address)} is no name of a machine, nor an address.") from error
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {printable(access.address)}, port {access.port}: {error.strerror}. --port 0 takes any "
            "that is free."
        ) from error
