"""Transcription: any format, any length, flat memory, and the same phones as evaluation."""

from __future__ import annotations

import json
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from unispeech_ft.cli import main
from unispeech_ft.config.sections import DataConfig, MaskConfig, ModelConfig
from unispeech_ft.data.audio import SAMPLE_RATE_HZ, pack, read_audio, unpack, waveform_blocks
from unispeech_ft.errors import UserError
from unispeech_ft.models.build import build_model
from unispeech_ft.models.confidence import save_confidence
from unispeech_ft.models.decoding import frame_outputs
from unispeech_ft.models.saved import STOCK_EPS, load_saved
from unispeech_ft.models.saving import save_model
from unispeech_ft.phonemes.tokenizer import PhoneTokenizer
from unispeech_ft.scoring import read_hypotheses
from unispeech_ft.scoring.confidence import Confidence
from unispeech_ft.transcription.chunks import Chunk, cut_chunks, quietest_sample
from unispeech_ft.transcription.decoding import start_chunks
from unispeech_ft.transcription.timed import Transcript
from unispeech_ft.transcription.transcripts import audio_files, transcribe_files

TINY_W2V_BERT = {
    "model_type": "wav2vec2-bert",
    "vocab_size": 7,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
}


def noise(seconds: float, rate_hz: int = SAMPLE_RATE_HZ, channels: int = 1) -> np.ndarray:
    samples = np.random.default_rng(0).normal(0, 0.1, (round(seconds * rate_hz), channels))
    return samples.astype(np.float32)


def transcribe_one(saved, path: Path, **options) -> Transcript:
    (result,) = transcribe_files(saved, [path], **options)
    assert isinstance(result, Transcript), result
    return result


@pytest.fixture
def long_recording(tmp_path, spoken_corpus) -> Path:
    clips = sorted((spoken_corpus / "ky" / "clips").iterdir())[:8]
    path = tmp_path / "long.flac"
    soundfile.write(path, np.concatenate([soundfile.read(clip)[0] for clip in clips]), 48_000)
    return path


@pytest.mark.parametrize(
    ("name", "rate_hz", "channels"),
    [("a.wav", 48_000, 2), ("a.mp3", 44_100, 1), ("a.flac", 22_050, 3), ("a.ogg", 8_000, 1), ("a.wav", 16_000, 2)],
)
def test_blocks_joined_are_the_clip_as_training_reads_it(tmp_path, name, rate_hz, channels):
    soundfile.write(tmp_path / name, noise(2.3, rate_hz, channels), rate_hz)
    blocks = list(waveform_blocks(tmp_path / name, block_s=0.37))
    assert len(blocks) > 5
    np.testing.assert_allclose(np.concatenate(blocks), read_audio(tmp_path / name), rtol=0, atol=3e-7)


@given(
    sizes=st.lists(st.integers(0, 5000), max_size=12),
    max_samples=st.integers(100, 3000),
    share=st.floats(0.05, 0.95),
)
@settings(max_examples=60, deadline=None)
def test_chunks_joined_are_the_recording(sizes, max_samples, share):
    recording = noise(1.0)[:, 0].repeat(4)[: sum(sizes)]
    blocks = np.split(recording, np.cumsum(sizes)[:-1]) if sizes else []
    max_chunk_s, search_s = max_samples / SAMPLE_RATE_HZ, max_samples * share / SAMPLE_RATE_HZ
    found = list(cut_chunks(blocks, max_chunk_s, search_s))
    whole = np.concatenate([chunk.waveform for chunk in found]) if found else recording
    np.testing.assert_array_equal(whole, recording)
    starts = np.cumsum([0, *(len(chunk.waveform) for chunk in found)])
    assert [chunk.start_sample for chunk in found] == starts[:-1].tolist()
    assert all(0 < len(chunk.waveform) <= max_samples for chunk in found)
    assert len(recording) > max_samples or len(found) <= 1


