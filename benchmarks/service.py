"""How `taggram serve` bears a load: good clips from many clients, mixed with all that is bad, beside the command line.

    python benchmarks/service.py [--seconds 600] [--clients 32] [--model musicnn.mtt] [--out FILE]

A real server is started. Clients send 30-s clips and, now and then, something bad: nothing, noise, other types, broken
forms, too much (with its length said and unsaid), bodies and heads that come too slowly, connections that are cut,
small files that claim hours, path tricks in names, wrong settings. In turns with that, the clients rest, and the same
clips go through `Tagger.tag_many` with warm workers, one a core, which is what `taggram tag` does. The ratio of both
rates, within each turn, is the result; what the server and the clients do about the bad things is in it. Every good
answer is compared with the command line's. Linux only.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from _http import NO_REPLY, Connection, Reply, connection, head, read_reply
from _machine import memory_mb
from _sound import demo_song

from taggram._processes import n_cores
from taggram.apps.bench import Spread, describe_machine, write_clips
from taggram.results import Taggram
from taggram.tagger import Tagger

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from _sounds import encoded, opus_of_hours, pcm16, tone, wav

N_CLIPS = 20
TURN_S = 40.0  # of the server, and then until all is answered
COMMAND_TURN_S = 20.0  # of the command line, about
LEAST_SHARE = 0.8  # of the command line's rate
TOLERANCE = 1e-5
SHARE_OF_BAD = 0.25
MAX_UPLOAD_MB = 10
HEADER_S = GRACE_S = 5
SETTLED_S = 60.0  # memory may grow until then
MOST_GROWTH = 1.1  # of memory after that, beside what it was
SLOW_CLIENTS = 2  # send slowly all the time, beside the others
TAG = "/v1/tag?top=50&over_time=true"
GOOD = "good"

Ask = Callable[[Connection], Awaitable[Reply]]


@dataclass(frozen=True)
class Kind:
    """Something that clients send.

    Attributes:
        name: in the table.
        ask: sends it.
        wanted: statuses that are right; 0 is a connection that was closed.
    """

    name: str
    ask: Ask
    wanted: tuple[int, ...]


@dataclass
class Seen:
    """What came back.

    Attributes:
        statuses: how often, by kind and status.
        wrong: what should not have come, by kind and status, with a message.
        good_s: latency of each good answer, in seconds.
        n_good: good answers in this turn.
        n_flying: good clips that are sent and not answered.
        worst: largest difference of a score from the command line's.
    """

    statuses: collections.Counter[tuple[str, int]] = field(default_factory=collections.Counter)
    wrong: collections.Counter[tuple[str, int, str]] = field(default_factory=collections.Counter)
    good_s: list[float] = field(default_factory=list)
    n_good: int = 0
    n_flying: int = 0
    worst: float = 0.0


def main() -> None:
    """Run the load and print what came of it."""
    parser = argparse.ArgumentParser(description="Put a load on `taggram serve`, beside the command line.")
    parser.add_argument("--seconds", type=float, default=600.0, help="of the whole load (default: 600)")
    parser.add_argument("--clients", type=int, default=32, help="at once (default: 32)")
    parser.add_argument("--model", default="musicnn.mtt")
    parser.add_argument("--seed", type=int, default=0, help="of the mix (default: 0)")
    parser.add_argument("--out", type=Path, metavar="JSON", help="write the figures here")
    args = parser.parse_args()
    print(describe_machine())
    print(f"load average before: {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        files = write_clips(demo_song(), Path(folder), N_CLIPS)
        with Tagger(args.model, device="cpu") as tagger, Path(folder, "log").open("wb") as log:
            wanted = {Path(one.path).name: one for one in tagger.tag_many(files) if isinstance(one, Taggram)}
            server = start_server(args.model, log)
            try:
                port = port_of(server, Path(folder, "log"))
                load = Load(files, wanted, port, args.seed)
                report = asyncio.run(load.run(args.seconds, args.clients, tagger, server.pid))
            finally:
                server.send_signal(signal.SIGTERM)
                code = server.wait(timeout=120)
    report["exit code of the server"] = code
    is_kept = print_report(report)
    if args.out:
        args.out.write_text(json.dumps({"machine": describe_machine(), **report}, indent=1) + "\n")
    sys.exit(not is_kept)


def start_server(model: str, log: object) -> subprocess.Popen[bytes]:
    """Start a service with limits that a test can reach."""
    settings = (f"max_upload_mb={MAX_UPLOAD_MB}", f"header_s={HEADER_S}", f"grace_s={GRACE_S}")
    command = [sys.executable, "-m", "taggram", "serve", "--port", "0", "--model", model, "--device", "cpu", *settings]
    return subprocess.Popen(command, stderr=log)


def port_of(server: subprocess.Popen[bytes], log: Path) -> int:
    """Wait until the service is ready, and give its port."""
    while server.poll() is None:
        events = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
        if any(event["event"] == "ready" for event in events):
            return int(events[0]["port"])
        time.sleep(0.2)
    sys.exit(log.read_text(encoding="utf-8"))


class Load:
    """Clients that send good and bad things.

    Args:
        files: the good clips.
        wanted: the command line's tags, by name of the file.
        port: of the server.
        seed: of the mix.
    """

    def __init__(self, files: list[str], wanted: dict[str, Taggram], port: int, seed: int) -> None:
        self.clips = {Path(file).name: Path(file).read_bytes() for file in files}
        self.files = files
        self.wanted = wanted
        self.port = port
        self.seen = Seen()
        self.random = random.Random(seed)
        self.may_send = asyncio.Event()
        self.is_over = False
        self.bad, self.slow = bad_kinds(next(iter(self.clips.values())))

    async def run(self, seconds: float, n_clients: int, tagger: Tagger, server: int) -> dict[str, Any]:
        """Let clients and the command line take turns; give all figures.

        Args:
            seconds: how long in all.
            n_clients: clients at once.
            tagger: does what the command line does.
            server: process of the server.

        Returns:
            Figures by name.
        """
        begun = time.monotonic()
        memory: list[tuple[float, float]] = []
        watch = asyncio.create_task(self.watch(server, begun, memory))
        clients = [asyncio.create_task(self.client(self.pick)) for _ in range(n_clients)]
        clients += [asyncio.create_task(self.client(self.pick_slow)) for _ in range(SLOW_CLIENTS)]
        rates: dict[str, list[float]] = {"service": [], "command": []}
        cpu: dict[str, list[float]] = {"service": [], "command": []}
        while time.monotonic() - begun < seconds:
            self.seen.n_good = 0
            turn, cpu_before = time.monotonic(), cpu_s(family_of(server))
            self.may_send.set()
            await asyncio.sleep(TURN_S)
            self.may_send.clear()
            while self.seen.n_flying:
                await asyncio.sleep(0.05)
            rates["service"].append(self.seen.n_good / (time.monotonic() - turn))
            cpu["service"].append((cpu_s(family_of(server)) - cpu_before) / max(1, self.seen.n_good))
            rate, cpu_a_clip = await asyncio.to_thread(self.command_rate, tagger, server)
            rates["command"].append(rate)
            cpu["command"].append(cpu_a_clip)
        self.is_over = True
        self.may_send.set()
        await asyncio.wait(clients, timeout=60)
        watch.cancel()
        return {"cpu s a clip": cpu, **self.report(rates, memory, time.monotonic() - begun)}

    def command_rate(self, tagger: Tagger, server: int) -> tuple[float, float]:
        """Do what `taggram tag` does, and give clips a second, and seconds of CPU a clip."""
        workers = family_of(os.getpid()) - family_of(server) - {os.getpid()}
        begun, cpu_before, n_done = time.monotonic(), cpu_s(workers), 0
        while time.monotonic() - begun < COMMAND_TURN_S:
            n_done += len(list(tagger.tag_many(self.files)))
        return n_done / (time.monotonic() - begun), (cpu_s(workers) - cpu_before) / n_done

    async def watch(self, server: int, begun: float, memory: list[tuple[float, float]]) -> None:
        """Note the memory of the server and its decoders, in MB, every second."""
        while True:
            memory.append((time.monotonic() - begun, memory_mb(family_of(server))))
            await asyncio.sleep(1)

    async def client(self, pick: Callable[[], Kind]) -> None:
        """Send one thing after the other."""
        async with connection("127.0.0.1", self.port) as kept:
            while not self.is_over:
                await self.may_send.wait()
                if not self.is_over:
                    await self.send(pick(), kept)

    async def send(self, kind: Kind, kept: Connection) -> None:
        """Send one thing, and note what comes of it."""
        begun = time.monotonic()
        self.seen.n_flying += kind.name == GOOD
        try:
            reply = await kind.ask(kept)
        except OSError:
            reply = NO_REPLY
        self.seen.n_flying -= kind.name == GOOD
        self.seen.statuses[kind.name, reply.status] += 1
        if reply.status == 429:
            await asyncio.sleep(float(reply.headers["retry-after"]))
        elif reply.status not in kind.wanted:
            self.seen.wrong[kind.name, reply.status, reply.body[:200].decode("utf-8", "replace")] += 1
        elif kind.name == GOOD:
            self.seen.good_s.append(time.monotonic() - begun)
            self.seen.n_good += 1

    def pick(self) -> Kind:
        """Choose what comes next."""
        return self.random.choice(self.bad) if self.random.random() < SHARE_OF_BAD else self.good()

    def pick_slow(self) -> Kind:
        """Choose what comes slowly."""
        return self.random.choice(self.slow)

    def good(self) -> Kind:
        """Send a clip, and compare its answer."""
        name = self.random.choice(list(self.clips))

        async def ask(kept: Connection) -> Reply:
            reply = await kept.ask("POST", f"{TAG}&name={name}", self.clips[name])
            if reply.status == 200 and not self.is_same(name, reply):
                return Reply(-1, reply.headers, reply.body)
            return reply

        return Kind(GOOD, ask, (200,))

    def is_same(self, name: str, reply: Reply) -> bool:
        """Compare an answer with the command line's."""
        got, wanted = reply.json(), self.wanted[name]
        difference = float(np.abs(np.array(got["scores"]) - wanted.scores).max())
        self.seen.worst = max(self.seen.worst, difference)
        best = [tag for tag, _ in wanted.top(1)]
        facts = (got["path"], got["notes"], [got["tags"][0]["tag"]], round(wanted.duration_s, 6))
        return difference <= TOLERANCE and facts == (name, list(wanted.notes), best, got["duration_s"])

    def report(
        self, rates: dict[str, list[float]], memory: list[tuple[float, float]], seconds: float
    ) -> dict[str, Any]:
        """Put the figures together."""
        seen, good_s = self.seen, sorted(self.seen.good_s)
        settled = [mb for at_s, mb in memory if at_s > SETTLED_S] or [memory[-1][1]]
        first = max([mb for at_s, mb in memory if at_s <= SETTLED_S])
        return {
            "seconds": seconds,
            "clips a second": rates,
            "share": [ours / theirs for ours, theirs in zip(rates["service"], rates["command"])],
            "p50_s": statistics.median(good_s),
            "p95_s": good_s[int(0.95 * len(good_s))],
            "n_good": len(good_s),
            "worst difference of a score": seen.worst,
            "statuses": [[kind, status, n] for (kind, status), n in sorted(seen.statuses.items())],
            "wrong": [[*what, n] for what, n in seen.wrong.items()],
            "memory_mb": [[round(at_s), round(mb)] for at_s, mb in memory[::30]],
            "memory in the first minute, MB": first,
            "memory after it, MB": max(settled),
        }


