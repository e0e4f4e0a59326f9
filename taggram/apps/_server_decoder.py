"""A decoder process of the service: an uploaded file in, mono float32 samples in another file out.

It loads no torch, so it starts quickly, and it may take only so much memory, time and room on the disk. On Linux the
system refuses memory beyond the limit; elsewhere the process watches itself and ends. All POSIX systems limit the size
of the file that it writes.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from taggram._processes import Do, FileTask, Message, Tell, serve
from taggram.errors import AudioError

WATCH_EVERY_S = 0.05
MB = 1_000_000
FILE_ROOM = 4 * MB  # of the written file, above what the longest sound needs


@dataclass(frozen=True)
class DecodeTask(FileTask):
    """An uploaded file that is to be decoded.

    Attributes:
        samples: the file that the samples are written to.
        sample_rate: in Hz, of the samples.
        name: what the client calls the file, or "".
    """

    samples: str
    sample_rate: int
    name: str


def make_decoder(settings: Message) -> Do:
    """Get ready to decode.

    Args:
        settings: `max_duration_s`, `max_decoded_mb`, `max_memory_mb`, `decode_s` and `max_sample_rate`.

    Returns:
        What decodes one file, and gives `duration_s`, `notes` and `unusual`.
    """
    from taggram.audio import SoundStream

    with contextlib.suppress(ImportError):  # else it would be loaded under the limit
        import av  # noqa: F401
    limit_memory(int(settings["max_memory_mb"] * MB))
    limit_files(int(settings["max_duration_s"] * settings["max_sample_rate"] * 4) + FILE_ROOM)

    def decode(fields: Message, tell: Tell) -> Message:
        task = DecodeTask(**fields)
        end = time.monotonic() + settings["decode_s"]
        with (
            SoundStream(task.path, sample_rate=task.sample_rate, max_duration_s=settings["max_duration_s"]) as sound,
            Path(task.samples).open("wb") as file,
        ):
            sound.name = task.name
            for block in sound:
                file.write(block.data)
                if sound.decoded_bytes > settings["max_decoded_mb"] * MB:
                    raise AudioError(f"it decodes to more than the {settings['max_decoded_mb']:g} MB allowed")
                if time.monotonic() > end:
                    raise AudioError(f"decoding it takes longer than the {settings['decode_s']:g} s allowed")
                tell(sound.duration_s)
        return {"duration_s": sound.duration_s, "notes": sound.notes, "unusual": sound.unusual}

    return decode


def limit_memory(n_bytes: int) -> None:
    """Keep this process from taking more memory than it has now and so much more.

    On Linux an allocation beyond that fails. Elsewhere no such limit holds, so a thread looks every 50 ms and ends the
    process.

    Args:
        n_bytes: how much more.
    """
    if sys.platform == "linux":
        import resource

        now = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_DATA, (now + n_bytes, now + n_bytes))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash must not leave sound behind
    else:
        threading.Thread(target=_end_above, args=(_peak_memory() + n_bytes,), daemon=True).start()


def limit_files(n_bytes: int) -> None:
    """Keep this process from writing larger files, where the system knows such a limit.

    Args:
        n_bytes: of one file.
    """
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, n_bytes))


def _end_above(n_bytes: int) -> None:
    while _peak_memory() <= n_bytes:
        time.sleep(WATCH_EVERY_S)
    os._exit(1)


def _peak_memory() -> int:
    """Give the most memory that this process ever held, in bytes."""
    if sys.platform == "win32":
        import ctypes
        from ctypes import wintypes

        class Counters(ctypes.Structure):  # PROCESS_MEMORY_COUNTERS
            _fields_ = (
                ("cb", wintypes.DWORD), ("PageFaultCount", wintypes.DWORD),
                *((name, ctypes.c_size_t) for name in (
                    "PeakWorkingSetSize", "WorkingSetSize", "QuotaPeakPagedPoolUsage", "QuotaPagedPoolUsage",
                    "QuotaPeakNonPagedPoolUsage", "QuotaNonPagedPoolUsage", "PagefileUsage", "PeakPagefileUsage",
                )),
            )  # fmt: skip

        counters = Counters(cb=ctypes.sizeof(Counters))
        kernel = ctypes.windll.kernel32
        kernel.GetCurrentProcess.restype = wintypes.HANDLE
        kernel.K32GetProcessMemoryInfo.argtypes = (wintypes.HANDLE, ctypes.POINTER(Counters), wintypes.DWORD)
        kernel.K32GetProcessMemoryInfo(kernel.GetCurrentProcess(), ctypes.byref(counters), counters.cb)
        return int(counters.PeakPagefileUsage)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    serve(make_decoder)
