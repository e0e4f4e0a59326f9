"""A session of Ray for one run: joined, or started on this machine and ended with all that it left."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from taggram._extras import load_extra
from taggram._files import in_turn, is_free
from taggram._processes import n_cores
from taggram.catalogue._network import goes_in_two
from taggram.errors import CatalogueError, ConfigError

STORE_BYTES = 256 * 2**20  # of the object store of a local run, which holds paths and rows alone
FRAMES_STORE_BYTES = 2**30  # likewise, where it holds frames
FRAMES_BYTES = 2**24  # of the frames that go from actor to actor at once, or those of one track
LONGEST_TMP = 20  # characters of the folder for temporary files: a socket of Ray has some ninety more, of 107 at most
ANSWER_S = 5.0  # in which a cluster has to answer
FOLDER, LOCK = "taggram-ray-", "taggram.lock"  # how folders of runs begin, and the file in each that its run holds
STOP_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


def load_ray() -> Any:
    """Load Ray, which then tells nobody how it is used.

    Returns:
        The package, with its part `data`.

    Raises:
        MissingExtraError: it is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # it warns of its own ways on the screen
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    return load_extra("ray", "cluster", "catalogues on many machines", "data")


def cause_of(error: BaseException) -> str:
    """Say in one line what is behind an error of Ray.

    Args:
        error: that it raised.

    Returns:
        The kind and the last line of its cause.
    """
    cause = getattr(error, "cause", None) or error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return f"{type(cause).__name__}: {lines[-1] if lines else 'no reason was given'}"[:500]


@contextlib.contextmanager
def cluster_of(ray: Any, address: str | None, n_workers: int | None, settings: Mapping[str, Any]) -> Iterator[None]:
    """Have a cluster for the `with` statement: one that is there, or one of our own in this tree of processes.

    Where this process is in a session of Ray already, that one is used, and left as it is.

    Args:
        ray: the package.
        address: of the cluster that is joined; None starts one on this machine.
        n_workers: actors that are to have room; None is one a core.
        settings: those of `Tagger`.

    Yields:
        Nothing, while there is one.

    Raises:
        CatalogueError: the cluster cannot be joined.
        ConfigError: the address is none.
    """
    if ray.is_initialized():
        with _quiet(ray):
            yield
        return
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    signals = _Signals()
    with contextlib.ExitStack() as closing:
        closing.callback(signals.put_back)
        if address is None:
            folder = closing.enter_context(_own_folder())
            closing.callback(ray.shutdown)  # also of what a start that was cut short has left
            closing.callback(signals.ignore)
            size = FRAMES_STORE_BYTES if goes_in_two(settings, has_gpu=False) else STORE_BYTES
            with _muted(), signals.kept():
                ray.init(
                    address="local", num_cpus=max(n_cores(), n_workers or 1), object_store_memory=size,
                    _temp_dir=str(folder), include_dashboard=False, **quiet,
                )  # fmt: skip
        else:
            _check_answers(address)
            closing.callback(ray.shutdown)
            closing.callback(signals.ignore)
            try:
                with _muted(), signals.kept():
                    ray.init(address=address, **quiet)
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise CatalogueError(f"the Ray cluster {address} cannot be joined: {cause_of(error)}") from error
        closing.enter_context(_quiet(ray))
        yield


class _Signals:
    """Who is told, in this process, that it is to end: Ray takes that for itself as it starts, and aborts."""

    def __init__(self) -> None:
        is_main = threading.current_thread() is threading.main_thread()  # to no other thread are they given
        self._handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS} if is_main else {}

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Let Ray start, and then tell whom it was told before."""
        try:
            yield
        except SystemExit as leaving:
            if leaving.code == signal.SIGTERM:  # what Ray says for itself; commands here say what a shell does
                raise SystemExit(128 + signal.SIGTERM) from leaving
            raise
        finally:
            self.put_back()

    def put_back(self) -> None:
        """Tell again whom it was told when this was made."""
        for number, handler in self._handlers.items():
            if handler is not None:
                signal.signal(number, handler)

    def ignore(self) -> None:
        """Tell nobody: who asks again must not cut the clearing up short."""
        for number in self._handlers:
            signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def _own_folder() -> Iterator[Path]:
    """Have a folder for what Ray writes, and remove those that runs left which were killed."""
    parent = Path(_short_tmp() or tempfile.gettempdir())
    for left in parent.glob(f"{FOLDER}*"):
        if _is_left(left):
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=FOLDER, dir=parent))
    try:
        with in_turn(folder / LOCK):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _is_left(folder: Path) -> bool:
    """Whether a folder is this user's, and of a run that is over: the system takes the lock from one that is killed."""
    try:
        is_ours = not hasattr(os, "getuid") or folder.lstat().st_uid == os.getuid()
        return is_ours and (folder / LOCK).is_file() and is_free(folder / LOCK)
    except OSError:
        return False


@contextlib.contextmanager
def _muted() -> Iterator[None]:
    """Keep what Ray's own libraries write off the screen; what goes wrong is an exception too."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _short_tmp() -> str | None:
    """Find a folder whose name is short enough for sockets; None is the usual one."""
    return "/tmp" if os.name == "posix" and len(tempfile.gettempdir()) > LONGEST_TMP else None  # noqa: S108


def _check_answers(address: str) -> None:
    """Ask whether anybody listens at host:port, since Ray itself goes on asking for a minute."""
    place = address.removeprefix("ray://")
    host, colon, port = place.rpartition(":")
    if not colon or not port.isdigit():
        if address == "auto":
            return
        raise ConfigError(f"address is {address!r}; wanted auto, HOST:PORT, or ray://HOST:PORT.")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_S).close()
    except (OSError, OverflowError) as error:
        raise CatalogueError(
            f"no Ray cluster answers at {address} ({error}); `ray start --head` on its first machine says where it is."
        ) from error


@contextlib.contextmanager
def _quiet(ray: Any) -> Iterator[None]:
    """Have Ray Data show nothing and pass on small blocks, and leave it afterwards as it was."""
    context = ray.data.DataContext.get_current()
    wanted = {"enable_progress_bars": False, "target_max_block_size": 2 * FRAMES_BYTES}
    before = {name: getattr(context, name) for name in wanted}
    loggers = {logger: logger.level for logger in map(logging.getLogger, ("ray.data", "ray"))}
    try:
        for name, value in wanted.items():
            setattr(context, name, value)
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        yield
    finally:
        for name, value in before.items():
            setattr(context, name, value)
        for logger, level in loggers.items():
            logger.setLevel(level)