def bad_kinds(clip: bytes) -> tuple[list[Kind], list[Kind]]:
    """Make all that is bad: what clients mix in, and what comes slowly.

    Args:
        clip: a good file.

    Returns:
        The kinds.
    """
    chance = random.Random(1)
    noise = chance.randbytes(200_000)
    hours = opus_of_hours(20)
    zeros = encoded(np.zeros(700 * 16_000, np.float32), 16_000, "FLAC", "PCM_16")
    claims = wav(pcm16(tone(3.0)), size=2_000_000_000)
    form = (
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="../../../etc/passwd"\r\n\r\n'
        + clip
        + b"\r\n--x--\r\n"
    )
    broken_form = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.mp3"\r\n\r\n' + clip[:5000]
    of_form = {"Content_Type": "multipart/form-data; boundary=x"}

    def post(body: bytes, target: str = "/v1/tag", **headers: str) -> Ask:
        return lambda kept: kept.ask("POST", target, body, **headers)

    mixed = [
        Kind("empty", post(b""), (422,)),
        Kind("noise", post(noise), (422,)),
        Kind("other type", post(b'{"no": "sound"}', Content_Type="application/json"), (422,)),
        Kind("page", post(b"<html><body>no sound</body></html>" * 100, Content_Type="text/html"), (422,)),
        Kind("too much, said", too_much_said, (413,)),
        Kind("too much, unsaid", too_much_unsaid, (413,)),
        Kind("cut within the body", cut(clip, 0.5), (0,)),
        Kind("cut before the answer", cut(clip, 1.0), (0,)),
        Kind("hours of Opus", post(hours), (422,)),
        Kind("zeros in FLAC", post(zeros), (422,)),
        Kind("header of hours", post(claims), (200,)),
        Kind("path in the name", post(clip, "/v1/tag?name=../../../etc/passwd%00.mp3"), (200,)),
        Kind("path in the form", post(form, **of_form), (200,)),
        Kind("path in the target", lambda kept: kept.ask("GET", "/static/../../../../etc/passwd"), (404,)),
        Kind("broken form", post(broken_form, **of_form), (400,)),
        Kind("long boundary", post(form, Content_Type=f"multipart/form-data; boundary={'x' * 300}"), (400,)),
        Kind("bad top", post(clip, "/v1/tag?top=0"), (422,)),
        Kind("unknown model", post(clip, "/v1/tag?model=musicn"), (422,)),
        Kind("unknown address", post(clip, "/v2/tag"), (404,)),
        Kind("no HTTP", no_http, (400,)),
    ]
    return mixed, [Kind("slow body", slow_body, (408,)), Kind("slow head", slow_head, (408,))]


