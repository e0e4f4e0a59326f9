"""The work of the service: what was uploaded waits in a bounded queue, is decoded, and goes through a network."""

from __future__ import annotations

import asyncio
import logging
import math
import queue
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from taggram._processes import n_cores
from taggram.apps._server_decoding import Decoders
from taggram.apps._server_errors import BusyError, CutError, NotReadyError, TooLargeError, TooMuchWorkError
from taggram.apps._server_learning import Lessons
from taggram.apps._server_log import log
from taggram.apps._server_metrics import Metrics
from taggram.apps._server_teaching import PREFIX, Kits
from taggram.apps._server_uploads import Upload, Uploads
from taggram.errors import ConfigError, TaggramError, printable, unknown_name

if TYPE_CHECKING:
    from taggram.apps._server_catalogue import ServedCatalogue
    from taggram.apps._server_network import Batches, ServedTagger
    from taggram.apps._server_settings import ServedModel, ServiceSettings

MAX_SAMPLE_RATE = 192_000  # Hz: no network asks for more, and it only limits the size of a file
LONGEST_RETRY_S = 60
FIRST_GUESS_S = 1.0  # of the time that a request takes in work
PROBE_S = 2.0  # that a decoder has to answer


class Job:
    """An upload on its way through the service. To be read: `wait_s`, `sound_s`.

    Args:
        upload: the file.
        tagger: what tags it.
        hop_s: step between patches in seconds, or None.
        settings: of the service.
        do: makes the answer of the tagger of this request and of the decoded sound.
    """

    def __init__(
        self,
        upload: Upload,
        tagger: ServedTagger,
        hop_s: float | None,
        settings: ServiceSettings,
        do: Callable[[ServedTagger, Any], Any],
    ) -> None:
        self.upload = upload
        self.answer: Future[Any] = Future()
        self.wait_s = 0.0
        self.sound_s = 0.0
        self._tagger = tagger
        self._do = do
        self._hop_s = hop_s
        self._settings = settings
        self._asked = time.monotonic()
        self._end = math.inf
        self._n_values = 0
        self._is_dropped = threading.Event()

    def drop(self) -> None:
        """Let the work on it end soon, because nobody waits for it any more."""
        self._is_dropped.set()

    def work(self, decoders: Decoders) -> Any:
        """Do all of it, in this thread.

        Args:
            decoders: decode the file.

        Returns:
            The answer.

        Raises:
            CutError: it was dropped.
            TaggramError: the sound or the request cannot be used.
        """
        now = time.monotonic()
        self.wait_s, self._end = now - self._asked, now + self._settings.work_s
        self._check(0)
        tagger = self._tagger.for_request(self._hop_s, self._check)
        sound = decoders.decode(self.upload.path, self.upload.name, tagger.model.frontend.sample_rate)
        self.sound_s = sound.duration_s
        self._check(0)
        return self._do(tagger, sound)

    def _check(self, n_values: int) -> None:
        """Count what was computed, and end what is dropped, too long, or too much."""
        self._n_values += n_values
        if self._is_dropped.is_set():
            raise CutError("nobody waits for the answer any more.")
        if time.monotonic() > self._end:
            raise TooMuchWorkError(f"it takes longer than the {self._settings.work_s:g} s of work allowed.")
        if self._n_values > self._settings.max_values:
            raise TooLargeError(
                f"the answer would have more than the {self._settings.max_values} numbers allowed: take a longer "
                "hop_s, a smaller layer, or shorter sound."
            )


