"""Trained weights: found in the cache, or fetched, checked, decoded without TensorFlow, and kept as safetensors.

The cache holds `weights/NAME.safetensors` and `weights/NAME.json` (the sha256 of the former and where it came from). It
lies where the system keeps caches, or in `TAGGRAM_HOME`. With `TAGGRAM_OFFLINE=1` nothing is fetched.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from taggram._files import cache_home, written_aside
from taggram.errors import WeightsError
from taggram.models._registry import SourceTensor, WeightsCard, WheelFile, read_cards

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from taggram.models._contract import TaggingModel

logger = logging.getLogger(__name__)

AXES = {"dense": (1, 0), "conv2d": (3, 2, 0, 1)}  # how a TensorFlow kernel's axes are put into torch's order
CRC32C_POLYNOMIAL = 0x82F63B78  # Castagnoli, reflected
N_NAMED = 5  # parameters that a message names
CRC_LANES = 4096  # pieces of a long run of bytes that are summed at once


def cache_folder() -> Path:
    """Say where weights are kept: `TAGGRAM_HOME`, or the system's place for caches."""
    return cache_home() / "weights"


def is_offline() -> bool:
    """Tell whether `TAGGRAM_OFFLINE` forbids to fetch anything."""
    return os.environ.get("TAGGRAM_OFFLINE", "0") not in ("", "0")


def cached_path(card: WeightsCard) -> Path:
    """Say where the weights of a card lie, or would lie."""
    return cache_folder() / f"{card.name}.safetensors"


def is_cached(card: WeightsCard) -> bool:
    """Tell whether the weights of a card are at hand."""
    return cached_path(card).exists() and cached_path(card).with_suffix(".json").exists()


def ensure_weights(card: WeightsCard) -> None:
    """Fetch the weights of a card unless they are at hand.

    Args:
        card: the weights that are wanted.

    Raises:
        WeightsError: they cannot be fetched; the message says how to give them by hand.
    """
    if is_cached(card):
        return
    by_hand = f"`taggram models get {card.name} --from FILE`"
    if card.wheel is None:
        raise WeightsError(
            f"the weights of {card.name} are in no package. Get {card.data_file.member} "
            f"({card.data_file.size} bytes) from the source repository, then {by_hand}."
        )
    if is_offline():
        raise WeightsError(
            f"the weights of {card.name} are not at hand and TAGGRAM_OFFLINE is set. Unset it and use "
            f"`taggram models get {card.name}`, or bring {card.wheel.file} and use {by_hand}."
        )
    logger.warning("fetching the weights of %s (%s, %.0f MB)", card.name, card.wheel.file, card.wheel.size / 1e6)
    with tempfile.TemporaryDirectory(prefix="taggram-") as folder:
        install_weights(card, _download(card.wheel, Path(folder), by_hand))


def install_weights(card: WeightsCard, file: Path) -> list[str]:
    """Check a file, decode the weights in it and put them into the cache.

    Args:
        card: the weights that are wanted.
        file: the wheel of the card, or its data file alone. Of a wheel, all the weights in it are kept.

    Returns:
        The names of the weights that were kept.

    Raises:
        WeightsError: the file cannot be read, or is not the one that the card names.
    """
    try:
        if card.wheel is not None and zipfile.is_zipfile(file):
            check_file(file, card.wheel.file, card.wheel.size, card.wheel.sha256)
            held = [other for other in read_cards().values() if other.wheel == card.wheel]
            with zipfile.ZipFile(file) as archive:
                for one in held:
                    _keep(one, archive.read(one.data_file.member))
        else:
            held = [card]
            wheel = f", nor {card.wheel.file}" if card.wheel else ""
            check_file(file, f"{card.data_file.member}{wheel}", card.data_file.size, card.data_file.sha256)
            _keep(card, file.read_bytes())
    except (OSError, zipfile.BadZipFile) as error:
        raise WeightsError(f"{file}: {error}. Give a file that can be read.") from error
    return [one.name for one in held]


def load_weights(card: WeightsCard) -> dict[str, Tensor]:
    """Read the weights of a card from the cache, after fetching them if need be.

    Args:
        card: the weights that are wanted.

    Returns:
        A tensor a parameter.

    Raises:
        WeightsError: they cannot be fetched, or the file in the cache was changed.
    """
    from safetensors import torch as safetensors_torch

    ensure_weights(card)
    path = cached_path(card)
    data = path.read_bytes()
    kept = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    if hashlib.sha256(data).hexdigest() != kept["sha256"]:
        raise WeightsError(f"{path} is damaged: its sha256 is not the one kept beside it. Remove it and try again.")
    return safetensors_torch.load(data)