def test_cuts_lie_in_pauses():
    recording = noise(30.0)[:, 0]
    pauses = [(7.0, 7.4), (16.1, 16.5), (23.0, 23.4)]
    for start_s, end_s in pauses:
        recording[round(start_s * SAMPLE_RATE_HZ) : round(end_s * SAMPLE_RATE_HZ)] *= 0.01
    found = [chunk.start_s for chunk in cut_chunks([recording], 10.0, 4.0)]
    assert len(found) == 4
    assert all(low < cut < high for cut, (low, high) in zip(found[1:], pauses, strict=True))


def test_the_last_of_several_quiet_places():
    assert quietest_sample(np.zeros(16_000, dtype=np.float32)) == 16_000 - 1600


def test_memory_does_not_grow_with_the_recording(tmp_path):
    path = tmp_path / "ten_minutes.wav"
    with soundfile.SoundFile(path, "w", 8000, 1) as file:
        for _ in range(60):
            file.write(noise(10.0, 8000))
    tracemalloc.start()
    num_samples = sum(len(chunk.waveform) for chunk in cut_chunks(waveform_blocks(path), 20.0, 5.0))
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert num_samples == 600 * SAMPLE_RATE_HZ
    assert peak_bytes < 16e6 < 4 * num_samples


def test_clips_give_the_phones_of_evaluation(small_run, small_model, spoken_corpus):
    scores = read_hypotheses(small_run.output_dir / "eval" / "test" / "hypotheses.jsonl")
    paths = [spoken_corpus / "ky" / "clips" / f"{item.id}.mp3" for item in scores]
    found = list(transcribe_files(small_model, paths))
    assert [result.path for result in found] == [str(path) for path in paths]
    assert [[item.phone for item in result.phones] for result in found] == [item.hypothesis for item in scores]
    assert [result.duration_s for result in found] == [item.duration_s for item in scores]
    assert any(item.hypothesis for item in scores)


def test_long_recordings_are_cut_and_their_times_go_on(small_model, long_recording):
    whole = transcribe_one(small_model, long_recording, max_chunk_s=60.0)
    cut = transcribe_one(small_model, long_recording, max_chunk_s=6.0, search_s=3.0)
    assert cut.duration_s == whole.duration_s > 12
    times = [time for item in cut.phones for time in (item.start_s, item.end_s)]
    assert times == sorted(times)
    assert 0 <= times[0] < 6 < cut.duration_s - 6 < times[-1] <= cut.duration_s


def test_silence_has_no_phones(tmp_path, small_model):
    soundfile.write(tmp_path / "silence.wav", np.zeros(3 * 16_000), 16_000)
    assert transcribe_one(small_model, tmp_path / "silence.wav") == Transcript(str(tmp_path / "silence.wav"), 3.0, [])


def test_shorter_than_a_frame(tmp_path, small_model):
    soundfile.write(tmp_path / "click.wav", noise(0.01), 16_000)
    assert transcribe_one(small_model, tmp_path / "click.wav").phones == []


def make_bad_files(folder: Path) -> dict[Path, str]:
    whole = folder / "whole.wav"
    soundfile.write(whole, noise(2.0), 16_000)
    soundfile.write(folder / "nan.wav", np.full(4000, np.nan, dtype=np.float32), 16_000, subtype="FLOAT")
    soundfile.write(folder / "header_only.wav", noise(0.0), 16_000)
    (folder / "cut.wav").write_bytes(whole.read_bytes()[:20_000])
    (folder / "text.mp3").write_text("no sound\n" * 100)
    (folder / "empty.wav").touch()
    whole.unlink()
    reasons = {
        "nan.wav": "not finite",
        "header_only.wav": "no samples",
        "cut.wav": "ends before",
        "text.mp3": "not audio",
        "empty.wav": "is empty",
        "missing.wav": "no such file",
    }
    return {folder / name: reason for name, reason in reasons.items()}


