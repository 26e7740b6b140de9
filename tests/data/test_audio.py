"""Decoding: every usual format and rate as librosa decodes it, and a reason for every clip that cannot be used."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from unispeech_ft.data.audio import BadClip, normalise_waveform, pack, read_audio, unpack
from unispeech_ft.transcription.transcripts import audio_files

FORMATS = {"wav": "WAV", "flac": "FLAC", "mp3": "MP3", "ogg": "OGG", "opus": "OGG"}
RATES_HZ = (48_000, 44_100, 22_050, 16_000, 8_000)
OPUS_RATES_HZ = (48_000, 24_000, 16_000, 12_000, 8_000)
CASES = [(kind, rate) for kind in FORMATS for rate in (OPUS_RATES_HZ if kind == "opus" else RATES_HZ)]


def speech_like(rate_hz: int, channels: int, seconds: float = 1.3, level: float = 0.3) -> np.ndarray:
    random = np.random.default_rng(rate_hz + channels)
    time = np.arange(int(seconds * rate_hz)) / rate_hz
    tone = np.sin(2 * np.pi * 220 * time) * (1 + np.sin(2 * np.pi * 3 * time))
    noisy = level * (0.5 * tone[:, None] + 0.2 * random.normal(size=(len(time), channels)))
    return np.clip(noisy, -1, 1).astype(np.float32)


def write(path: Path, samples: np.ndarray, rate_hz: int) -> Path:
    kind = path.suffix[1:]
    subtype = {"opus": "OPUS", "ogg": "VORBIS", "mp3": "MPEG_LAYER_III"}.get(kind)
    soundfile.write(path, samples, rate_hz, format=FORMATS[kind], subtype=subtype)
    return path


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(("kind", "rate_hz"), CASES)
def test_equals_librosa(kind: str, rate_hz: int, channels: int, tmp_path: Path) -> None:
    path = write(tmp_path / f"clip.{kind}", speech_like(rate_hz, channels), rate_hz)
    waveform = read_audio(path)
    expected, _ = librosa.load(path, sr=16_000, mono=True, res_type="soxr_hq")
    assert waveform.dtype == np.float32
    assert waveform.flags.c_contiguous
    np.testing.assert_array_equal(waveform, expected)
    assert len(waveform) / 16_000 == pytest.approx(1.3, abs=0.11)


def test_the_content_decides_not_the_name(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.flac", speech_like(16_000, 1), 16_000)
    renamed = path.rename(tmp_path / "clip.mp3")
    assert len(read_audio(renamed)) == int(1.3 * 16_000)


@pytest.mark.parametrize(
    ("ending", "kind"),
    [(".wave", "WAV"), (".aifc", "AIFF"), (".snd", "AU"), (".sph", "NIST"), (".nist", "NIST"), (".mpga", "MP3")],
)
def test_files_of_rarer_endings_are_found_and_read(ending: str, kind: str, tmp_path: Path) -> None:
    soundfile.write(tmp_path / f"clip{ending}", speech_like(16_000, 1), 16_000, format=kind)
    (path,), _ = audio_files([tmp_path])
    assert len(read_audio(path)) / 16_000 == pytest.approx(1.3, abs=0.11)


@pytest.mark.parametrize(
    ("ending", "codec", "kind", "sample"),
    [(".mp2", "mp2", "mp2", "s16"), (".wv", "wavpack", "wv", "fltp"), (".ac3", "ac3", "ac3", "fltp")],
)
def test_files_that_ffmpeg_writes(ending: str, codec: str, kind: str, sample: str, tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / f"clip{ending}"), "w", format=kind) as container:
        stream = container.add_stream(codec, rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(speech_like(48_000, 1).T, format="flt", layout="mono")
        frame.sample_rate = 48_000
        size = stream.codec_context.frame_size or 1024
        for part in av.AudioResampler(format=sample, layout="mono", rate=48_000, frame_size=size).resample(frame):
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    (path,), _ = audio_files([tmp_path])
    assert len(read_audio(path)) / 16_000 == pytest.approx(1.3, abs=0.11)


def reason(path: Path) -> str:
    with pytest.raises(BadClip) as refused:
        read_audio(path)
    return str(refused.value)


@pytest.mark.parametrize("kind", list(FORMATS))
@pytest.mark.parametrize("seconds", [1.3, 6.0])
def test_truncated(kind: str, seconds: float, tmp_path: Path) -> None:
    whole = write(tmp_path / f"whole.{kind}", speech_like(48_000, 1, seconds), 48_000).read_bytes()
    path = tmp_path / f"half.{kind}"
    path.write_bytes(whole[: len(whole) // 2])
    assert "truncated" in reason(path) or "not audio that can be decoded" in reason(path)


@pytest.mark.parametrize("kind", list(FORMATS))
def test_cut_within_the_header(kind: str, tmp_path: Path) -> None:
    whole = write(tmp_path / f"whole.{kind}", speech_like(48_000, 1), 48_000).read_bytes()
    for size in (1, 3, 4, 5, 8, 20, 40):
        path = tmp_path / f"cut-{size}.{kind}"
        path.write_bytes(whole[:size])
        assert reason(path)


def test_missing(tmp_path: Path) -> None:
    assert reason(tmp_path / "no.mp3") == "no such file"


def test_a_folder(tmp_path: Path) -> None:
    assert "cannot be read" in reason(tmp_path)


def test_empty(tmp_path: Path) -> None:
    (tmp_path / "empty.mp3").write_bytes(b"")
    assert reason(tmp_path / "empty.mp3") == "the file is empty"


@pytest.mark.parametrize(
    "content", [b"this is a text file, no audio\n" * 200, bytes(5_000), b"<!DOCTYPE html><html>" * 50]
)
def test_not_audio(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "text.mp3"
    path.write_bytes(content)
    assert "not audio that can be decoded" in reason(path)


@pytest.mark.parametrize("kind", ["wav", "flac"])
def test_digital_silence(kind: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"silent.{kind}", np.zeros((16_000, 1), np.float32), 16_000)
    assert reason(path) == "digital silence"


def test_no_samples(tmp_path: Path) -> None:
    path = write(tmp_path / "none.wav", np.zeros((0, 1), np.float32), 16_000)
    assert reason(path) == "no samples in the file"


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("rate_hz", [16_000, 48_000])
def test_not_finite(value: float, rate_hz: int, tmp_path: Path) -> None:
    samples = speech_like(rate_hz, 1)
    samples[500] = value
    path = tmp_path / "nan.wav"
    soundfile.write(path, samples, rate_hz, subtype="FLOAT")
    assert "not finite" in reason(path)


waveforms = arrays(np.float32, st.integers(1, 200), elements=st.floats(-1, 1, width=32))


@given(waveforms, st.sampled_from([1.0, 1e-2, 1e-4, 1e-6]))
def test_packing_errs_by_half_a_step_of_the_clips_own_peak(waveform: np.ndarray, level: float) -> None:
    waveform = (waveform * np.float32(level)).astype(np.float32)
    samples, scale = pack(waveform)
    assert len(samples) == 2 * len(waveform)
    peak = float(np.abs(waveform).max())
    assert np.abs(unpack(samples, scale) - waveform).max() <= 0.51 * peak / 32767 + 1e-12


def test_a_quiet_clip_keeps_its_resolution() -> None:
    quiet = speech_like(16_000, 1, level=1e-4)[:, 0]
    error = unpack(*pack(quiet)) - quiet
    signal_to_noise_db = 10 * np.log10(np.mean(quiet**2) / np.mean(error**2))
    assert signal_to_noise_db > 75, "as 16-bit integers of full scale it would be 16 dB"


def test_normalising_as_the_original_recipe() -> None:
    quiet = np.random.default_rng(0).normal(0.01, 0.003, 16_000).astype(np.float32)
    for eps, deviation in ((1e-5, 0.688), (1e-7, 0.994)):
        normal = normalise_waveform(quiet, eps)
        assert normal.dtype == np.float32
        assert normal.mean() == pytest.approx(0, abs=1e-4)
        assert normal.std() == pytest.approx(deviation, abs=0.005)


def test_more_channels_than_there_are_planes_do_not_end_the_process():
    pytest.importorskip("av")
    buffer = io.BytesIO()
    soundfile.write(
        buffer, np.random.default_rng(0).normal(0, 0.1, 63 * 400).clip(-1, 1), 16_000, "FLOAT", format="WAV"
    )
    content = bytearray(buffer.getvalue())
    place = content.index(b"fmt ") + 10
    content[place : place + 2] = (63).to_bytes(2, "little")  # the size of a frame still says one channel
    script = "import sys; from unispeech_ft.data.audio import *; decode_audio(sys.stdin.buffer.read())"
    done = subprocess.run([sys.executable, "-c", script], input=bytes(content), capture_output=True, check=False)
    assert done.returncode >= 0, "it ended by a signal"
