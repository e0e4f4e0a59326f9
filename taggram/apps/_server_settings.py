"""The settings of the service: what it offers, and the limits that keep one request from harming the others."""

from __future__ import annotations

from dataclasses import dataclass

from taggram._checks import check, check_count, is_number
from taggram._processes import n_cores

MB = 1_000_000  # bytes
LOCAL = "127.0.0.1"
LANES_A_CORE = 4  # requests in work: enough that batches fill, and that short sounds are not held up by long ones


@dataclass(frozen=True, kw_only=True)
class ServiceSettings:
    """Settings of `taggram serve`; each can be given as KEY=VALUE.

    Attributes:
        max_upload_mb: largest file that is taken, in MB (1,000,000 bytes).
        max_duration_s: longest sound that is taken, in seconds.
        max_decoded_mb: largest sound once decoded, all channels in 32 bits, in MB.
        max_memory_mb: memory that a decoder may take for itself above what it starts with, in MB.
        decode_s: longest time that decoding one file may take, in seconds.
        work_s: longest time that all work on one request may take, in seconds, without its wait in the queue.
        find_s: longest time that a question by tags may take, in seconds, with its wait for others.
        max_values: most numbers in an answer: patches times tags, or rows times features.
        max_tracks: most tracks of a catalogue in an answer.
        max_connections: open connections.
        max_uploads: uploads at once.
        max_spool_mb: room for all uploads together, in MB.
        max_queue: uploads that are whole and not answered; beyond, 429 is the answer.
        header_s: longest time that the head of a request may take, in seconds.
        grace_s: time that an upload has before the least rate counts, in seconds.
        least_rate: bytes a second that an upload must come with from then on.
        upload_s: longest time that an upload may take, in seconds.
        send_s: time in which a client must take what remains of its answer, or as much as the least rate gives.
        start_s: longest time that a request waits for the network to be loaded, in seconds.
        stop_s: longest time that is given to what was taken before the service stops, in seconds.
        n_decoders: decoder processes; None is one a core.
        n_threads: threads that run networks, one core each; None is one a core. On a GPU there is one.
        batch_size: patches that a network sees at once, of one request or of several.
        n_lanes: requests that are in work at once; None is four a core.

    Raises:
        ConfigError: a setting makes no sense.
    """

    max_upload_mb: float = 100
    max_duration_s: float = 600
    max_decoded_mb: float = 1_000
    max_memory_mb: float = 1_000
    decode_s: float = 60
    work_s: float = 300
    find_s: float = 10
    max_values: int = 2_000_000
    max_tracks: int = 1_000
    max_connections: int = 512
    max_uploads: int = 64
    max_spool_mb: float = 4_000
    max_queue: int = 64
    header_s: float = 10
    grace_s: float = 10
    least_rate: float = 2_000
    upload_s: float = 600
    send_s: float = 60
    start_s: float = 300
    stop_s: float = 60
    n_decoders: int | None = None
    n_threads: int | None = None
    batch_size: int = 16
    n_lanes: int | None = None

    def __post_init__(self) -> None:
        for name in ("max_values", "max_tracks", "max_connections", "max_uploads", "max_queue", "batch_size"):
            check_count(name, getattr(self, name))
        for name in ("n_decoders", "n_threads", "n_lanes"):
            if getattr(self, name) is not None:
                check_count(name, getattr(self, name))
        for name in (
            *("max_upload_mb", "max_duration_s", "max_decoded_mb", "max_memory_mb", "decode_s", "work_s", "find_s"),
            *("max_spool_mb", "header_s", "grace_s", "least_rate", "upload_s", "send_s", "start_s", "stop_s"),
        ):
            came = getattr(self, name)
            check(is_number(came) and came > 0, name, came, "a number above 0")

    @property
    def decoders(self) -> int:
        """Number of decoder processes."""
        return self.n_decoders or n_cores()

    @property
    def lanes(self) -> int:
        """Number of requests in work at once."""
        return self.n_lanes or LANES_A_CORE * n_cores()


@dataclass(frozen=True, kw_only=True)
class ServedModel:
    """A model, or a kit, that the service offers.

    Attributes:
        name: what `?model=` asks for.
        settings: those of the `Tagger`.
        is_kit: whether it is a kit.
    """

    name: str
    settings: dict[str, object]
    is_kit: bool = False


@dataclass(frozen=True, kw_only=True)
class Access:
    """Who may ask, and where.

    Attributes:
        host: address to listen on; None is 127.0.0.1, for those alone who ask for it by a name of this machine itself.
        port: the port; 0 is any that is free.
        token: what requests must bear, or None for no token.
        cors: origins whose pages may ask, such as "https://example.org".

    Raises:
        ConfigError: a value makes no sense.
    """

    host: str | None = None
    port: int = 8000
    token: str | None = None
    cors: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check(self.host != "", "host", self.host, "a name or an address, such as 127.0.0.1")
        check_count("port", self.port, 0, 65_535)
        is_sendable = self.token is None or (
            self.token.isascii() and self.token.isprintable() and " " not in self.token
        )
        check(is_sendable and self.token != "", "the token", "...", "letters, digits and signs without blanks")
        for origin in self.cors:
            fits = origin == "*" or (origin.startswith(("http://", "https://")) and not origin.endswith("/"))
            check(fits, "cors", origin, "an origin such as https://example.org, or *")

    @property
    def address(self) -> str:
        """Address to listen on."""
        return LOCAL if self.host is None else self.host

    @property
    def is_local(self) -> bool:
        """Whether only requests to a name of this machine itself are answered."""
        return self.host is None and self.token is None