def test_bad_files_are_faults_between_good_ones(tmp_path, small_model, long_recording):
    bad = make_bad_files(tmp_path)
    found = list(transcribe_files(small_model, [long_recording, *bad, long_recording]))
    assert isinstance(found[0], Transcript)
    assert found[0] == found[-1]
    for result, (path, reason) in zip(found[1:-1], bad.items(), strict=True):
        assert isinstance(result, UserError)
        assert str(path) in result.what
        assert reason in result.what
        assert result.remedy


def test_audio_files_of_folders(tmp_path, capsys):
    for name in ("b/2.MP3", "b/1.wav", "b/3.voc", "b/4.voc", "a/x.flac", "a/notes.txt", "a/.hidden.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "none").mkdir()
    files, faults = audio_files([tmp_path / "b", tmp_path / "none", tmp_path, "named.xyz"])
    passed = "passed over are files whose endings are of no recording and no text (2 × .voc)"
    assert capsys.readouterr().err == "".join(f"warning: {folder}: {passed}\n" for folder in (tmp_path / "b", tmp_path))
    names = [str(file.relative_to(tmp_path)) for file in files[:-1]]
    assert names == ["b/1.wav", "b/2.MP3", "a/x.flac", "b/1.wav", "b/2.MP3"]
    assert files[-1] == Path("named.xyz")
    assert [fault.what for fault in faults] == [f"{tmp_path / 'none'}: no audio file in this folder"]


def test_command_prints_a_line_for_each_file(command, small_run, small_model, tmp_path, long_recording):
    expected = transcribe_one(small_model, long_recording)
    status, out, err = command("transcribe", small_run.model_dir, long_recording, tmp_path)
    line = f"{long_recording}\t{' '.join(item.phone for item in expected.phones)}"
    assert (status, out.splitlines()) == (0, [line, line])


def test_command_prints_json_and_reports_bad_files_at_the_end(command, small_run, tmp_path, long_recording):
    bad = [tmp_path / "one.wav", tmp_path / "two.wav"]
    status, out, err = command("transcribe", "--json", small_run.model_dir, bad[0], long_recording, bad[1])
    assert status == 2
    result = json.loads(out)
    assert (result["path"], list(result)) == (str(long_recording), ["path", "duration_s", "phones"])
    assert list(result["phones"][0]) == ["phone", "start_s", "end_s", "posterior"]
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 2
    assert all(str(path) in line for path, line in zip(bad, errors, strict=True))


def test_saved_model_is_the_trained_one(small_model, small_run):
    assert not small_model.built.model.training
    assert small_model.built.front_end.eps == 1e-5
    assert small_model.built.front_end.normalize
    assert small_model.built.model.lm_head.out_features == len(small_model.tokenizer.tokens)


@pytest.fixture
def model_copy(small_run, tmp_path) -> Path:
    return Path(shutil.copytree(small_run.model_dir, tmp_path / "copy"))


def rewrite(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def test_stock_epsilon_where_none_is_stored(model_copy):
    (model_copy / "preprocessor_config.json").unlink()
    rewrite(model_copy / "processor_config.json", feature_extractor={"do_normalize": False})
    front_end = load_saved(model_copy).built.front_end
    assert (front_end.eps, front_end.normalize) == (STOCK_EPS, False)


def test_rows_without_a_name_are_never_phones(model_copy, small_model):
    last = small_model.tokenizer.tokens[-1]
    vocabulary = {token: row for token, row in small_model.tokenizer.ids.items() if token != last}
    (model_copy / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    tokenizer = load_saved(model_copy).tokenizer
    assert len(tokenizer.tokens) == len(small_model.tokenizer.tokens)
    assert tokenizer.phones == small_model.tokenizer.phones[:-1]


@pytest.mark.parametrize(
    ("mend", "reason"),
    [
        (lambda folder: shutil.rmtree(folder), "neither a local model folder nor a Hub model"),
        (lambda folder: (folder / "config.json").unlink(), "no config.json"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json cannot be used"),
        (lambda folder: rewrite(folder / "config.json", model_type="whisper"), "'whisper'"),
        (lambda folder: rewrite(folder / "config.json", architectures=["UniSpeechForPreTraining"]), "no CTC head"),
        (lambda folder: (folder / "vocab.json").unlink(), "has no tokenizer"),
        (lambda folder: (folder / "vocab.json").write_text("[]"), "tokenizer cannot be used"),
        (lambda folder: (folder / "model.safetensors").unlink(), "weights cannot be loaded"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"cut"), "weights cannot be loaded"),
        (lambda folder: (folder / "preprocessor_config.json").write_text("{"), "cannot be read"),
    ],
)
def test_models_that_cannot_be_used(monkeypatch, model_copy, mend, reason):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    mend(model_copy)
    with pytest.raises(UserError, match=reason) as raised:
        load_saved(model_copy)
    assert raised.value.remedy


def test_a_run_stands_for_its_model(small_run):
    assert load_saved(small_run.output_dir).tokenizer == load_saved(small_run.model_dir).tokenizer


def test_filter_bank_models(tmp_path, long_recording):
    tokenizer = PhoneTokenizer.from_inventory(["a", "b", "tʃ"], "transformers")
    base = ModelConfig(from_scratch=True, config=TINY_W2V_BERT)
    built = build_model(base, MaskConfig(), DataConfig(), tokenizer, 0)
    save_model(tmp_path / "model", built.model, built.extractor, tokenizer, layerdrop=0.0, card="card")
    saved = load_saved(tmp_path / "model")
    waveform = read_audio(long_recording)[:40_000]
    assert saved.built.front_end(waveform).equal(built.front_end(waveform))
    assert {item.phone for item in transcribe_one(saved, long_recording).phones} <= {"a", "b", "tʃ"}


def test_what_is_unlike_the_models_speech_is_said(small_run, spoken_corpus, tmp_path, capfd):
    folder = Path(shutil.copytree(small_run.model_dir, tmp_path / "model"))
    clip = sorted((spoken_corpus / "ky" / "clips").glob("*.mp3"))[0]
    for threshold, unlike in ((0.0, False), (1.0, True)):
        save_confidence(folder, Confidence(1.0, 0.0, threshold, 30))
        with pytest.raises(SystemExit) as ended:
            main(["transcribe", str(folder), str(clip), "--json"])
        said = capfd.readouterr()
        assert ended.value.code == 0
        found = json.loads(said.out)
        assert found["phones"]
        assert found["unlike"] is unlike
        assert 0 <= found["confidence"] <= 1
        assert ("unlike the speech" in said.err) is unlike


def test_that_no_phone_is_heard_is_said(small_run, long_recording, capfd, monkeypatch):
    silent = Transcript(str(long_recording), 1.0, [])
    monkeypatch.setattr("unispeech_ft.transcription.transcripts.transcribe_files", lambda *_, **__: iter([silent]))
    with pytest.raises(SystemExit) as ended:
        main(["transcribe", str(small_run.model_dir), str(long_recording)])
    said = capfd.readouterr()
    assert (ended.value.code, said.out) == (0, f"{long_recording}\t\n")
    assert said.err == f"warning: {long_recording}: no phone is heard\n"


def test_whatever_is_decoded_has_passed_the_storage_of_clips(small_model):
    waveform = (noise(2.0)[:, 0] * 0.37).astype(np.float32)
    [(_, batch)] = start_chunks(small_model, [Chunk(waveform, 0)]).batches
    built, said = small_model.built, batch.outputs()[0].log_posteriors
    [stored], [raw] = (
        frame_outputs(built.model, built.front_end.several([samples]))
        for samples in (unpack(*pack(waveform)), waveform)
    )
    np.testing.assert_array_equal(said, stored.log_posteriors)
    assert not np.array_equal(said, raw.log_posteriors)