async def too_much_said(kept: Connection) -> Reply:
    """Say that there is too much, and begin to send it."""
    async with connection(*kept.place) as one:
        reader, writer = await one.open()
        writer.write(head("POST", "/v1/tag", {"Content-Length": str(50 * MAX_UPLOAD_MB * 1_000_000)}))
        writer.write(bytes(100_000))
        return await read_reply(reader)


async def too_much_unsaid(kept: Connection) -> Reply:
    """Send too much, chunk by chunk, until there is an answer."""
    async with connection(*kept.place) as one:
        reader, writer = await one.open()
        writer.write(head("POST", "/v1/tag", {"Transfer-Encoding": "chunked"}))
        chunk = b"%x\r\n%s\r\n" % (100_000, bytes(100_000))
        answer = asyncio.ensure_future(read_reply(reader))
        for _ in range(2 * 10 * MAX_UPLOAD_MB):
            if answer.done():
                break
            writer.write(chunk)
            await writer.drain()
        return await answer


def cut(clip: bytes, share: float) -> Ask:
    """Send a share of a file, and go away."""

    async def ask(kept: Connection) -> Reply:
        async with connection(*kept.place) as one:
            _, writer = await one.open()
            writer.write(head("POST", "/v1/tag", {"Content-Length": str(len(clip))}) + clip[: int(share * len(clip))])
            await writer.drain()
            await asyncio.sleep(0.05)
            writer.transport.abort()
        return NO_REPLY

    return ask


