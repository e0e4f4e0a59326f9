"""The service under what is too much, too slow, broken off or killed: one request pays, and the others are answered."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from _served import answer_of, request, served
from _sounds import encoded, opus_of_hours, tone
from conftest import wait_until

from taggram.apps._server_decoding import DecodedSound, Decoders
from taggram.apps._server_settings import ServedModel, ServiceSettings
from taggram.apps._server_work import Service
from taggram.apps._serving import serve_models
from taggram.errors import ConfigError, UnknownNameError

SMALL = (
    *("max_upload_mb=1", "max_decoded_mb=20", "header_s=5", "grace_s=5", "least_rate=1000", "n_decoders=1"),
    *("max_queue=3", "max_values=20_000", "max_connections=20", "send_s=1"),
)
TOO_MUCH = bytes(1_100_000)
FORM = {"Content-Type": "multipart/form-data; boundary=b"}


@pytest.fixture(scope="module")
def service(weights, tmp_path_factory):
    """A service whose limits are soon reached."""
    with served(tmp_path_factory.mktemp("spool"), "--max-duration-s", "20", *SMALL) as running:
        yield running


@pytest.fixture(scope="module")
def sound():
    return encoded(tone(3.0))


@pytest.fixture(autouse=True)
def still_answers(request):
    """Whatever was done to it, the service tags the next sound."""
    yield
    if "service" in request.fixturenames:
        assert request.getfixturevalue("service").post("/v1/tag", encoded(tone(3.0))).status_code == 200


# -- too much ----------------------------------------------------------------------------------------------------------


def test_upload_that_says_its_size_is_refused_before_it_is_sent(service):
    connection = service.send(request(length=10**12, close=False))
    connection.settimeout(60)
    assert connection.recv(4096).startswith(b"HTTP/1.1 413 ")
    connection.close()


def test_upload_that_does_not_say_its_size_is_counted(service):
    reply = service.post("/v1/tag", iter([TOO_MUCH[:100_000]] * 11))
    assert (reply.status_code, reply.json()["error"]) == (413, "TooLargeError")


def test_file_in_a_form_is_counted(service):
    part = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    reply = service.post("/v1/tag", part + TOO_MUCH + b"\r\n--b--\r\n", headers=FORM)
    assert reply.status_code == 413


def test_form_of_many_small_parts_is_refused(service):
    part = b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\ny\r\n'
    reply = service.post("/v1/tag", part * 5_000, headers=FORM)
    assert (reply.status_code, reply.json()["error"]) == (400, "RequestError")
    assert "beside its file" in reply.json()["message"]


def test_header_of_a_form_has_an_end(service):
    form = b'--b\r\nContent-Disposition: form-data; name="' + b"x" * 100_000
    assert service.post("/v1/tag", form, headers=FORM).status_code == 400


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (opus_of_hours(2), "longer than the 20 s allowed"),
        (encoded(np.zeros(25 * 16_000, np.float32), 16_000, "FLAC", "PCM_16"), "longer than the 20 s allowed"),
        (encoded(np.zeros((900_000, 8), np.float32), 48_000, "FLAC", "PCM_16"), "more than the 20 MB allowed"),
    ],
    ids=["hours of Opus", "zeros in FLAC", "many channels"],
)
def test_small_file_that_decodes_to_much_is_refused(service, data, said):
    assert len(data) < 500_000
    reply = service.post("/v1/tag", data)
    assert (reply.status_code, reply.json()["error"]) == (422, "AudioError")
    assert said in reply.json()["message"]


def test_answer_that_would_be_too_large_is_refused(service, sound):
    reply = service.post("/v1/embed?layer=timbral", sound)
    assert (reply.status_code, reply.json()["error"]) == (413, "TooLargeError")


def test_connections_have_a_limit(service):
    held = [service.send(b"") for _ in range(20)]
    status, answer = answer_of(service.send(b""))
    assert (status, answer["error"]) == (429, "BusyError")
    for one in held:
        one.close()
    assert wait_until(lambda: service_is_free(service))


def service_is_free(service):
    """Whether connections that were closed here are gone there too."""
    with service.send(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n") as one:
        return one.recv(12) == b"HTTP/1.1 200"


# -- too slow, broken off ----------------------------------------------------------------------------------------------


BEGUN = {
    "body": request(b"RIFF", length=100_000),
    "head": b"POST /v1/tag HTTP/1.1\r\nHost: localhost\r\n",
    "nothing": b"",
}


@pytest.fixture(scope="module")
def too_slow(service):
    """Answers to what was begun; they are waited for together."""
    connections = {name: service.send(data) for name, data in BEGUN.items()}
    return {name: answer_of(connection) for name, connection in connections.items()}


@pytest.mark.parametrize("begun", BEGUN)
def test_what_comes_too_slowly_is_refused(too_slow, begun):
    status, answer = too_slow[begun]
    assert (status, answer["error"]) == (408, "TooSlowError")


def test_head_that_never_ends_is_not_helped_by_more_of_it(service):
    with service.send(b"GET / HTTP/1.1\r\n") as connection:

        def is_closed():
            try:
                connection.sendall(b"X: 1\r\n")
            except OSError:
                return True
            return False

        assert wait_until(is_closed)


@pytest.mark.parametrize("n_requests", [1, 4])
def test_answer_that_is_not_read_is_given_up(service, n_requests):
    line = 'taggram_refused_connections_total{reason="unread"}'
    before = service.metric(line)
    with service.send(b"GET /static/plotly.min.js HTTP/1.1\r\nHost: localhost\r\n\r\n" * n_requests):
        assert wait_until(lambda: service.metric(line) > before)


def test_what_is_no_http_is_refused(service):
    status, answer = answer_of(service.send(b"\x16\x03\x01\r\n\r\n"))
    assert (status, answer["error"]) == (400, "RequestError")


def test_upload_that_is_cut_leaves_nothing(service):
    with service.send(request(b"RIFF" * 10_000, length=100_000)):  # at the least rate, of 40 s
        assert wait_until(lambda: service.metric("taggram_uploads") == 1)
    assert wait_until(lambda: service.metric("taggram_uploads") == 0)
    assert wait_until(lambda: not list(service.spool.rglob("upload*")))  # it is removed a moment later


# -- killed, full, stopped ---------------------------------------------------------------------------------------------


def test_decoder_that_is_killed_costs_one_request(service, sound):
    with ThreadPoolExecutor(3) as pool, service.decoders_stand_still() as decoders:
        replies = [pool.submit(service.post, "/v1/tag", sound) for _ in range(3)]
        assert wait_until(lambda: service.metric("taggram_queue") == 3)
        os.kill(decoders[0], signal.SIGKILL)
        statuses = [reply.result().status_code for reply in replies]
    assert sorted(statuses) == [200, 200, 422]
    (refused,) = [reply.result() for reply in replies if reply.result().status_code == 422]
    assert refused.json() == {"error": "WorkerError", "message": "its decoder crashed (SIGKILL)"}


def test_lost_decoder_is_counted(service, sound):
    before = service.metric("taggram_decoder_restarts_total")
    os.kill(service.decoders()[0], signal.SIGKILL)
    assert service.post("/v1/tag", sound).status_code == 422
    assert service.metric("taggram_decoder_restarts_total") == before + 1


def test_full_queue_says_when_to_come_again(service, sound):
    with ThreadPoolExecutor(3) as pool, service.decoders_stand_still():
        replies = [pool.submit(service.post, "/v1/tag", sound) for _ in range(3)]
        assert wait_until(lambda: service.metric("taggram_queue") == 3)
        refused = service.post("/v1/tag", sound)
    assert (refused.status_code, refused.json()["error"]) == (429, "BusyError")
    assert int(refused.headers["retry-after"]) >= 1
    assert [reply.result().status_code for reply in replies] == [200] * 3


def test_request_whose_client_left_is_dropped(service, sound):
    with service.decoders_stand_still():
        with service.send(request(sound)):
            assert wait_until(lambda: service.metric("taggram_queue") == 1)
        assert wait_until(lambda: service.metric("taggram_queue") == 1)
    assert wait_until(lambda: service.metric('taggram_requests_total{route="/v1/tag",status="499"}') >= 1)


def test_stop_loses_nothing_that_was_taken(weights, tmp_path, sound):
    with served(tmp_path, *SMALL) as service, ThreadPoolExecutor(3) as pool:
        port = service.port
        with service.decoders_stand_still():
            replies = [pool.submit(service.post, "/v1/tag", sound) for _ in range(3)]
            assert wait_until(lambda: service.metric("taggram_queue") == 3)
            service.process.terminate()
            assert wait_until(lambda: refuses(port))
        assert [reply.result().status_code for reply in replies] == [200] * 3
        assert service.process.wait(60) == 0
        assert list(tmp_path.iterdir()) == []


def test_stop_takes_the_rest_of_uploads_on_their_way(weights, tmp_path, sound):
    whole = request(sound)
    with served(tmp_path, *SMALL) as service:
        port = service.port
        uploads = [service.send(whole[:-1_000]) for _ in range(3)]
        assert wait_until(lambda: service.metric("taggram_uploads") == 3)
        service.process.terminate()
        assert wait_until(lambda: refuses(port))
        for upload in uploads:
            upload.sendall(whole[-1_000:])
        assert [answer_of(upload)[0] for upload in uploads] == [200] * 3
        assert service.process.wait(60) == 0
        assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_stop_counts_an_upload_that_does_not_come(weights, tmp_path, sound):
    with served(tmp_path, "stop_s=0.1") as service:
        upload = service.send(request(sound)[:-1_000])
        assert wait_until(lambda: service.metric("taggram_uploads") == 1)
        service.process.terminate()
        assert service.process.wait(60) == 1
        assert answer_of(upload)[0] == 503
        assert wait_until(lambda: service.events("stopped"))
        assert service.events("stopped")[0]["unanswered"] == 1


@pytest.mark.slow
def test_stop_has_an_end(weights, tmp_path, sound):
    with served(tmp_path, "stop_s=1", *SMALL) as service, ThreadPoolExecutor(1) as pool:
        with service.decoders_stand_still():
            reply = pool.submit(service.post, "/v1/tag", sound)
            assert wait_until(lambda: service.metric("taggram_queue") == 1)
            service.process.terminate()
            assert service.process.wait(60) == 1
        assert reply.exception() is not None or reply.result().status_code >= 500
        assert list(tmp_path.iterdir()) == []


def refuses(port):
    """Whether nobody listens any more."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=60).close()
    except ConnectionRefusedError:
        return True
    return False


