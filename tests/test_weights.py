"""Weights: decoded by their cards, refused where they are not the ones, and never half in the cache."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import math
import multiprocessing
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from _at_hand import TRAINED, needs_weights
from hypothesis import given, settings
from hypothesis import strategies as st

import taggram
from taggram.errors import UnknownNameError, WeightsError
from taggram.models import _weights as weights
from taggram.models import load_card
from taggram.models._registry import read_cards


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty cache."""
    monkeypatch.setenv("TAGGRAM_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def files_in(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def bitwise_crc32c(data):
    crc = 0xFFFFFFFF
    for octet in data:
        crc ^= octet
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def small_card(data):
    """The card of a network of one tensor, stored in `data`, without a known digest."""
    card = load_card("musicnn_big.msd")
    tensor = dataclasses.replace(
        card.tensors[0],
        parameter="a.weight",
        shape=(3, 2),
        order="dense",
        offset=4,
        crc32c_masked=weights.crc32c_masked(data[4:28]),
    )
    return dataclasses.replace(
        card,
        data_file=dataclasses.replace(card.data_file, size=len(data)),
        tensors=(tensor,),
        other_tensors=((0, 4, weights.crc32c_masked(data[:4])),),
    )


SMALL = np.arange(7, dtype="<f4").tobytes()


def test_crc32c_of_the_standard_check():
    assert weights.crc32c(b"123456789") == 0xE3069283


@settings(deadline=None, derandomize=True)
@given(st.binary(max_size=300))
def test_crc32c_equals_the_definition(data):
    assert weights.crc32c(data) == bitwise_crc32c(data)


@pytest.mark.parametrize("length", [4095, 4096, 4097, 20_001])
def test_crc32c_in_lanes_equals_the_definition(length):
    data = np.random.default_rng(length).bytes(length)
    assert weights.crc32c(data) == bitwise_crc32c(data)


def test_dense_kernel_is_transposed():
    arrays = weights.decode(small_card(SMALL), SMALL)
    np.testing.assert_array_equal(arrays["a.weight"], [[1, 3, 5], [2, 4, 6]])


@pytest.mark.parametrize("position", [0, 4, 27])
def test_flipped_byte_is_found_by_the_checksum(position):
    damaged = bytearray(SMALL)
    damaged[position] ^= 1
    with pytest.raises(WeightsError, match="masked CRC-32C"):
        weights.decode(small_card(SMALL), bytes(damaged))


def test_wrong_size_is_told():
    with pytest.raises(WeightsError, match="has 27 bytes, 28 are wanted"):
        weights.decode(small_card(SMALL), SMALL[:-1])


@pytest.mark.parametrize("name", taggram.list_models())
def test_card_covers_the_whole_network(name):
    card = load_card(name)
    network = taggram.create_model(card.network, n_tags=len(card.tag_names))
    wanted = {key: tuple(value.shape) for key, value in network.state_dict().items() if "num_batches" not in key}
    shapes = {"as_is": lambda s: s, "dense": lambda s: s[::-1], "conv1d": lambda s: (s[3], s[1], s[0])}
    shapes["conv2d"] = lambda s: (s[3], s[2], s[0], s[1])
    assert {t.parameter: tuple(shapes[t.order](t.shape)) for t in card.tensors} == wanted


@pytest.mark.parametrize("name", taggram.list_models())
def test_tensors_of_a_card_do_not_overlap(name):
    card = load_card(name)
    pieces = sorted([(t.offset, 4 * math.prod(t.shape)) for t in card.tensors] + [p[:2] for p in card.other_tensors])
    assert all(offset + size <= after for (offset, size), (after, _) in itertools.pairwise(pieces))


def test_tensors_of_the_big_card_fill_its_file():
    card = load_card("musicnn_big.msd")
    covered = sum(4 * math.prod(t.shape) for t in card.tensors) + sum(size for _, size, _ in card.other_tensors)
    assert covered == card.data_file.size


def test_unknown_weights_are_offered_the_nearest():
    with pytest.raises(UnknownNameError, match=r"Did you mean .*musicnn\.mtt"):
        load_card("musicnn.mt")


def test_offline_says_how_to_get_them(home, monkeypatch):
    monkeypatch.setenv("TAGGRAM_OFFLINE", "1")
    with pytest.raises(WeightsError, match=r"taggram models get musicnn\.mtt --from FILE"):
        taggram.create_model("musicnn.mtt")


def test_weights_in_no_package_say_how_to_give_them(home):
    with pytest.raises(WeightsError, match=r"taggram models get musicnn_big\.msd --from FILE"):
        taggram.create_model("musicnn_big.msd")


@pytest.mark.parametrize("content", [b"", b"no wheel at all", b"PK\x03\x04 cut"])
def test_other_file_is_refused_by_name(home, tmp_path, content):
    file = tmp_path / "musicnn-0.1.0-py3-none-any.whl"
    file.write_bytes(content)
    with pytest.raises(WeightsError, match=r"musicnn-0\.1\.0-py3-none-any\.whl"):
        weights.install_weights(load_card("musicnn.mtt"), file)
    assert not home.exists()


def test_missing_file_is_told(home, tmp_path):
    with pytest.raises(WeightsError, match="No such file"):
        weights.install_weights(load_card("musicnn.mtt"), tmp_path / "nothing.whl")


def test_another_wheel_of_the_same_name_is_refused_by_hash(home, tmp_path, monkeypatch):
    file = tmp_path / "musicnn-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("musicnn/MTT_musicnn/.data-00000-of-00001", b"x")
    card = load_card("musicnn.mtt")
    card = dataclasses.replace(card, wheel=dataclasses.replace(card.wheel, size=file.stat().st_size))
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    with pytest.raises(WeightsError, match=f"{digest}, {card.wheel.sha256} is wanted"):
        weights.install_weights(card, file)
    assert not home.exists()


def keep_small(card, home):
    """Put the small weights into a cache, as another process."""
    os.environ["TAGGRAM_HOME"] = home
    weights._keep(card, SMALL)


def test_two_processes_at_once_do_no_harm(home):
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=keep_small, args=(small_card(SMALL), str(home))) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert files_in(home) == ["musicnn_big.msd.json", "musicnn_big.msd.safetensors"]
    assert list(weights.load_weights(small_card(SMALL))) == ["a.weight"]