def load_strictly(model: TaggingModel, weights: dict[str, Tensor], name: str) -> None:
    """Put weights into a network that was built for them, all of them and nothing else.

    Args:
        model: the network; its parameters may still be without storage (device "meta").
        weights: a tensor a parameter and statistic.
        name: of the weights, for the message.

    Raises:
        WeightsError: a parameter is missing, is one too many, or has another shape.
    """
    own = model.state_dict()
    trouble = [
        _listed("it lacks", [key for key in own if key not in weights]),
        _listed("it has no place for", [key for key in weights if key not in own]),
        _listed("of another shape or type:", [
            f"{key} ({_kind_of(weights[key])} came, {_kind_of(own[key])} is wanted)"
            for key in own
            if key in weights and _kind_of(weights[key]) != _kind_of(own[key])
        ]),
    ]  # fmt: skip
    if any(trouble):
        raise WeightsError(f"{name}: the weights do not fit {type(model).__name__}: {'; '.join(filter(None, trouble))}")
    # Copies, since a file may hold tensors at odd places in memory, where sums are done in another order.
    model.load_state_dict({key: value.clone() for key, value in weights.items()}, strict=True, assign=True)
    empty = [key for key, value in [*model.named_parameters(), *model.named_buffers()] if value.is_meta]
    if empty:
        raise WeightsError(f"{name}: the weights leave parts of {type(model).__name__} empty: {', '.join(empty)}")


