"""The demo song: the same every time, as loud as it should be, and written whole or not at all."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from taggram.apps import demo_song


@pytest.fixture(scope="module")
def song() -> NDArray[np.float32]:
    samples: NDArray[np.float32] = demo_song.compose()
    return samples


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    out = tmp_path_factory.mktemp("song") / "out.wav"
    done = subprocess.run(
        [sys.executable, "-m", "taggram.apps.demo_song", str(out)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return out, done


def level_db(samples: NDArray[np.float32]) -> float:
    return float(10 * np.log10(np.mean(samples.astype(np.float64) ** 2)))


def test_song_is_stereo_float32(song: NDArray[np.float32]) -> None:
    assert song.dtype == np.float32
    assert song.shape[1] == 2


def test_song_lasts_40_to_45_seconds(song: NDArray[np.float32]) -> None:
    assert 40 <= len(song) / demo_song.SAMPLE_RATE <= 45


def test_song_does_not_clip(song: NDArray[np.float32]) -> None:
    assert 0.5 < np.abs(song).max() < 1.0


def test_both_channels_differ(song: NDArray[np.float32]) -> None:
    assert not np.array_equal(song[:, 0], song[:, 1])


def test_song_ends_in_silence(song: NDArray[np.float32]) -> None:
    assert np.abs(song[-100:]).max() < 1e-3


def test_quiet_passage_is_15_db_below_the_loudest(song: NDArray[np.float32]) -> None:
    window = 3 * demo_song.SAMPLE_RATE
    levels = [level_db(song[start : start + window]) for start in range(0, len(song) - window, window // 3)]
    assert max(levels) - min(levels) >= 15


def test_same_seed_gives_the_same_samples(song: NDArray[np.float32]) -> None:
    assert np.array_equal(song, demo_song.compose(0))


def test_another_seed_plays_it_differently(song: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_song, "SONG", demo_song.SONG[:1])
    assert not np.array_equal(demo_song.compose(0), demo_song.compose(1))


@pytest.mark.parametrize("name", ["plucked", "bowed", "blown", "struck", "bass", "synth", "acid"])
def test_instrument_plays_in_tune(name: str) -> None:
    tone = getattr(demo_song, name)(220.0, 1.5, np.random.default_rng(0))
    size = 1 << 18
    spectrum = np.abs(np.fft.rfft(tone * np.hanning(len(tone)), size))
    hz = np.fft.rfftfreq(size, 1 / demo_song.SAMPLE_RATE)
    near = (hz > 200) & (hz < 240)
    cents = 1200 * np.log2(hz[near][spectrum[near].argmax()] / 220.0)
    assert abs(cents) < 20


@pytest.mark.parametrize(
    ("name", "hz"), [("A4", 440.0), ("A2", 110.0), ("C4", 261.626), ("G#5", 830.609), ("Bb3", 233.082)]
)
def test_pitch_names(name: str, hz: float) -> None:
    assert demo_song.pitch_hz(name) == pytest.approx(hz, abs=0.01)


@pytest.mark.parametrize("section", range(5))
def test_every_part_fills_its_section(section: int) -> None:
    score = demo_song.SONG[section]
    beats = {len(part.words.replace("|", " ").split()) * part.step for part in score.parts}
    assert all(length <= score.beats for length in beats)
    assert score.beats in beats or score is demo_song.ENDING


def test_script_writes_16_bit_stereo(run: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    info = soundfile.info(run[0])
    assert (info.subtype, info.channels, info.samplerate) == ("PCM_16", 2, 44_100)


def test_script_says_in_one_line_what_it_wrote(run: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    out, done = run
    assert done.stdout.count("\n") == 1
    assert done.stdout.startswith(f"{out}: 4")


def test_script_is_silent_on_stderr(run: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    assert (run[1].returncode, run[1].stderr) == (0, "")


def test_script_leaves_only_its_file(run: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    assert list(run[0].parent.iterdir()) == [run[0]]


def test_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "taken.wav").mkdir()
    monkeypatch.setattr(demo_song, "compose", lambda seed: np.zeros((10, 2), dtype=np.float32))
    monkeypatch.setattr(sys, "argv", ["demo_song", str(tmp_path / "taken.wav")])
    with pytest.raises(SystemExit, match="taken"):
        demo_song.main()
    assert [path.name for path in tmp_path.iterdir()] == ["taken.wav"]


def test_unwritable_folder_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_song, "compose", lambda seed: np.zeros((10, 2), dtype=np.float32))
    monkeypatch.setattr(sys, "argv", ["demo_song", str(tmp_path / "missing" / "out.wav")])
    with pytest.raises(SystemExit, match=r"^\S+out\.wav: No such file or directory$"):
        demo_song.main()


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_set_up_says_that_it_takes_a_while_before_it_does(tmp_path: Path) -> None:
    command = ["make", "--dry-run", "setup", f"VENV={tmp_path / 'none'}"]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True)
    assert 0 < done.stdout.index("installing torch and others") < done.stdout.index("pip install")