class Service:
    """Networks, decoders, and the queue between them and the requests.

    To be used in a `with` statement, at whose end the decoders are ended and all files are removed.

    Args:
        models: what it offers; the first is the default.
        settings: its limits.
        device: "auto" (a CUDA device if there is one), or any device that torch knows.
        spool: a folder that uploads are kept in for a moment; None is the system's place for temporary files.
        collection: the catalogue that can be asked, or None.

    Raises:
        ConfigError: no folder can be made for uploads.
    """

    def __init__(
        self,
        models: Sequence[ServedModel],
        settings: ServiceSettings,
        *,
        device: str = "auto",
        spool: Path | None = None,
        collection: ServedCatalogue | None = None,
    ) -> None:
        self.collection = collection
        self.models = {model.name: model for model in models}
        self.default = models[0].name
        self.settings = settings
        self.metrics = Metrics()
        self.taggers: dict[str, ServedTagger] = {}
        self.kits = Kits()
        self.lessons = Lessons(settings)
        self._device = device
        self.n_jobs = 0  # that wait or are in work
        self._folder = _make_folder(spool)
        self.uploads = Uploads(settings, self._folder)
        self._jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._decoders = Decoders(settings, MAX_SAMPLE_RATE, self.metrics.restarts.inc)
        self._batches: Batches | None = None
        self._is_loaded = asyncio.Event()
        self._probe: asyncio.Task[bool] | None = None
        self._seconds_a_job = FIRST_GUESS_S
        self.metrics.follow(
            uploads=lambda: self.uploads.n_coming, queue=lambda: self.n_jobs, lessons=lambda: self.lessons.n_open
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End all processes, and remove all files."""
        self._decoders.close()
        self.lessons.close()
        if self._batches:
            self._batches.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    async def load(self) -> None:
        """Load the networks and start the decoders; requests that come meanwhile wait.

        Raises:
            TaggramError: a model cannot be loaded, or a decoder not be started.
        """
        await asyncio.gather(
            asyncio.to_thread(self._decoders.start, self._folder), asyncio.to_thread(self._load_taggers)
        )
        for _ in range(self.settings.lanes):
            threading.Thread(target=self._work, name="lane", daemon=True).start()
        self.metrics.ready.set(1)
        self._is_loaded.set()

    @property
    def is_loaded(self) -> bool:
        """Whether networks and decoders are there."""
        return self._is_loaded.is_set()

    async def is_ready(self) -> bool:
        """Say whether the networks are loaded and a decoder answers."""
        if not self.is_loaded:
            return False
        if self._probe is None or self._probe.done():  # one at a time, so that many who ask do not take all threads
            self._probe = asyncio.create_task(asyncio.to_thread(self._decoders.answer, self._folder))
        await asyncio.wait({self._probe}, timeout=PROBE_S)
        return self._probe.done() and self._probe.result()

    async def tagger(self, name: str | None) -> ServedTagger:
        """Give the tagger that is asked for; wait for it while the service starts.

        Args:
            name: of a model; None is the default.

        Returns:
            The tagger.

        Raises:
            UnknownNameError: there is none of that name.
            NotReadyError: it takes too long to be loaded.
        """
        if name is not None and name.startswith(PREFIX) and name not in self.models:
            return self.kits.tagger(name)
        offered = self.offered(name)
        try:
            async with asyncio.timeout(self.settings.start_s):
                await self._is_loaded.wait()
        except TimeoutError as error:
            raise NotReadyError("the networks are still being loaded.", {"Retry-After": "10"}) from error
        return self.taggers[offered.name]

    def offered(self, name: str | None) -> ServedModel:
        """Give the model that is asked for.

        Args:
            name: of a model; None is the default.

        Returns:
            The model.

        Raises:
            UnknownNameError: there is none of that name.
        """
        if name is not None and name not in self.models:
            raise unknown_name("model", name, self.models, "/v1/models lists those of this service")
        return self.models[name or self.default]

    def check_room(self) -> None:
        """Refuse a request that there is no room for, before its upload is read.

        Raises:
            BusyError: the queue is full.
        """
        if self.n_jobs < self.settings.max_queue:
            return
        wait_s = math.ceil(self._seconds_a_job * self.n_jobs / self.settings.lanes)
        raise BusyError(
            f"{self.n_jobs} requests wait already; try again a little later.",
            {"Retry-After": str(min(LONGEST_RETRY_S, max(1, wait_s)))},
        )

    async def answer(self, job: Job, is_cut: Callable[[], Any]) -> Any:
        """Put a job into the queue and wait for its answer.

        Args:
            job: the job.
            is_cut: a coroutine that ends when the client goes away.

        Returns:
            The answer.

        Raises:
            BusyError: the queue is full.
            CutError: the client went away.
            TaggramError: the sound or the request cannot be used.
        """
        self.check_room()
        self.n_jobs += 1
        self._jobs.put(job)
        answer = asyncio.wrap_future(job.answer)
        answer.add_done_callback(self._count_done)
        cut = asyncio.ensure_future(is_cut())
        try:
            await asyncio.wait({answer, cut}, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                job.drop()
                await asyncio.wait({answer})  # its file must not go while a decoder reads it
            return answer.result()
        finally:
            cut.cancel()
            job.drop()

    def _count_done(self, answer: asyncio.Future[Any]) -> None:
        self.n_jobs -= 1
        if not answer.cancelled():
            answer.exception()  # is looked at here, should nobody else

    def _load_taggers(self) -> None:
        from taggram.apps._server_network import Batches, ServedTagger
        from taggram.tagger import find_device

        is_on_cpu = find_device(self._device).type == "cpu"
        n_threads = (self.settings.n_threads or n_cores()) if is_on_cpu else 1
        self._batches = Batches(n_threads, self.settings.batch_size, self.metrics.batch_patches.observe)
        for model in self.models.values():
            self.taggers[model.name] = ServedTagger(self._batches, device=self._device, **model.settings)
            self.taggers[model.name].warm_up()
        if self.collection is not None:
            self.collection.prepare(self.taggers)

    def _work(self) -> None:
        """Do one job after the other."""
        while True:
            job = self._jobs.get()
            if not job.answer.set_running_or_notify_cancel():
                continue
            begun = time.monotonic()
            try:
                answer = job.work(self._decoders)
            except BaseException as error:  # whoever waits for the answer must get one
                job.answer.set_exception(error)
                if not isinstance(error, TaggramError):
                    log("work failed", level=logging.ERROR, raised=error)
            else:
                self._seconds_a_job += 0.1 * (time.monotonic() - begun - self._seconds_a_job)
                job.answer.set_result(answer)
            del job


def _make_folder(spool: Path | None) -> Path:
    """Make the folder for uploads."""
    try:
        return Path(tempfile.mkdtemp(prefix="taggram-", dir=spool))
    except OSError as error:
        place = "temporary files" if spool is None else printable(str(spool))
        raise ConfigError(f"uploads cannot be kept in {place} ({error.strerror}); --spool DIR says where.") from error