async def no_http(kept: Connection) -> Reply:
    """Send what is no request."""
    async with connection(*kept.place) as one:
        reader, writer = await one.open()
        writer.write(b"\x16\x03\x01 hello\r\n\r\n")
        return await read_reply(reader)


async def slow_body(kept: Connection) -> Reply:
    """Send a body byte by byte."""
    return await drip(kept, head("POST", "/v1/tag", {"Content-Length": "1000000"}), b"x")


async def slow_head(kept: Connection) -> Reply:
    """Send a head that never ends."""
    return await drip(kept, b"POST /v1/tag HTTP/1.1\r\nHost: localhost\r\n", b"X-More: 1\r\n")


async def drip(kept: Connection, first: bytes, drop: bytes) -> Reply:
    """Send something, then more and more of little, until there is an answer."""
    async with connection(*kept.place) as one:
        reader, writer = await one.open()
        writer.write(first)
        answer = asyncio.ensure_future(read_reply(reader))
        while not answer.done():
            writer.write(drop)
            await asyncio.wait({answer}, timeout=0.5)
        return await answer


def family_of(pid: int) -> set[int]:
    """Give a process and those that it started."""
    lists = Path(f"/proc/{pid}/task").glob("*/children")
    return {pid, *(int(child) for children in lists for child in children.read_text().split())}