def _kind_of(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def _listed(what: str, names: list[str]) -> str:
    """Say what is wrong with some parameters, a few of them by name."""
    more = f" and {len(names) - N_NAMED} more" if len(names) > N_NAMED else ""
    return f"{what} {', '.join(names[:N_NAMED])}{more}" if names else ""


def check_file(file: Path, wanted: str, size: int, sha256: str | None) -> None:
    """Check that a file is the one that a card names.

    Args:
        file: the file at hand.
        wanted: name of the file that was wanted, for the message.
        size: its bytes.
        sha256: its hexadecimal digest, or None where it is not known.

    Raises:
        WeightsError: the size or the digest differs; the message gives both.
    """
    found = file.stat().st_size
    if found != size:
        raise WeightsError(f"{file} is not {wanted}: it has {found} bytes, {size} are wanted. Fetch it again.")
    if sha256 is None:
        return
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if digest != sha256:
        raise WeightsError(f"{file} is not {wanted}: its sha256 is {digest}, {sha256} is wanted. Fetch it again.")


def decode(card: WeightsCard, data: bytes) -> dict[str, NDArray[np.float32]]:
    """Take the parameters out of the data file of a TensorFlow checkpoint.

    Args:
        card: where each parameter lies.
        data: the whole data file.

    Returns:
        An array a parameter and statistic, axes in torch's order.

    Raises:
        WeightsError: the data is not what the card says, by sha256 or, where that is not known, by CRC-32C.
    """
    import numpy as np  # here, since finding weights needs none of it and every command finds weights

    _check_data(card, data)
    arrays = {}
    for tensor in card.tensors:
        array = np.frombuffer(data, "<f4", math.prod(tensor.shape), tensor.offset).reshape(tensor.shape)
        arrays[tensor.parameter] = np.ascontiguousarray(_reorder(array, tensor), dtype=np.float32)
    return arrays


def crc32c_masked(data: bytes | memoryview) -> str:
    """Compute the CRC-32C of some bytes, masked as TensorFlow stores it.

    Args:
        data: any number of bytes.

    Returns:
        Eight hexadecimal digits.
    """
    crc = crc32c(data)
    masked = (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF
    return f"{masked:08x}"


def crc32c(data: bytes | memoryview) -> int:
    """Compute the CRC-32C of some bytes; long runs are summed in lanes side by side, then joined.

    Args:
        data: any number of bytes.

    Returns:
        The checksum: 0xe3069283 for b"123456789".
    """
    import numpy as np

    table = _crc_table()
    octets = np.frombuffer(data, np.uint8)
    lane_length = len(octets) // CRC_LANES
    state = np.uint32(0xFFFFFFFF)
    if lane_length:
        lanes = octets[: lane_length * CRC_LANES].reshape(CRC_LANES, lane_length)
        sums = np.zeros(CRC_LANES, np.uint32)
        for column in lanes.T.copy():
            sums = table[(sums ^ column) & 0xFF] ^ (sums >> 8)
        # A run of zero bytes is linear over bits, so the state before a lane is carried over it as a sum of columns.
        carried = np.left_shift(np.uint32(1), np.arange(32, dtype=np.uint32))
        for _ in range(lane_length):
            carried = table[carried & 0xFF] ^ (carried >> 8)
        for lane in sums:
            bits = (state >> np.arange(32, dtype=np.uint32)) & 1
            state = np.bitwise_xor.reduce(np.where(bits == 1, carried, 0).astype(np.uint32)) ^ lane
    for octet in octets[lane_length * CRC_LANES :]:
        state = table[(state ^ octet) & 0xFF] ^ (state >> np.uint32(8))
    return int(state ^ 0xFFFFFFFF)


def _crc_table() -> NDArray[np.uint32]:
    """Tabulate the CRC-32C of every single byte."""
    import numpy as np

    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(CRC32C_POLYNOMIAL), table >> 1)
    return table


def _check_data(card: WeightsCard, data: bytes) -> None:
    """Check a whole data file: by its digest, or by the checksum of every tensor where no digest is known."""
    wanted = card.data_file
    if len(data) != wanted.size:
        raise WeightsError(f"{wanted.member} has {len(data)} bytes, {wanted.size} are wanted.")
    if wanted.sha256 is not None:
        digest = hashlib.sha256(data).hexdigest()
        if digest != wanted.sha256:
            raise WeightsError(f"{wanted.member} has the sha256 {digest}, {wanted.sha256} is wanted.")
        return
    pieces = [(tensor.offset, 4 * math.prod(tensor.shape), tensor.crc32c_masked) for tensor in card.tensors]
    for offset, size, crc in [*pieces, *card.other_tensors]:
        found = crc32c_masked(memoryview(data)[offset : offset + size])
        if found != crc:
            raise WeightsError(
                f"{wanted.member} is damaged: bytes {offset} to {offset + size - 1} have the masked CRC-32C {found}, "
                f"{crc} is wanted."
            )


def _reorder(array: NDArray[np.float32], tensor: SourceTensor) -> NDArray[np.float32]:
    """Put the axes of a TensorFlow array into torch's order."""
    if tensor.order == "as_is":
        return array
    if tensor.order == "conv1d":  # (taps, channels, 1, filters): the channels were stored as an axis in space
        return array[:, :, 0, :].transpose(2, 1, 0)
    return array.transpose(AXES[tensor.order])


def _keep(card: WeightsCard, data: bytes) -> None:
    """Decode a data file and put the weights into the cache, whole or not at all."""
    import numpy as np
    from safetensors import numpy as safetensors_numpy

    arrays: dict[str, NDArray[np.generic]] = dict(decode(card, data))
    for name in [name for name in arrays if name.endswith(".running_mean")]:
        arrays[name.replace("running_mean", "num_batches_tracked")] = np.zeros((), np.int64)  # torch alone counts them
    path = cached_path(card)
    path.parent.mkdir(parents=True, exist_ok=True)
    packed = safetensors_numpy.save(arrays)
    kept = {"name": card.name, "sha256": hashlib.sha256(packed).hexdigest(), "source": card.source}
    with written_aside(path) as aside, written_aside(path.with_suffix(".json")) as card_aside:
        aside.write_bytes(packed)
        card_aside.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")


def _download(wheel: WheelFile, folder: Path, by_hand: str) -> Path:
    """Have pip bring a wheel into a folder."""
    command = [
        sys.executable,
        "-P",
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "--no-input",
        "--quiet",
    ]
    try:
        done = subprocess.run(
            [*command, "--quiet", "--disable-pip-version-check", "--dest", str(folder), wheel.requirement],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
    except OSError as error:
        raise WeightsError(f"pip could not be started: {error}. Bring {wheel.file} and use {by_hand}.") from error
    found = sorted(folder.glob("*.whl"))
    if done.returncode or not found:
        told = [line for line in done.stderr.splitlines() if line.strip()] or ["no answer"]
        reason = next((line for line in reversed(told) if line.startswith("ERROR")), told[-1])
        raise WeightsError(f"pip could not fetch {wheel.requirement} ({reason}). Bring {wheel.file} and use {by_hand}.")
    return found[0]
