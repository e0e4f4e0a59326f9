"""Downloads of data sets, from a server on this machine: they go on, are checked, joined and unpacked."""

from __future__ import annotations

import hashlib
import io
import itertools
import os
import tarfile
import threading
import zipfile
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest

from taggram.datasets import _download as download
from taggram.datasets._base import DatasetCard, Remote, Split
from taggram.datasets._unpack import unpack
from taggram.errors import DatasetError, UnknownNameError

DATA = bytes(range(256)) * 1000


@dataclass
class Site:
    """What a server has, how it behaves, and what it was asked.

    Attributes:
        url: where it is.
        files: by path.
        tag: the ETag of all files, or None.
        ranges: whether parts of files are sent.
        answers: an answer each of the next requests gets, or None for the file.
        cuts: after how many bytes the next answers end.
        kind: what the server says that files are.
        asked: path and range of each request.
    """

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    tag: str | None = '"1"'
    ranges: bool = True
    answers: list[int | None] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)
    kind: str = "application/octet-stream"
    asked: list[tuple[str, str | None]] = field(default_factory=list)


def handler_of(site):
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def do_GET(self):
            site.asked.append((self.path, self.headers.get("Range")))
            answer = site.answers.pop(0) if site.answers else None
            data = site.files.get(self.path)
            if answer or data is None:
                self.send_response(answer or 404)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            start, wanted = 0, self.headers.get("Range")
            same = self.headers.get("If-Range") in (None, site.tag)
            if wanted and site.ranges and same:
                start = int(wanted.removeprefix("bytes=").removesuffix("-"))
                if start >= len(data):
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{len(data)}")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            else:
                self.send_response(200)
            if site.tag:
                self.send_header("ETag", site.tag)
            self.send_header("Content-Type", site.kind)
            self.send_header("Content-Length", str(len(data) - start))
            self.end_headers()
            end = start + site.cuts.pop(0) if site.cuts else len(data)
            self.wfile.write(data[start:end])

    return Handler


@pytest.fixture
def site(monkeypatch):
    """A server with one file."""
    monkeypatch.setattr(download, "PAUSES_S", (0.0, 0.0))
    monkeypatch.delenv("TAGGRAM_OFFLINE", raising=False)
    site = Site(files={"/data.bin": DATA})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(site))
    site.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield site
    server.shutdown()
    thread.join()
    server.server_close()


def md5_of(data):
    return f"md5:{hashlib.md5(data).hexdigest()}"


def card_of(*remotes):
    return DatasetCard(
        name="x", title="X", task="one", licence="", citation="", page="", vocabularies={},
        splits={"all": Split(rule="")}, remotes=remotes,
    )  # fmt: skip


def remote_of(site, file="data.bin", **facts):
    facts = {"urls": (f"{site.url}/{file}",), "checksum": md5_of(DATA), "size": len(DATA), **facts}
    return Remote(file=file, **facts)


def names_in(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def zipped(files):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_BZIP2) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


def tarred(files, links=()):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for name, target in links:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
    return packed.getvalue()


# -- fetching ----------------------------------------------------------------------------------------------------------


def test_file_is_fetched_and_nothing_else_is_left(site, tmp_path):
    (path,) = download.get(card_of(remote_of(site)), tmp_path / "new")
    assert path.read_bytes() == DATA
    assert names_in(tmp_path) == ["new/.taggram-data.json", "new/data.bin"]


@pytest.mark.parametrize("kind", ["md5", "sha1", "sha256"])
def test_checksum_may_be_of_any_kind(site, tmp_path, kind):
    checksum = f"{kind}:{hashlib.new(kind, DATA).hexdigest()}"
    (path,) = download.get(card_of(remote_of(site, checksum=checksum)), tmp_path)
    assert path.read_bytes() == DATA


def test_second_time_asks_for_nothing(site, tmp_path):
    card = card_of(remote_of(site))
    download.get(card, tmp_path)
    download.get(card, tmp_path)
    assert len(site.asked) == 1


def test_file_that_was_brought_is_taken(site, tmp_path):
    (tmp_path / "data.bin").write_bytes(DATA)
    download.get(card_of(remote_of(site)), tmp_path)
    assert site.asked == []


