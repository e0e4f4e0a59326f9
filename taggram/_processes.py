"""Worker processes that do one file after the other.

All cores are used, and a decoder that crashes or hangs costs one file. A worker is `python -m` some module that calls
`serve`, started afresh and not by fork, so scripts and notebooks need no guard around their main part. Messages go
through its standard input and output: a length, JSON, then the bytes of arrays; nothing is unpickled.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import itertools
import json
import os
import queue
import signal
import struct
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Generic, Self, TypeVar

from taggram import errors
from taggram.errors import ConfigError, DatasetError, ExportError, TaggramError, UnknownNameError, WorkerError
from taggram.results import Failure

if TYPE_CHECKING:
    from numpy.typing import NDArray

HANG_S = 120.0  # a file without any progress for so long is given up
START_S = 300.0  # a worker that is not ready for so long is given up; torch may come from a slow disk
KILL_S = 5.0  # a process that is not gone so long after it was killed is left to the system
PROGRESS_EVERY_S = 0.5
WATCH_EVERY_S = 0.25
PARENT_EVERY_S = 1.0
AHEAD = 16  # files a worker that may be asked for before the one that is next
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
NOT_STARTED = "WorkerStartError"  # name of the failure of a file that no worker could be started for
# A worker that raises one of these ends the run.
NO_FAULT_OF_THE_FILE = (ConfigError, UnknownNameError, DatasetError, ExportError)

Message = dict[str, Any]
Progress = Callable[[str, float], None]
"""Is told a path and the seconds of it that are done."""
Tell = Callable[[float], None]
"""Is told, inside of a worker, the seconds of its file that are done."""
Do = Callable[[Message, Tell], Message]
"""Does a task, inside of a worker: from its fields to those of its result, plain values and arrays."""


@dataclass(frozen=True)
class FileTask:
    """What is to be done to one file; fields are plain values.

    Attributes:
        path: the file.
    """

    path: str


T = TypeVar("T", bound=FileTask)
R = TypeVar("R")


@dataclass(frozen=True)
class _Order(Generic[T, R]):
    """A file in the queue of the workers.

    Attributes:
        index: its place among the files of its run.
        task: the file.
        progress: is told how far it is.
        results: where its result goes.
        dropped: set when nobody waits for the result any more.
    """

    index: int
    task: T
    progress: Progress | None
    results: queue.SimpleQueue[tuple[int, R | Failure | TaggramError]]
    dropped: threading.Event


class Processes(Generic[T, R]):
    """Worker processes that are all made ready in the same way. They are started when there is something to do.

    Args:
        module: what a worker runs; its main part calls `serve`.
        settings: what makes a worker ready, all of them plain values.
        read: makes a result of a task and of what a worker sent for it.
        n_workers: processes at most; None is one a core.
        hang_s: a file without any progress for so long is given up.
        ahead: files a worker that may be asked for before the one that is next.
        at_work: what is at work on a file, for the message of a file that it fails at.
    """

    def __init__(
        self,
        module: str,
        settings: dict[str, Any],
        read: Callable[[T, Message], R],
        n_workers: int | None = None,
        *,
        hang_s: float = HANG_S,
        ahead: int = AHEAD,
        at_work: str = "its decoder",
    ) -> None:
        self.n_workers = n_workers or n_cores()
        self._ahead = ahead
        self._orders: queue.SimpleQueue[_Order[T, R] | None] = queue.SimpleQueue()
        self._workers = [_Worker(module, settings, read, hang_s, at_work) for _ in range(self.n_workers)]
        self._threads: list[threading.Thread] = []
        self._n_orders = 0
        self._asking = threading.Lock()
        self._closed = weakref.finalize(self, _end, self._workers, self._orders)

    def start(self) -> None:
        """Start a first worker before there is something to do, so that it gets ready meanwhile."""
        if not self._threads:
            self._add_worker()

    def run(self, tasks: Iterable[T], progress: Progress | None = None) -> Iterator[R | Failure]:
        """Do something to files.

        Args:
            tasks: the files, and what is done to them.
            progress: is told a path and the seconds of it that are done; called from other threads.

        Yields:
            A result a file, in order, or a Failure for a file that failed.

        Raises:
            TaggramError: no worker can be made ready, all were ended, or something is wrong that is no fault of a file.
        """
        waiting = iter(tasks)
        results: queue.SimpleQueue[tuple[int, R | Failure | TaggramError]] = queue.SimpleQueue()
        dropped = threading.Event()
        done: dict[int, R | Failure] = {}
        n_asked = 0
        try:
            for index in itertools.count():
                while n_asked < index + self._ahead * self.n_workers and (task := next(waiting, None)) is not None:
                    self._ask(_Order(n_asked, task, progress, results, dropped))
                    n_asked += 1
                if index == n_asked:
                    return
                while index not in done:
                    place, result = self._next_of(results)
                    done[place] = result
                yield done.pop(index)
        finally:
            dropped.set()  # whoever stops listening leaves no work behind for the next run

    def as_done(self, tasks: Iterable[T], progress: Progress | None = None) -> Iterator[tuple[T, R | Failure]]:
        """Do something to files, and give the results in the order in which they come.

        Args:
            tasks: as for `run`.
            progress: as for `run`.

        Yields:
            Each task with its result, or with a Failure.

        Raises:
            TaggramError: as for `run`.
        """
        results: queue.SimpleQueue[tuple[int, R | Failure | TaggramError]] = queue.SimpleQueue()
        dropped = threading.Event()
        asked: dict[int, T] = {}
        try:
            for index, task in enumerate(tasks):
                self._ask(_Order(index, task, progress, results, dropped))
                asked[index] = task
                if len(asked) >= self._ahead * self.n_workers:
                    place, result = self._next_of(results)
                    yield asked.pop(place), result
            while asked:
                place, result = self._next_of(results)
                yield asked.pop(place), result
        finally:
            dropped.set()

    def close(self) -> None:
        """End the processes."""
        self._closed()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _ask(self, order: _Order[T, R]) -> None:
        """Put a file into the queue, with one more worker to take it if there may be."""
        with self._asking:  # several threads may each have a run of their own
            self._orders.put(order)
            self._n_orders += 1
            if self._closed.alive and len(self._threads) < min(self.n_workers, self._n_orders):
                self._add_worker()

    def _add_worker(self) -> None:
        """Start the thread that serves one more worker."""
        worker = self._workers[len(self._threads)]
        thread = threading.Thread(target=_feed, args=(worker, self._orders), daemon=True)
        self._threads.append(thread)
        thread.start()
        if len(self._threads) == 1:
            threading.Thread(target=_watch, args=(self._workers, self._closed), daemon=True).start()

    def _next_of(self, results: queue.SimpleQueue[tuple[int, R | Failure | TaggramError]]) -> tuple[int, R | Failure]:
        while True:  # a wait without end cannot be interrupted on Windows
            with contextlib.suppress(queue.Empty):
                place, result = results.get(timeout=1.0)
                if isinstance(result, TaggramError):
                    raise result
                return place, result
            if not self._closed.alive:
                raise WorkerError("the workers were ended.")


class _Worker(Generic[T, R]):
    """One worker process and the pipe to it; a new process is started when the last one is gone.

    Args:
        module: what it runs.
        settings: what makes it ready.
        read: makes a result of a task and of what the process sent for it.
        hang_s: seconds without a message after which the process is ended.
        at_work: what is at work on a file.
    """

    def __init__(
        self, module: str, settings: dict[str, Any], read: Callable[[T, Message], R], hang_s: float, at_work: str
    ) -> None:
        self._module = module
        self._settings = settings
        self._read = read
        self._hang_s = hang_s
        self._at_work = at_work
        self._process: subprocess.Popen[bytes] | None = None
        self._patience_s: float | None = None  # for how much longer an answer is waited for; None: for none
        self._ready = False
        self._hung = False
        self._ended = False
        self._lock = threading.Lock()

    def run(self, task: T, progress: Progress | None) -> R | Failure:
        """Do a task, whatever becomes of the process.

        Args:
            task: the file.
            progress: is told its path and the seconds of it that are done.

        Returns:
            What the worker found, or the Failure of the file.

        Raises:
            TaggramError: the worker cannot be made ready, or something is wrong that is no fault of the file.
        """
        try:
            try:
                self._start()
            except (OSError, EOFError):  # it died before it saw the file, which is not to pay for it
                self._bury(task.path)
                self._start()
            self._send(dataclasses.asdict(task))
            while True:
                message = self._receive(self._hang_s)
                if "done_s" not in message:
                    break
                if progress:
                    progress(task.path, message["done_s"])
        except (OSError, EOFError):
            return self._bury(task.path)
        if "error" in message:
            kind = getattr(errors, message["error"], None)
            if kind in NO_FAULT_OF_THE_FILE:
                raise kind(message["message"])
            return Failure(task.path, message["error"], message["message"])
        return self._read(task, message["result"])

    def get_ready(self) -> None:
        """Start the process before there is a task; what goes wrong shows when there is one."""
        try:
            self._start()
        except (OSError, EOFError, TaggramError):
            self._bury("")

    def kill(self) -> None:
        """End the process, whatever it does, without a wait until it is gone."""
        with self._lock:
            self._ended = True
            if self._process is not None:
                self._process.kill()

    def end(self) -> None:
        """End the process, whatever it does."""
        with self._lock:
            self._ended = True
            if self._process is not None:
                _kill(self._process)
                self._process = None

    def end_if_hung(self, waited_s: float) -> None:
        """End the process if it was to answer and has not for too long.

        Args:
            waited_s: how long it was waited for since the last call.
        """
        with self._lock:
            if self._process is None or self._patience_s is None:
                return
            self._patience_s -= waited_s
            if self._patience_s < 0:
                self._hung = True
                self._process.kill()

    def _start(self) -> None:
        """Start a process unless there is one, and wait until it is ready."""
        with self._lock:
            if self._ended:
                raise EOFError
            if self._process is not None:
                return
            self._hung = self._ready = False
            # -P and our own path: what lies in the folder that the user stands in is data, and no module to import.
            search_path = os.pathsep.join(place or str(Path.cwd()) for place in sys.path)
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", self._module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, **ONE_THREAD, "PYTHONPATH": search_path},
            )
        self._send({"settings": self._settings})
        answer = self._receive(START_S)
        if "error" in answer:
            kind = getattr(errors, answer["error"], None)
            if isinstance(kind, type) and issubclass(kind, TaggramError):
                raise kind(answer["message"])
            raise WorkerError(f"no worker could be made ready: {answer['error']}: {answer['message']}")
        self._ready = True

    def _send(self, message: Message) -> None:
        process = self._process
        if process is None or process.stdin is None:
            raise EOFError
        send(process.stdin, message)

    def _receive(self, within_s: float) -> Message:
        process = self._process
        if process is None or process.stdout is None:
            raise EOFError
        self._patience_s = within_s
        try:
            return receive(process.stdout)
        finally:
            self._patience_s = None

    def _bury(self, path: str) -> Failure:
        """Take leave of a process that is gone, and say what it died of."""
        with self._lock:
            process, self._process = self._process, None
        if process is None:
            reason = "the workers were ended" if self._ended else "no worker process can be started"
            return Failure(path, NOT_STARTED, f"it was given up, because {reason}")
        _kill(process)
        if not self._ready:
            reason = f"the worker process ended while it started ({_cause_of_death(process.returncode)})"
            return Failure(path, NOT_STARTED, reason)
        if self._hung:
            reason = f"{self._at_work} made no progress for {self._hang_s:g} s and was ended"
        else:
            reason = f"{self._at_work} crashed ({_cause_of_death(process.returncode)})"
        return Failure(path, WorkerError.__name__, reason)


def peak_mb() -> float | None:
    """Give the most memory that this process ever held, in megabytes; None where the system does not say (Windows)."""
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = [line for line in status.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) * 1024 / 1e6
    if sys.platform == "darwin":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return None


def n_cores() -> int:
    """Count the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def send(stream: IO[bytes], message: Message) -> None:
    """Write a message; arrays in `message["result"]` go as their bytes.

    Args:
        stream: the pipe.
        message: plain values, and a dict of plain values and arrays as "result".
    """
    import numpy as np  # here, so that a process can start workers before it loads numpy

    result: dict[str, Any] = message.get("result", {})
    arrays = {name: np.ascontiguousarray(value) for name, value in result.items() if isinstance(value, np.ndarray)}
    plain = {name: value for name, value in result.items() if name not in arrays}
    shapes = {name: (array.dtype.str, array.shape) for name, array in arrays.items()}
    header = json.dumps({**message, "result": plain, "arrays": shapes}).encode("ascii")
    stream.write(struct.pack("<Q", len(header)))
    stream.write(header)
    for array in arrays.values():
        stream.write(array.reshape(-1).view(np.uint8).data)
    stream.flush()