def cpu_s(processes: set[int]) -> float:
    """Give the CPU seconds that processes have used so far."""
    ticks = 0
    for pid in processes:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def print_report(report: dict[str, Any]) -> bool:
    """Print the figures beside what is promised; give whether all is kept."""
    rates: dict[str, list[float]] = report["clips a second"]
    share = Spread.of(report["share"])
    statuses: list[tuple[str, int, int]] = report["statuses"]
    print(f"{n_cores()} cores, {report['seconds']:.0f} s, {len(rates['service'])} turns; medians (least .. most)")
    print(f"  good clips a second, service   {Spread.of(rates['service']):.2f}")
    print(f"  clips a second, command line   {Spread.of(rates['command']):.2f}")
    print(f"  share of the command line's    {share:.2f}; promised: at least {LEAST_SHARE}")
    for name in ("service", "command"):
        print(f"  CPU seconds a clip, {name:11}{Spread.of(report['cpu s a clip'][name]):.3f}")
    print(f"  latency of {report['n_good']} good answers: p50 {report['p50_s']:.2f} s, p95 {report['p95_s']:.2f} s")
    print(f"  scores differ by {report['worst difference of a score']:.1e}; promised: at most {TOLERANCE:.0e}")
    growth = report["memory after it, MB"] / report["memory in the first minute, MB"]
    print(f"  memory: {report['memory in the first minute, MB']:.0f} MB in the first minute, then at most "
          f"{report['memory after it, MB']:.0f} MB")  # fmt: skip
    print(f"  memory over time (s, MB): {report['memory_mb']}")
    print(f"  exit code of the server: {report['exit code of the server']}")
    for kind, status, n in statuses:
        print(f"    {kind:24} {status or 'closed':>6} {n:6}")
    for wrong in report["wrong"]:
        print(f"  wrong: {wrong}")
    n_5xx = sum(n for _, status, n in statuses if status >= 500)
    print(f"  5xx: {n_5xx}; promised: 0")
    is_kept = share.median >= LEAST_SHARE and growth <= MOST_GROWTH and not report["wrong"] and not n_5xx
    return bool(is_kept and report["exit code of the server"] == 0)


if __name__ == "__main__":
    main()