@pytest.mark.parametrize("brought", [DATA[:-1], DATA[:-1] + b"x"], ids=["size", "checksum"])
def test_wrong_file_that_was_brought_is_refused_and_kept(site, tmp_path, brought):
    (tmp_path / "data.bin").write_bytes(brought)
    with pytest.raises(DatasetError, match=r"is not data\.bin: .* wanted\. Remove .*data\.bin to fetch it again"):
        download.get(card_of(remote_of(site)), tmp_path)
    assert (tmp_path / "data.bin").read_bytes() == brought


def test_offline_asks_for_nothing(site, tmp_path, monkeypatch):
    monkeypatch.setenv("TAGGRAM_OFFLINE", "1")
    with pytest.raises(DatasetError, match=r"TAGGRAM_OFFLINE is set.*bring the file"):
        download.get(card_of(remote_of(site)), tmp_path)
    assert site.asked == []


def test_optional_file_is_fetched_only_when_it_is_named(site, tmp_path):
    card = card_of(remote_of(site), remote_of(site, "more.bin", optional=True))
    site.files["/more.bin"] = DATA
    download.get(card, tmp_path)
    assert not (tmp_path / "more.bin").exists()
    download.get(card, tmp_path, files=["more.bin"])
    assert (tmp_path / "more.bin").exists()


def test_unknown_file_is_told(site, tmp_path):
    with pytest.raises(UnknownNameError, match=r"no file named 'data'\. Did you mean data\.bin"):
        download.get(card_of(remote_of(site)), tmp_path, files=["data"])


def test_progress_is_told_up_to_the_end(site, tmp_path):
    told = []
    download.get(card_of(remote_of(site)), tmp_path, told=lambda *step: told.append(step))
    assert {step[:2] for step in told} == {("fetching", "data.bin"), ("checking", "data.bin")}
    assert told[-1] == ("checking", "data.bin", len(DATA), len(DATA))


# -- going on ----------------------------------------------------------------------------------------------------------


def test_download_goes_on_where_the_connection_ended(site, tmp_path):
    site.cuts = [1000, 5000]
    (path,) = download.get(card_of(remote_of(site)), tmp_path)
    assert path.read_bytes() == DATA
    assert [asked for _, asked in site.asked] == [None, "bytes=1000-", "bytes=6000-"]


def test_next_run_goes_on_where_the_last_one_stopped(site, tmp_path):
    site.cuts = [1000, 0, 0, 0, 0]
    with pytest.raises(DatasetError, match="What came is kept, so try again later"):
        download.get(card_of(remote_of(site)), tmp_path)
    assert names_in(tmp_path) == ["data.bin.part", "data.bin.part.of"]
    site.cuts, site.asked = [], []
    (path,) = download.get(card_of(remote_of(site)), tmp_path)
    assert (path.read_bytes(), site.asked) == (DATA, [("/data.bin", "bytes=1000-")])


def test_another_version_is_not_joined_to_the_first(site, tmp_path):
    site.cuts = [1000, 0, 0, 0, 0]
    with pytest.raises(DatasetError):
        download.get(card_of(remote_of(site)), tmp_path)
    new = DATA[::-1]
    site.files["/data.bin"], site.tag, site.cuts = new, '"2"', []
    (path,) = download.get(card_of(remote_of(site, checksum=None)), tmp_path)
    assert path.read_bytes() == new


def test_nothing_is_joined_that_nothing_would_check(site, tmp_path):
    site.tag = None
    (tmp_path / "data.bin.part").write_bytes(b"of another file")
    (path,) = download.get(card_of(remote_of(site, checksum=None, size=None)), tmp_path)
    assert path.read_bytes() == DATA


def test_server_that_sends_no_parts_sends_all_again(site, tmp_path):
    site.ranges, site.cuts = False, [1000]
    (path,) = download.get(card_of(remote_of(site)), tmp_path)
    assert path.read_bytes() == DATA


def test_whole_file_that_was_not_renamed_yet_is_taken(site, tmp_path):
    (tmp_path / "data.bin.part").write_bytes(DATA)
    (path,) = download.get(card_of(remote_of(site)), tmp_path)
    assert (path.read_bytes(), site.asked) == (DATA, [("/data.bin", f"bytes={len(DATA)}-")])


def test_more_than_the_server_has_is_fetched_anew(site, tmp_path):
    (tmp_path / "data.bin.part").write_bytes(DATA + b"x")
    (path,) = download.get(card_of(remote_of(site)), tmp_path)
    assert path.read_bytes() == DATA


def test_busy_server_is_asked_again(site, tmp_path):
    site.answers = [503, 429]
    (path,) = download.get(card_of(remote_of(site)), tmp_path)
    assert path.read_bytes() == DATA