def receive(stream: IO[bytes]) -> Message:
    """Read a message.

    Args:
        stream: the pipe.

    Returns:
        The message as it was sent.

    Raises:
        EOFError: the other end is gone.
    """
    import numpy as np

    (length,) = struct.unpack("<Q", _read(stream, 8))
    message: Message = json.loads(_read(stream, length))
    for name, (kind, shape) in message.pop("arrays").items():
        array: NDArray[Any] = np.empty(shape, np.dtype(kind))
        array.reshape(-1).view(np.uint8)[:] = np.frombuffer(_read(stream, array.nbytes), np.uint8)
        message["result"][name] = array
    return message


def _read(stream: IO[bytes], length: int) -> bytes:
    data = stream.read(length)
    if len(data) < length:
        raise EOFError
    return data


def _feed(worker: _Worker[T, R], orders: queue.SimpleQueue[_Order[T, R] | None]) -> None:
    """Take files out of the queue for one worker until there is a None."""
    if hasattr(signal, "pthread_sigmask"):  # the process inherits it, and Ctrl-C is for this one
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    worker.get_ready()
    while (order := orders.get()) is not None:
        if order.dropped.is_set():
            continue
        result: R | Failure | TaggramError
        try:
            result = worker.run(order.task, order.progress)
        except TaggramError as error:
            result = error
        except Exception as error:  # whoever waits for the result must get one
            result = WorkerError(f"{type(error).__name__}: {error}")
        order.results.put((order.index, result))


