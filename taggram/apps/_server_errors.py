"""What the service says no with: an error, its status, and what may help."""

from __future__ import annotations

from http import HTTPStatus

from taggram.errors import (
    AudioError,
    ConfigError,
    KitError,
    MissingExtraError,
    TaggramError,
    TrainingError,
    UnknownNameError,
    WorkerError,
)

Headers = dict[str, str]


class ServiceError(TaggramError):
    """A request that is not answered with what it asks for.

    Args:
        message: what came, what was wanted, what to do.
        headers: of the answer.

    Attributes:
        status: with which it is answered.
    """

    status = HTTPStatus.BAD_REQUEST

    def __init__(self, message: str, headers: Headers | None = None) -> None:
        super().__init__(message)
        self.headers = headers or {}


class RequestError(ServiceError):
    """A request that cannot be read, such as a form that is broken off."""


class UnauthorizedError(ServiceError):
    """A request without the token."""

    status = HTTPStatus.UNAUTHORIZED


class ForbiddenError(ServiceError):
    """A request under a name that is not one of ours, as a page from elsewhere may send it."""

    status = HTTPStatus.FORBIDDEN


class TooSlowError(ServiceError):
    """An upload that comes too slowly."""

    status = HTTPStatus.REQUEST_TIMEOUT


class TooLargeError(ServiceError):
    """An upload, or what it decodes to, or an answer, that is larger than allowed."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class TooMuchWorkError(ServiceError):
    """A request that takes longer than allowed."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY


class BusyError(ServiceError):
    """A request for which there is no room now."""

    status = HTTPStatus.TOO_MANY_REQUESTS


class NotReadyError(ServiceError):
    """A service that is starting, or stopping, or broken: not the fault of the request."""

    status = HTTPStatus.SERVICE_UNAVAILABLE


class CutError(ServiceError):
    """A client that went away. Nobody reads the answer; its status is for the log and the counts."""

    status = 499  # type: ignore[assignment]  # not in the standard; proxies have used it for this for long


FAULTS_OF_THE_REQUEST = (
    *(AudioError, ConfigError, KitError, MissingExtraError, TrainingError, UnknownNameError, WorkerError),
)


def status_of(error: BaseException) -> int:
    """Say with which status an error is answered.

    Args:
        error: what was raised.

    Returns:
        The error's own status; 422 for sound and settings that cannot be used; else 500.
    """
    if isinstance(error, ServiceError):
        return int(error.status)
    if isinstance(error, FAULTS_OF_THE_REQUEST):
        return int(HTTPStatus.UNPROCESSABLE_ENTITY)
    return int(HTTPStatus.INTERNAL_SERVER_ERROR)


def fields_of(error: BaseException) -> dict[str, str]:
    """Give the JSON object that says what went wrong.

    Args:
        error: what was raised.

    Returns:
        `{"error": ..., "message": ...}`; nothing of what is inside where it is no error of ours.
    """
    if status_of(error) == HTTPStatus.INTERNAL_SERVER_ERROR:
        return {"error": "InternalError", "message": "something went wrong in the service; its log says more."}
    reason = error.reason if isinstance(error, AudioError) else str(error)
    return {"error": type(error).__name__, "message": reason}