def test_server_that_stays_busy_is_given_up(site, tmp_path):
    site.answers = [503] * 10
    with pytest.raises(DatasetError, match="the server answers 503"):
        download.get(card_of(remote_of(site)), tmp_path)
    assert len(site.asked) == 1 + len(download.PAUSES_S)


def test_server_that_is_not_there_is_told(site, tmp_path):
    remote = remote_of(site, urls=("http://127.0.0.1:9/data.bin",))
    with pytest.raises(DatasetError, match=r"127\.0\.0\.1:9/data\.bin cannot be fetched: .*bring data\.bin to"):
        download.get(card_of(remote), tmp_path)


# -- refusing ----------------------------------------------------------------------------------------------------------


def test_missing_file_is_told_at_once(site, tmp_path):
    with pytest.raises(DatasetError, match=r"the server answers 404 .*Bring none\.bin to"):
        download.get(card_of(remote_of(site, "none.bin")), tmp_path)
    assert len(site.asked) == 1


def test_page_of_the_web_is_not_written(site, tmp_path):
    site.kind = "text/html; charset=utf-8"
    with pytest.raises(DatasetError, match=r"gives a page of the web in place of data\.bin"):
        download.get(card_of(remote_of(site)), tmp_path)
    assert names_in(tmp_path) == []


def test_file_of_another_size_is_not_written(site, tmp_path):
    with pytest.raises(DatasetError, match="it has 256000 bytes, 7 are wanted"):
        download.get(card_of(remote_of(site, size=7)), tmp_path)
    assert names_in(tmp_path) == []


def test_file_of_another_checksum_is_not_taken(site, tmp_path):
    with pytest.raises(DatasetError, match=r"its md5 is .*Remove .*data\.bin\.part to fetch it again"):
        download.get(card_of(remote_of(site, checksum=md5_of(b""))), tmp_path)
    assert not (tmp_path / "data.bin").exists()


def test_disk_without_room_is_told_before_anything_comes(site, tmp_path, monkeypatch):
    monkeypatch.setattr(download.shutil, "disk_usage", lambda folder: SimpleNamespace(free=9))
    with pytest.raises(DatasetError, match=r"256000 bytes are to come, and the disk of .* has 9"):
        download.get(card_of(remote_of(site)), tmp_path)


# -- pieces ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def pieces(site):
    """A file in three pieces."""
    cuts = (0, 100_000, 200_000, len(DATA))
    for number, (start, end) in enumerate(itertools.pairwise(cuts), 1):
        site.files[f"/all.zip.00{number}"] = DATA[start:end]
    return remote_of(site, "all.bin", urls=tuple(f"{site.url}/all.zip.00{number}" for number in (1, 2, 3)))


def test_pieces_are_joined_in_order_and_removed(pieces, tmp_path):
    (path,) = download.get(card_of(pieces), tmp_path)
    assert path.read_bytes() == DATA
    assert names_in(tmp_path) == [".taggram-data.json", "all.bin"]


def test_piece_that_was_brought_is_taken_and_kept(pieces, site, tmp_path):
    (tmp_path / "all.zip.002").write_bytes(site.files["/all.zip.002"])
    (path,) = download.get(card_of(pieces), tmp_path)
    assert path.read_bytes() == DATA
    assert names_in(tmp_path) == [".taggram-data.json", "all.bin", "all.zip.002"]
    assert "/all.zip.002" not in {asked for asked, _ in site.asked}


def test_pieces_are_told_by_name(pieces, tmp_path):
    told = []
    download.get(card_of(pieces), tmp_path, told=lambda *step: told.append(step[:2]))
    names = ["all.zip.001", "all.zip.002", "all.zip.003"]
    assert list(dict.fromkeys(told)) == [*(("fetching", name) for name in names), ("checking", "all.bin")]


def test_pieces_go_on_too(pieces, site, tmp_path):
    site.answers = [None, 404]
    with pytest.raises(DatasetError, match="404"):
        download.get(card_of(pieces), tmp_path)
    site.asked = []
    (path,) = download.get(card_of(pieces), tmp_path)
    assert path.read_bytes() == DATA
    assert site.asked[0] == ("/all.zip.001", "bytes=100000-")


def test_wrong_pieces_are_named(pieces, site, tmp_path):
    site.files["/all.zip.003"] = DATA[200_000:-1] + b"x"
    with pytest.raises(DatasetError, match=r"Remove .*all\.zip\.001\.part and .*002\.part and .*003\.part to fetch"):
        download.get(card_of(pieces), tmp_path)


