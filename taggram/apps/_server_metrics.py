"""What the service counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
PATCHES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Counts and gauges of one service, in a registry of its own."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector

        registry = self.registry = CollectorRegistry()
        self.requests = Counter("taggram_requests", "Requests answered.", ["route", "status"], registry=registry)
        self.request_seconds = Histogram(
            "taggram_request_seconds",
            "Time from a request to its answer.",
            ["route"],
            buckets=SECONDS,
            registry=registry,
        )
        self.wait_seconds = Histogram("taggram_wait_seconds", "Time in the queue.", buckets=SECONDS, registry=registry)
        self.refused = Counter(
            "taggram_refused_connections", "Connections that were closed.", ["reason"], registry=registry
        )
        self.upload_bytes = Counter("taggram_upload_bytes", "Bytes of files taken in.", registry=registry)
        self.sound_seconds = Counter("taggram_sound_seconds", "Sound tagged or embedded.", ["model"], registry=registry)
        self.batch_patches = Histogram(
            "taggram_batch_patches", "Patches that the network saw at once.", buckets=PATCHES, registry=registry
        )
        self.uploads = Gauge("taggram_uploads", "Uploads that are coming in.", registry=registry)
        self.queue = Gauge("taggram_queue", "Uploads that are whole and not answered.", registry=registry)
        self.lessons = Gauge("taggram_lessons", "Lessons that are learned or wait.", registry=registry)
        self.ready = Gauge("taggram_ready", "Whether networks are loaded.", registry=registry)
        self.restarts = Counter(
            "taggram_decoder_restarts", "Decoder processes that were lost and replaced.", registry=registry
        )
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)

    def follow(self, *, uploads: Callable[[], float], queue: Callable[[], float], lessons: Callable[[], float]) -> None:
        """Take gauges from where they are known.

        Args:
            uploads: gives how many are coming in.
            queue: gives how many are whole and not answered.
            lessons: gives how many are learned or wait.
        """
        self.uploads.set_function(uploads)
        self.queue.set_function(queue)
        self.lessons.set_function(lessons)

    def text(self) -> bytes:
        """Give all of them as Prometheus reads them."""
        from prometheus_client import generate_latest

        return generate_latest(self.registry)

    @property
    def content_type(self) -> str:
        """The type of `text`."""
        from prometheus_client import CONTENT_TYPE_LATEST

        return CONTENT_TYPE_LATEST