def test_damage_in_the_cache_is_found(home):
    weights._keep(small_card(SMALL), SMALL)
    path = home / "weights" / "musicnn_big.msd.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x07")
    with pytest.raises(WeightsError, match="damaged"):
        weights.load_weights(small_card(SMALL))


def test_card_without_its_weights_is_not_at_hand(home):
    weights._keep(small_card(SMALL), SMALL)
    (home / "weights" / "musicnn_big.msd.safetensors").unlink()
    assert not weights.is_cached(small_card(SMALL))


def test_weights_that_do_not_fit_are_named(home):
    network = taggram.create_model("vgg", n_tags=50)
    told = r"^vgg\.mtt: the weights do not fit VGG: it lacks head\.weight, .* and 37 more$"
    with pytest.raises(WeightsError, match=told):
        weights.load_strictly(network, {}, "vgg.mtt")


def test_pip_without_an_index_says_how_to_give_the_file(home, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(WeightsError, match=r"(?s)pip could not fetch musicnn==0\.1\.0.*--from FILE"):
        weights.ensure_weights(load_card("musicnn.mtt"))
    assert not home.exists()


@needs_weights(*TRAINED)
@pytest.mark.parametrize("name", TRAINED)
def test_card_in_the_cache_states_the_digest(name):
    path = weights.cached_path(load_card(name))
    kept = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    assert kept["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


def fetched_wheel(folder):
    """Have pip bring the wheel, or skip."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "-q", "-d", str(folder), "musicnn==0.1.0"]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("the wheel of musicnn 0.1.0 cannot be fetched here")
    return folder / "musicnn-0.1.0-py3-none-any.whl"


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    return fetched_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.mark.network
def test_wheel_gives_all_four(home, wheel):
    assert weights.install_weights(load_card("vgg.msd"), wheel) == sorted(TRAINED)
    assert files_in(home) == sorted(f"{name}.{kind}" for name in TRAINED for kind in ("json", "safetensors"))


def cut_short(path):
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 1)


def flip_byte(path):
    with path.open("r+b") as file:
        file.seek(1_000_000)
        octet = file.read(1)
        file.seek(1_000_000)
        file.write(bytes([octet[0] ^ 1]))


@pytest.mark.network
@pytest.mark.parametrize(("damage", "told"), [(cut_short, "29292475 bytes"), (flip_byte, "its sha256 is")])
def test_damaged_wheel_is_refused(home, wheel, tmp_path, damage, told):
    damaged = tmp_path / "damaged" / wheel.name
    damaged.parent.mkdir()
    shutil.copy(wheel, damaged)
    damage(damaged)
    with pytest.raises(WeightsError, match=told):
        weights.install_weights(load_card("musicnn.mtt"), damaged)
    assert not home.exists()


@pytest.mark.network
def test_data_file_alone_will_do(home, wheel, tmp_path):
    member = load_card("vgg.mtt").data_file.member
    with zipfile.ZipFile(wheel) as archive:
        archive.extract(member, tmp_path)
    assert weights.install_weights(load_card("vgg.mtt"), tmp_path / member) == ["vgg.mtt"]


def test_all_cards_are_read():
    assert len(read_cards()) == 5


def test_no_card_is_left_out_of_the_package():
    assert len(list((Path(taggram.__file__).parent / "models" / "cards").glob("*.json"))) == 5
