"""What can go wrong with Ray before it starts, and what it is given."""

from __future__ import annotations

import signal
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest

from taggram._files import in_turn
from taggram.errors import CatalogueError, ConfigError

pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install 'taggram[catalogue]'")

from taggram.catalogue import _ray, _ray_cluster  # noqa: E402

SETTINGS = {"device": "cpu", "engine": "torch", "precision": "float32", "kit": None}


def files(n, size=10):
    paths = [str(place) for place in range(n)]
    return pa.table({"path": paths, "size": pa.array([size] * n, pa.int64())})


def test_cluster_that_does_not_answer_is_told():
    with socket.socket() as silent:  # it holds the port, so that nobody else comes to listen there
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        with pytest.raises(CatalogueError, match=f"no Ray cluster answers at 127.0.0.1:{port}"):
            _ray_cluster._check_answers(f"127.0.0.1:{port}")


@pytest.mark.parametrize("address", ["head", "ray://head", "head:", "head:port"])
def test_address_that_is_none_is_told(address):
    with pytest.raises(ConfigError, match="wanted auto, HOST:PORT, or ray://HOST:PORT"):
        _ray_cluster._check_answers(address)


@pytest.mark.parametrize("n", [1, 7, 100, 5_000])
def test_every_file_is_in_one_block(n):
    blocks = _ray._blocks(files(n), 3)
    assert [place for block in blocks for place in block["place"].to_pylist()] == list(range(n))
    assert max(block.num_rows for block in blocks) <= _ray.BLOCK_ROWS


def test_block_of_large_files_has_few():
    blocks = _ray._blocks(files(1_000, size=_ray.BLOCK_BYTES // 4), 1)
    assert {block.num_rows for block in blocks} == {4}


def test_row_that_comes_twice_is_taken_once():
    table = files(4).append_column("place", pa.array([0, 1, 2, 3]))
    found = pa.concat_tables(_ray._each_once([table.slice(0, 2), table.slice(1, 2), table.slice(3), table], 4))
    assert found["path"].to_pylist() == ["0", "1", "2", "3"]


def test_row_that_never_comes_is_told():
    table = files(4).append_column("place", pa.array([0, 1, 2, 3]))
    with pytest.raises(CatalogueError, match="Ray gave 3 of 4 files; the same command goes on"):
        list(_ray._each_once([table.slice(1)], 4))


def test_machine_with_another_model_is_refused():
    actor = _ray._MakesRows({"fingerprint": "a", "model": "net", "settings": {"over_time": False}})
    with pytest.raises(CatalogueError, match="net or taggram is another"):
        actor._check("b")


class RayThatIsThere:
    """A session of Ray in this process, which somebody else began."""

    def __init__(self):
        self.data = SimpleNamespace(DataContext=SimpleNamespace(get_current=lambda: self.context))
        self.context = SimpleNamespace(enable_progress_bars=True, target_max_block_size=1)
        self.is_down = False

    def is_initialized(self):
        return True

    def shutdown(self):
        self.is_down = True


class RayThatStarts(RayThatIsThere):
    """A session of Ray that takes the signals for itself, and is asked to end again as it shuts down."""

    def is_initialized(self):
        return False

    def init(self, **options):
        self.folder = Path(options["_temp_dir"])
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def shutdown(self):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        self.is_down = True


@pytest.fixture
def tmp(tmp_path, monkeypatch):
    """The place of folders of Ray, and somebody who is told of signals."""
    monkeypatch.setattr(_ray_cluster, "_short_tmp", lambda: str(tmp_path))
    before = signal.signal(signal.SIGTERM, lambda number, frame: None)
    yield tmp_path
    signal.signal(signal.SIGTERM, before)


def test_signals_are_ours_while_ray_is_there_and_disturb_its_end_no_more(tmp):
    ray, ours = RayThatStarts(), signal.getsignal(signal.SIGTERM)
    with _ray_cluster.cluster_of(ray, None, None, SETTINGS):
        assert signal.getsignal(signal.SIGTERM) is ours
    assert (ray.is_down, ray.folder.exists(), signal.getsignal(signal.SIGTERM)) == (True, False, ours)


@pytest.mark.parametrize(
    ("by", "told"),
    [(KeyboardInterrupt(), ""), (SystemExit(signal.SIGTERM), "143"), (SystemExit(129), "129")],
    ids=["SIGINT", "SIGTERM as Ray has it", "SIGHUP"],
)
def test_start_of_ray_that_is_ended_is_cleared_up(tmp, monkeypatch, by, told):
    def ended(ray, **options):
        raise by

    monkeypatch.setattr(RayThatStarts, "init", ended)
    ray = RayThatStarts()
    with pytest.raises(type(by), match=f"^{told}"), _ray_cluster.cluster_of(ray, None, None, SETTINGS):
        pass
    assert (ray.is_down, list(tmp.iterdir())) == (True, [])


def test_folders_of_runs_that_are_over_are_removed_and_no_others(tmp):
    for name in ("taggram-ray-over", "taggram-ray-going", "taggram-ray-other", "other"):
        (tmp / name).mkdir()
    for name in ("over", "going"):
        (tmp / f"taggram-ray-{name}" / _ray_cluster.LOCK).touch()
    with in_turn(tmp / "taggram-ray-going" / _ray_cluster.LOCK), _ray_cluster._own_folder():
        left = {path.name for path in tmp.iterdir()}
    assert len(left) == 4
    assert left > {"taggram-ray-going", "taggram-ray-other", "other"}
    assert "taggram-ray-over" not in left


def test_session_of_ray_that_is_there_is_used_and_left_as_it_was():
    ray = RayThatIsThere()
    with _ray_cluster.cluster_of(ray, None, None, SETTINGS):
        assert not ray.context.enable_progress_bars
    assert (ray.is_down, ray.context.enable_progress_bars, ray.context.target_max_block_size) == (False, True, 1)