def test_health_is_told_in_time_though_no_decoder_answers(monkeypatch, tmp_path):
    monkeypatch.setattr("taggram.apps._server_work.PROBE_S", 0.01)
    asked = threading.Event()

    async def ask(service):
        service._is_loaded.set()
        try:
            async with asyncio.timeout(30):
                return await service.is_ready()
        finally:
            asked.set()

    with Service([ServedModel(name="any", settings={})], ServiceSettings(), spool=tmp_path) as service:
        monkeypatch.setattr(service._decoders, "answer", lambda folder: asked.wait())
        with ThreadPoolExecutor(1) as away:  # a browser of other tests keeps a loop in this thread
            assert away.submit(asyncio.run, ask(service)).result() is False


def test_decoder_that_is_at_work_counts_as_one_that_answers(monkeypatch, tmp_path):
    decoders = Decoders(ServiceSettings(), 16_000, lambda: None)
    found = []

    def run(tasks, progress=None):
        progress("song", 1.0)
        found.append(decoders.answer(tmp_path))
        yield DecodedSound(name="", samples=tmp_path, duration_s=2.0, notes=(), unusual=())

    monkeypatch.setattr(decoders._pool, "run", run)
    decoders.decode(tmp_path, "", 16_000)
    assert found == [True]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the process watches itself")
