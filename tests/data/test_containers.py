"""Sound whose headers are wrong or lacking: the whole of it is read, as long as another decoder says it is."""

from __future__ import annotations

import contextlib
import io
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from unispeech_ft.data.audio import BadClip, decode_audio, decode_pieces, read_audio, waveform_blocks
from unispeech_ft.data.flac import flac_stream


def tone(seconds: float, rate_hz: int, channels: int = 1) -> np.ndarray:
    """Sound with pauses, so that a variable bit rate varies."""
    time = np.arange(int(seconds * rate_hz)) / rate_hz
    loud = np.sin(np.pi * time) > 0
    mono = loud * (0.3 * np.sin(2 * np.pi * 220 * time) + 0.05 * np.random.default_rng(0).normal(size=len(time)))
    return np.stack([mono] * channels, axis=1).astype(np.float32)


def encoded(kind: str, subtype: str | None, seconds: float, rate_hz: int, channels: int = 1) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, tone(seconds, rate_hz, channels), rate_hz, format=kind, subtype=subtype)
    return file.getvalue()


def seconds_of(content: bytes | Path) -> float:
    whole = len(decode_audio(content)) / 16_000
    assert sum(map(len, waveform_blocks(content))) / 16_000 == pytest.approx(whole, abs=1e-3)
    return whole


def without_xing(mp3: bytes) -> bytes:
    """An MP3 without its first frame, which states how long it is."""
    return mp3[mp3.index(b"\xff\xfb" if mp3[1] == 0xFB else mp3[:2], 10) :]


MP3 = [("MP3", "MPEG_LAYER_III", rate_hz, channels) for rate_hz in (44_100, 16_000, 8_000) for channels in (1, 2)]


@pytest.mark.parametrize(("kind", "subtype", "rate_hz", "channels"), MP3)
def test_mp3_without_xing(kind: str, subtype: str, rate_hz: int, channels: int) -> None:
    assert seconds_of(without_xing(encoded(kind, subtype, 7.0, rate_hz, channels))) == pytest.approx(7.0, abs=0.2)


@pytest.mark.parametrize("stated", [0, 3, 40, 100_000])
def test_mp3_with_a_wrong_xing(stated: int) -> None:
    mp3 = bytearray(encoded("MP3", "MPEG_LAYER_III", 7.0, 44_100))
    place = max(mp3.find(b"Xing"), mp3.find(b"Info"))
    struct.pack_into(">I", mp3, place + 8, stated)
    assert seconds_of(bytes(mp3)) == pytest.approx(7.0, abs=0.1)


def test_tags_and_rubbish_between_frames() -> None:
    mp3 = encoded("MP3", "MPEG_LAYER_III", 7.0, 44_100)
    tag = b"ID3\x04\x00\x00\x00\x00\x10\x00" + bytes(2048)
    assert seconds_of(tag + mp3 + b"TAG" + bytes(125)) == pytest.approx(7.0, abs=0.1)
    half = len(mp3) // 2
    assert seconds_of(mp3[:half] + bytes(range(256)) * 4 + mp3[half:]) == pytest.approx(7.0, abs=0.15)


@pytest.mark.parametrize("rates_hz", [(44_100, 44_100), (48_000, 16_000), (16_000, 48_000, 16_000)])
@pytest.mark.parametrize("kind", ["MP3", "VORBIS", "OPUS"])
def test_joined_streams(kind: str, rates_hz: tuple[int, ...]) -> None:
    rates_hz = tuple(48_000 if kind == "OPUS" and rate == 44_100 else rate for rate in rates_hz)
    container, subtype = ("MP3", "MPEG_LAYER_III") if kind == "MP3" else ("OGG", kind)
    content = b"".join(encoded(container, subtype, 3.0, rate_hz) for rate_hz in rates_hz)
    assert seconds_of(content) == pytest.approx(3.0 * len(rates_hz), abs=0.1 * len(rates_hz))
    pieces = [len(piece) / 16_000 for _, piece in decode_pieces(content, 2.0, 1.0)]
    assert sum(pieces) == pytest.approx(3.0 * len(rates_hz), abs=0.1 * len(rates_hz))
    assert max(pieces) <= 2.0