def _watch(workers: list[_Worker[T, R]], closed: weakref.finalize[Any, Any]) -> None:
    """Look after hung workers until all are ended."""
    before = time.monotonic()
    while closed.alive:
        time.sleep(WATCH_EVERY_S)
        now = time.monotonic()
        waited_s = min(now - before, 2 * WATCH_EVERY_S)  # what is more, this process itself stood still
        before = now
        for worker in workers:
            worker.end_if_hung(waited_s)


def _end(workers: list[_Worker[T, R]], orders: queue.SimpleQueue[_Order[T, R] | None]) -> None:
    """End all workers and the threads that serve them."""
    for worker in workers:
        worker.kill()  # all of them before any is waited for: a second Ctrl-C ends the wait
        orders.put(None)
    for worker in workers:
        worker.end()


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a process and wait until it is gone."""
    process.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):  # stuck in the system, for example on a dead network drive
        process.wait(timeout=KILL_S)
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


def _cause_of_death(code: int | None) -> str:
    """Name what a return code means."""
    with contextlib.suppress(ValueError):
        if code is not None and code < 0:
            return signal.Signals(-code).name
    return f"exit code {code}"


# -- inside of a worker ------------------------------------------------------------------------------------------------


def serve(make: Callable[[Message], Do]) -> None:
    """Be a worker: get ready, then do each task that comes, until standard input ends.

    Args:
        make: gets the settings, and gives what does a task.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    requests = sys.stdin.buffer
    nowhere = os.open(os.devnull, os.O_WRONLY)  # first of all: it fills the place of a standard error that was closed
    answers = os.fdopen(os.dup(1), "wb")
    for number in (1, 2):  # decoders written in C tell their troubles to whoever listens
        os.dup2(nowhere, number)
    with contextlib.suppress(EOFError, BrokenPipeError):
        settings = receive(requests)["settings"]
        gc.disable()  # importing torch makes a million objects, none of which is garbage
        try:
            do = make(settings)
        except Exception as error:  # also of a broken installation: the parent has nobody else to hear it from
            send(answers, {"error": type(error).__name__, "message": str(error)})
            return
        gc.freeze()
        gc.enable()
        send(answers, {"ready": True})
        while True:
            request = receive(requests)
            task = {name: value for name, value in request.items() if name != "result"}
            send(answers, _answer(do, task, answers))


def _end_with(parent: int) -> None:
    """End this process when the one that started it is gone, which it would else see at the end of its task alone."""
    while os.getppid() == parent:  # on Windows the number stays
        time.sleep(PARENT_EVERY_S)
    os._exit(1)


def _answer(do: Do, task: Message, answers: IO[bytes]) -> Message:
    """Do a task and make the message that says how it went."""
    last = time.monotonic()

    def tell(done_s: float) -> None:
        nonlocal last
        if time.monotonic() - last > PROGRESS_EVERY_S:
            last = time.monotonic()
            send(answers, {"done_s": done_s})

    try:
        return {"result": do(task, tell)}
    except (BrokenPipeError, EOFError):
        raise
    except Exception as error:  # any other fault of one file must not cost the next one
        failure = Failure.of(task["path"], error)
        return {"error": failure.error, "message": failure.message}