def test_decoder_gets_no_more_memory_than_allowed():
    code = (
        "from taggram.apps._server_decoder import limit_memory; limit_memory(50_000_000); bytearray(20_000_000)\n"
        "try: bytearray(100_000_000)\n"
        "except MemoryError: print('refused')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "refused\n"


# -- wrong usage -------------------------------------------------------------------------------------------------------

USUAL = {
    "host": "127.0.0.1", "port": 0, "token": None, "cors": (), "max_duration_s": 600, "spool": None, "device": "cpu",
}  # fmt: skip


@pytest.mark.parametrize(
    ("models", "words", "options", "said"),
    [
        ((), ["max_uplod_mb=1"], {}, "Did you mean max_upload_mb"),
        ((), ["max_queue=0"], {}, "max_queue is 0; wanted a whole number from 1 on"),
        ((), ["grace_s=-1"], {}, "grace_s is -1; wanted a number above 0"),
        ((), [], {"token": ""}, "the token"),
        ((), [], {"cors": ["a.example"]}, "cors is 'a.example'; wanted an origin"),
        ((), [], {"port": 70_000}, "port is 70000"),
        (("musicn.mtt",), [], {}, "Did you mean musicnn.mtt"),
        (("musicnn.mtt", "musicnn.mtt"), [], {}, "two models are called musicnn.mtt"),
        ((), [], {"spool": Path("/nowhere")}, "there is no folder '/nowhere'"),
        ((), [], {"host": "no.such.host.invalid"}, "cannot listen on no.such.host.invalid"),
        ((), [], {"host": "x" * 100 + ".example"}, "--host: x+.example is no name"),
        ((), [], {"host": ""}, "host is ''"),
        ((), [], {"spool": Path("/proc")}, "uploads cannot be kept in /proc .*--spool"),
    ],
)
def test_setting_that_makes_no_sense_is_refused(weights, models, words, options, said):
    with pytest.raises((ConfigError, UnknownNameError), match=said):
        serve_models(models, words, **{**USUAL, **options})


def test_port_that_is_taken_is_told(weights):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1, port {port}"):
            serve_models((), [], **{**USUAL, "port": port})


def test_wrong_usage_leaves_with_2(weights, run_taggram):
    done = run_taggram("serve", "max_queue=0")
    assert (done.returncode, done.stdout, "max_queue is 0" in done.stderr) == (2, "", True)