KINDS = [
    ("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III"), ("AIFF", "PCM_16"),
    ("RF64", "PCM_16"),
]  # fmt: skip


@pytest.mark.parametrize("second", KINDS)
@pytest.mark.parametrize("first", KINDS)
def test_files_of_several_kinds_joined(first: tuple[str, str], second: tuple[str, str]) -> None:
    if second[0] == "MP3" and first[0] in ("FLAC", "AIFF", "RF64"):
        return  # nothing tells where an MP3 without a tag begins in these
    content = encoded(*first, 2.0, 48_000) + encoded(*second, 3.0, 48_000)
    assert seconds_of(content) == pytest.approx(5.0, abs=0.1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_tag_before_any_kind(kind: tuple[str, str]) -> None:
    tag = b"ID3\x04\x00\x00\x00\x02\x00\x00" + bytes(32_768)
    assert seconds_of(tag + encoded(*kind, 2.0, 48_000)) == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize("size", [0, 2**64 - 1])
def test_rf64_from_a_pipe(size: int) -> None:
    content = bytearray(encoded("RF64", "PCM_16", 2.0, 48_000, 2))
    struct.pack_into("<QQQ", content, 20, size, size, size)
    assert seconds_of(bytes(content)) == 2.0
    assert seconds_of(bytes(content) * 2) == 4.0


@pytest.mark.parametrize(("rate_hz", "channels"), [(8_000, 1), (11_111, 2), (48_000, 2)])
@pytest.mark.parametrize("stated", [0, 1000])
def test_flac_that_does_not_state_its_length(stated: int, rate_hz: int, channels: int) -> None:
    content = bytearray(encoded("FLAC", "PCM_24", 50.0, rate_hz, channels))
    content[21:26] = (int.from_bytes(content[21:26], "big") >> 36 << 36 | stated).to_bytes(5, "big")
    assert seconds_of(bytes(content)) == pytest.approx(50.0, abs=1e-3)
    # What is given before a fault is found is not given again.
    place = len(content) * 4 // 5
    content[place : place + 5000] = bytes(5000)
    with pytest.raises(BadClip, match="damaged"):
        decode_audio(bytes(content))


def test_nist_that_is_cut_off() -> None:
    content = encoded("NIST", "PCM_16", 2.0, 16_000)
    with pytest.raises(BadClip, match="truncated"):
        decode_audio(content[: len(content) // 2])


def test_a_rate_that_no_recorder_has_in_matroska() -> None:
    av = pytest.importorskip("av")
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        stream = container.add_stream("pcm_s16le", rate=100, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.ones((1, 1000), dtype=np.int16), format="s16", layout="mono")
        frame.sample_rate = 100
        container.mux([*stream.encode(frame), *stream.encode(None)])
    with pytest.raises(BadClip, match="a sampling rate of 100 Hz"):
        decode_audio(file.getvalue())


def test_sizes_that_no_file_has() -> None:
    for kind in ("CAF", "W64", "AIFF"):
        content = encoded(kind, "PCM_16", 1.0, 16_000)
        for place in range(4, 64, 4):
            with contextlib.suppress(BadClip):
                decode_audio(content[:place] + b"\x7f" + b"\xff" * 7 + content[place + 8 :])


def test_matroska_that_is_cut_off() -> None:
    av = pytest.importorskip("av")
    file = io.BytesIO()
    with av.open(file, "w", format="webm") as container:
        stream = container.add_stream("libopus", rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(tone(3.0, 48_000)[None, :, 0], format="fltp", layout="mono")
        frame.sample_rate = 48_000
        resampler = av.AudioResampler(stream.format, "mono", 48_000, frame_size=stream.codec_context.frame_size)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    content = file.getvalue()
    assert seconds_of(content) == pytest.approx(3.0, abs=0.1)
    with pytest.raises(BadClip, match="truncated: .* that the file declares"):
        decode_audio(content[: len(content) * 2 // 3])


@pytest.mark.parametrize("between", [b"", b"id3 \x04\x00\x00\x00INFO"])
@pytest.mark.parametrize(
    ("kind", "subtype"),
    [
        ("FLAC", "PCM_16"), ("WAV", "PCM_16"), ("WAV", "PCM_24"), ("WAV", "FLOAT"), ("WAV", "PCM_U8"),
        ("AIFF", "PCM_16"), ("AIFF", "FLOAT"), ("AU", "ULAW"), ("CAF", "PCM_16"), ("RF64", "PCM_16"),
        ("W64", "PCM_16"),
    ],
)  # fmt: skip
def test_joined_files(kind: str, subtype: str, between: bytes) -> None:
    rates_hz = (44_100, 16_000, 11_025, 16_000)
    first, second, third, last = (encoded(kind, subtype, 3.0, rate_hz) for rate_hz in rates_hz)
    content = first + between + second + third + between + last
    assert seconds_of(content) == pytest.approx(12.0, abs=1e-3)
    with pytest.raises(BadClip):
        decode_audio(content[:-999])


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT", "ULAW"])
@pytest.mark.parametrize(
    ("riff", "data"), [(0, 0), (0xFFFFFFFF, 0xFFFFFFFF), (0x7FFFF024, 0x7FFFF000), (0x80000024, 0x80000000), (0, None)]
)
def test_wave_from_a_pipe(subtype: str, riff: int, data: int | None) -> None:
    wave = bytearray(encoded("WAV", subtype, 5.0, 16_000, 2))
    struct.pack_into("<I", wave, 4, riff)
    if data is not None:
        struct.pack_into("<I", wave, wave.index(b"data") + 4, data)
    assert seconds_of(bytes(wave)) == 5.0


def test_joined_nist() -> None:
    content = encoded("NIST", "PCM_16", 2.0, 16_000)
    np.testing.assert_array_equal(decode_audio(content + content), np.tile(decode_audio(content), 2))


@pytest.mark.parametrize("size", [0, 0x7FFFF000, 0xFFFFFFFF])
def test_waves_from_pipes_joined(size: int) -> None:
    waves = [bytearray(encoded("WAV", "PCM_16", 2.0, rate_hz)) for rate_hz in (16_000, 8_000, 16_000)]
    for wave in waves[:2]:
        struct.pack_into("<I", wave, wave.index(b"data") + 4, size)
    alone = [decode_audio(bytes(wave)) for wave in waves]
    np.testing.assert_array_equal(decode_audio(b"".join(waves)), np.concatenate(alone))
    assert seconds_of(b"".join(waves)) == 6.0


def ogg_page(packets: list[bytes], flags: int, granule: int, number: int) -> bytes:
    sizes, body = bytes(map(len, packets)), b"".join(packets)
    page = bytearray(struct.pack("<4sBBqIIIB", b"OggS", 0, flags, granule, 7, number, 0, len(packets)) + sizes + body)
    checksum = 0
    for byte in page:
        checksum ^= byte << 24
        for _ in range(8):
            checksum = (checksum << 1 ^ (0x04C11DB7 if checksum & 0x80000000 else 0)) & 0xFFFFFFFF
    struct.pack_into("<I", page, 22, checksum)
    return bytes(page)


@pytest.mark.parametrize("with_av", [True, False])
def test_speex(with_av: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    header = struct.pack("<8s20s13i", b"Speex   ", b"1.2", 1, 80, 8000, 0, 4, 1, -1, 160, 0, 1, 0, 0, 0)
    noise = np.random.default_rng(0).integers(0, 8, (50, 20), dtype=np.uint8)
    frames = [bytes([3 << 3 | frame[0], *frame[1:]]) for frame in noise]
    pages = [([header], 2, 0), ([struct.pack("<II", 0, 0)], 0, 0), (frames, 4, 50 * 160)]
    content = b"".join(ogg_page(*page, number) for number, page in enumerate(pages))
    if with_av:
        pytest.importorskip("av")
        assert seconds_of(content + content) == 2.0
        return
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(BadClip, match="Speex and others: pip install"):
        decode_audio(content)


CUT = [("WAV", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS")]
CUT += [(kind, "PCM_16") for kind in ("AIFF", "AU", "CAF", "RF64", "W64")]


@pytest.mark.parametrize(("kind", "subtype"), CUT)
def test_what_is_cut_off_is_refused(kind: str, subtype: str) -> None:
    content = encoded(kind, subtype, 5.0, 48_000)
    for cut in (
        content[: len(content) // 2],
        content + content[: len(content) // 2] if kind == "OGG" else content[:-99],
    ):
        with pytest.raises(BadClip, match="truncated"):
            decode_audio(cut)


def test_channels_that_cancel_out(tmp_path: Path) -> None:
    samples = tone(2.0, 16_000, 2)
    samples[:, 1] *= -1
    path = tmp_path / "inverted.wav"
    soundfile.write(path, samples, 16_000, subtype="FLOAT")
    with pytest.raises(BadClip, match=r"inverted .*data.channel 0"):
        read_audio(path)
    np.testing.assert_array_equal(read_audio(path, channel=1), samples[:, 1])
    with pytest.raises(BadClip, match="channel 2 is asked for"):
        read_audio(path, channel=2)


@pytest.mark.parametrize("seconds", [0.4, 1.5, 30.0, 45.5])
@pytest.mark.parametrize(
    ("signs", "level", "from_end_s"),
    [
        ((1, -1, 1, -1), 1.0, None),
        ((1, -1), 1.0, 8),
        ((1, -1), 5e-4, None),
        ((1, -1, 0, 0), 1.0, 2),
        ((2, -1, -1), 1.0, 3),
    ],
)
def test_channels_that_cancel_for_a_second(
    signs: tuple[int, ...], level: float, from_end_s: int | None, seconds: float, tmp_path: Path
) -> None:
    mono = level * 0.3 * np.random.default_rng(0).normal(size=int(seconds * 16_000))
    start = max(0, len(mono) - (from_end_s or 60) * 16_000)
    samples = np.outer(mono, np.ones(len(signs)))
    soundfile.write(tmp_path / "a.wav", samples, 16_000, subtype="FLOAT")
    assert len(read_audio(tmp_path / "a.wav")) == len(mono)
    samples[start:] = np.outer(mono[start:], signs)
    soundfile.write(tmp_path / "a.wav", samples, 16_000, subtype="FLOAT")
    with pytest.raises(BadClip, match=r"cancel .*data.channel 0"):
        read_audio(tmp_path / "a.wav")
    with pytest.raises(BadClip, match="cancel"):
        list(decode_pieces(tmp_path / "a.wav", 10.0, 3.0))


@pytest.mark.parametrize(("kind", "subtype"), [("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")])
def test_channels_that_cancel_out_in_an_encoder_that_changes_them(kind: str, subtype: str) -> None:
    samples = tone(4.0, 48_000, 2)
    file = io.BytesIO()
    soundfile.write(file, samples * (1, -0.98), 48_000, format=kind, subtype=subtype)
    with pytest.raises(BadClip, match=r"cancel .*data.channel 0"):
        decode_audio(file.getvalue())
    file = io.BytesIO()
    soundfile.write(file, samples * (1, -0.4), 48_000, format=kind, subtype=subtype)
    assert len(decode_audio(file.getvalue())) == pytest.approx(64_000, abs=1_600)


@pytest.mark.parametrize("channels", [2, 32])
def test_channels_that_differ_or_are_silent_do_not_cancel(channels: int, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    samples = np.zeros((16_000 * 25, channels))
    samples[: 16_000 * 9] = 0.1 * random.normal(size=(16_000 * 9, channels))
    samples[16_000 * 12 :, 0] = 0.1 * random.normal(size=16_000 * 13)
    samples[16_000 * 10 : 16_000 * 12] = np.where(np.arange(channels) % 2, 1, -1) * 2**-15
    soundfile.write(tmp_path / "a.wav", samples, 16_000)
    assert len(read_audio(tmp_path / "a.wav")) == 16_000 * 25


def test_a_block_of_few_samples_is_not_judged(tmp_path: Path) -> None:
    samples = 0.1 * np.random.default_rng(0).normal(size=(16_000 * 20 + 1, 2))
    samples[-1] = (0.1, -0.1)
    soundfile.write(tmp_path / "a.wav", samples, 16_000)
    assert len(read_audio(tmp_path / "a.wav")) == len(samples)


def test_samples_beyond_all_bounds(tmp_path: Path) -> None:
    samples = tone(1.0, 16_000)
    samples[100] = 3.4e38
    soundfile.write(tmp_path / "loud.wav", samples, 16_000, subtype="FLOAT")
    with pytest.raises(BadClip, match=r"a sample of 3.4e\+38"):
        read_audio(tmp_path / "loud.wav")


def encode_with_av(path: Path, codec: str, rate_hz: int, options: dict[str, str]) -> None:
    av: Any = pytest.importorskip("av")
    try:
        with av.open(str(path), "w", options=options) as container:
            stream = container.add_stream(codec, rate=rate_hz)
            stream.layout = "mono"
            resampler = av.AudioResampler(format=stream.codec_context.format.name, layout="mono", rate=rate_hz)
            samples = tone(6.3, rate_hz)
            for start in range(0, len(samples), 1024):
                block = np.ascontiguousarray(samples[start : start + 1024].T)
                frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
                frame.sample_rate, frame.pts = rate_hz, start
                for part in resampler.resample(frame):
                    container.mux(stream.encode(part))
            container.mux(stream.encode(None))
    except av.codec.codec.UnknownCodecError:
        pytest.skip(f"PyAV has no {codec} here")


@pytest.mark.parametrize(
    ("name", "codec", "rate_hz", "options"),
    [
        ("a.m4a", "aac", 16_000, {}),
        ("a.aac", "aac", 44_100, {}),
        ("a.webm", "libopus", 48_000, {}),
        ("a.mp3", "libmp3lame", 44_100, {"write_xing": "0"}),
        ("b.mp3", "libmp3lame", 16_000, {"write_xing": "0"}),
        ("a.opus", "libopus", 48_000, {}),
        ("a.flac", "flac", 16_000, {}),
        ("a.wav", "pcm_s16le", 8_000, {}),
    ],
)
def test_durations_agree_with_ffmpeg(
    name: str, codec: str, rate_hz: int, options: dict[str, str], tmp_path: Path
) -> None:
    av: Any = pytest.importorskip("av")
    encode_with_av(tmp_path / name, codec, rate_hz, options)
    with av.open(str(tmp_path / name)) as container:
        expected = sum(frame.samples / frame.sample_rate for frame in container.decode(container.streams.audio[0]))
    assert seconds_of(tmp_path / name) == pytest.approx(expected, abs=0.1)
    assert seconds_of((tmp_path / name).read_bytes()) == pytest.approx(expected, abs=0.1)


def adpcm(level: float) -> bytes:
    """A WAV of a codec that libsndfile does not know."""
    av = pytest.importorskip("av")
    file = io.BytesIO()
    with av.open(file, "w", format="wav") as container:
        stream = container.add_stream("adpcm_yamaha", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(level * tone(2.0, 16_000).T, format="flt", layout="mono")
        frame.sample_rate = 16_000
        size = stream.codec_context.frame_size
        for part in av.AudioResampler(format="s16", layout="mono", rate=16_000, frame_size=size).resample(frame):
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return file.getvalue()


def test_joined_files_that_need_ffmpeg_are_each_read_once() -> None:
    joined = np.concatenate((decode_audio(adpcm(1.0)), decode_audio(adpcm(0.1))))
    np.testing.assert_array_equal(decode_audio(adpcm(1.0) + adpcm(0.1)), joined)


def test_whole_flacs_are_left_as_they_are_and_lengths_that_are_missing_are_found():
    for seed in range(150):
        random = np.random.default_rng(seed)
        buffer = io.BytesIO()
        samples = random.normal(0, 0.2, int(random.integers(3_000, 20_000))).clip(-1, 1)
        soundfile.write(buffer, samples, 16_000, format="FLAC", subtype=("PCM_16", "PCM_24")[seed % 2])
        whole = buffer.getvalue()
        assert flac_stream(whole, 0, len(whole)) is None, seed
        unknown = whole[:21] + bytes([whole[21] & 0xF0, 0, 0, 0, 0]) + whole[26:]
        mended = flac_stream(unknown, 0, len(unknown))
        assert mended is not None, seed
        assert b"".join(map(bytes, mended.pieces)) == whole, seed


def test_bytes_that_only_look_like_the_header_of_a_flac_frame_are_none():
    looks_like_one = b"\xff\xf9\x7d\x08" + b"\xff" * 12
    content = b"fLaC" + bytes(38) + looks_like_one
    assert flac_stream(content, 0, len(content)) is None