# -- unpacking ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_archive_is_unpacked_beside_it(site, tmp_path, pack):
    data = pack({"top/a/b.wav": b"sound", "top/list.txt": b"", "__MACOSX/top/a/._b.wav": b"", "top/a/._b.wav": b""})
    site.files["/x.archive"] = data
    remote = remote_of(site, "x.archive", checksum=md5_of(data), size=None, unpack=True)
    download.get(card_of(remote), tmp_path)
    assert names_in(tmp_path) == [".taggram-data.json", "top/a/b.wav", "top/list.txt", "x.archive"]


def test_archive_may_be_removed_when_it_is_unpacked(site, tmp_path):
    data = zipped({"a.txt": b"a"})
    site.files["/x.zip"] = data
    card = card_of(remote_of(site, "x.zip", checksum=md5_of(data), size=None, unpack=True))
    download.get(card, tmp_path)
    (tmp_path / "x.zip").unlink()
    download.get(card, tmp_path)
    assert len(site.asked) == 1


def test_unpacking_goes_on(tmp_path):
    archive = tmp_path / "x.zip"
    archive.write_bytes(zipped({"a.txt": b"aa", "b.txt": b"bb", "c.txt": b"cc"}))
    (tmp_path / "a.txt").write_bytes(b"zz")  # as long as it should be
    (tmp_path / "b.txt").write_bytes(b"b")
    assert unpack(archive, tmp_path) == 3
    assert [(tmp_path / f"{name}.txt").read_bytes() for name in "abc"] == [b"zz", b"bb", b"cc"]


@pytest.mark.parametrize("pack", [zipped, tarred])
@pytest.mark.parametrize("name", ["../x.txt", "/tmp/x.txt", "a/../../x.txt", "a\\..\\..\\x.txt", "C:\\x.txt"])
def test_member_cannot_leave_the_folder(tmp_path, pack, name):
    archive = tmp_path / "archive"
    archive.write_bytes(pack({name: b"out"}))
    (tmp_path / "in").mkdir()
    with pytest.raises(DatasetError, match="leads out of its folder"):
        unpack(archive, tmp_path / "in")
    assert names_in(tmp_path) == ["archive"]


def test_links_are_left_out_and_told(tmp_path, caplog):
    archive = tmp_path / "x.tar.gz"
    archive.write_bytes(tarred({"a.txt": b"a"}, links=[("out", "/etc"), ("passwd", "/etc/passwd")]))
    assert unpack(archive, tmp_path) == 1
    assert names_in(tmp_path) == ["a.txt", "x.tar.gz"]
    assert "left out passwd, which is no plain file" in caplog.text


def test_file_behind_a_link_of_the_archive_does_not_leave_the_folder(tmp_path):
    archive = tmp_path / "x.tar.gz"
    (tmp_path / "out").mkdir()
    (tmp_path / "in").mkdir()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as writer:
        link = tarfile.TarInfo("a")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path / "out")
        writer.addfile(link)
        info = tarfile.TarInfo("a/x.txt")
        info.size = 1
        writer.addfile(info, io.BytesIO(b"x"))
    archive.write_bytes(packed.getvalue())
    unpack(archive, tmp_path / "in")
    assert names_in(tmp_path) == ["in/a/x.txt", "x.tar.gz"]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"no archive", id="text"),
        pytest.param(zipped({"a.txt": bytes(5000)})[:-30], id="zip cut short"),
        pytest.param(zipped({"a.txt": DATA}).replace(b"BZh9", b"BZh0"), id="zip damaged"),
        pytest.param(tarred({"a.txt": os.urandom(5000)})[:-3000], id="tar cut short"),
    ],
)
def test_damaged_archive_is_told_and_leaves_nothing_half_written(tmp_path, content):
    archive = tmp_path / "archive"
    archive.write_bytes(content)
    with pytest.raises(DatasetError, match="archive is no archive that can be unpacked"):
        unpack(archive, tmp_path / "in")
    assert names_in(tmp_path) == ["archive"]


def test_record_that_cannot_be_read_does_no_harm(site, tmp_path):
    (tmp_path / ".taggram-data.json").write_bytes(b"\xff[")
    (path,) = download.get(card_of(remote_of(site)), tmp_path)
    assert path.read_bytes() == DATA
