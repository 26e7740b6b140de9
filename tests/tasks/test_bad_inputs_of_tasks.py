"""Damaged inputs of the labelled tasks, as those of phone recognition in tests/test_bad_inputs.py."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import soundfile
from damage import Kind, replaced, run_cases
from running import REPOSITORY
from voices import buzz, tiny_runs, write_voices

from unispeech_ft.config.reading import ConfigFile, Run
from unispeech_ft.config.sections import DataConfig, RunConfig
from unispeech_ft.data.audio import read_audio
from unispeech_ft.data.sources.labelled import LabelSource, list_clips
from unispeech_ft.models.build import BuiltModel
from unispeech_ft.models.saving import save_model
from unispeech_ft.scoring.diarization import read_rttm, score_rttm
from unispeech_ft.tasks.speaker_diarization import config as of_diarization
from unispeech_ft.tasks.speaker_diarization.diarize import diarize, load_diarizer
from unispeech_ft.tasks.speaker_diarization.model import build_diarization
from unispeech_ft.tasks.speaker_verification import config as of_verification
from unispeech_ft.tasks.speaker_verification.compare import compare_recordings, read_pairs
from unispeech_ft.tasks.speaker_verification.model import build_speaker_model
from unispeech_ft.tasks.speaker_verification.trials import read_trials
from unispeech_ft.tasks.speech_separation import config as of_separation
from unispeech_ft.tasks.speech_separation.model import build_separation
from unispeech_ft.tasks.speech_separation.separate import load_separator, separate

VOICES = [f"v{speaker:02d}" for speaker in range(4)]
RTTM = "".join(f"SPEAKER a 1 {start} 0.5 <NA> <NA> {name} <NA> <NA>\n" for start, name in ((0.1, "x"), (0.7, "y")))
LABELS = "path\tspeaker\tlabel\n" + "".join(f"{name}/{n}.wav\t{name}\tw{n}\n" for name in VOICES for n in range(2))
TRIALS = "1 v00/0 v00/1\n0 v00/0 v01/0\nv02/0 v03/1 nontarget\n"


def config_of(file: ConfigFile[Run], folder: Path) -> Run:
    task = Path(file.recipe).stem
    yaml = REPOSITORY / "configs" / task / "words.yaml"
    sizes = {
        "speaker_verification": {"channels": 8, "pooled": 8, "size": 4},
        "speaker_diarization": {"hidden": 8, "layers": 1, "size": 4},
        "speech_separation": {"hidden": 8, "layers": 1, "window": 512, "hop": 320},
    }[task]
    own = {f"{task}.{key}": value for key, value in sizes.items()}
    return tiny_runs(file, yaml, folder, folder, own)(task)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bad")
    write_voices(folder, 4, 2, lambda speaker, duration_s, seed: buzz(150.0 * 1.2**speaker, duration_s, seed))
    soundfile.write(folder / "a.wav", buzz(200.0, 1.5, 1), 16_000)

    def save(config: RunConfig, built: BuiltModel, **chosen: object) -> None:
        built.model.config.head |= chosen
        save_model(folder / Path(config.output_dir).name, built.model, built.extractor, None, layerdrop=0.0, card="")

    config = config_of(of_verification.FILE, folder)
    save(config, build_speaker_model(config, VOICES), threshold=0.5)
    diarization = config_of(of_diarization.FILE, folder)
    chosen = {"threshold": 0.5, "median": 11, "chunk_s": 1.0, "apart": 0.7}
    save(diarization, build_diarization(diarization, VOICES), **chosen)
    separation = config_of(of_separation.FILE, folder)
    save(separation, build_separation(separation))
    return folder


def compared(folder: Path, name: str, content: bytes) -> None:
    with replaced(folder / "speaker_verification" / name, content):
        compare_recordings(str(folder / "speaker_verification"), [(None, "a.wav", "v00/0.wav")], folder)


def diarized(folder: Path, name: str, content: bytes) -> None:
    with replaced(folder / "speaker_diarization" / name, content):
        network, front_end, settings = load_diarizer(str(folder / "speaker_diarization"))
        diarize(network, front_end, read_audio(folder / "a.wav"), settings)


def separated(folder: Path, name: str, content: bytes) -> None:
    with replaced(folder / "speech_separation" / name, content):
        network, front_end = load_separator(str(folder / "speech_separation"))
        separate(network, front_end, read_audio(folder / "a.wav"))


def goes_on(folder: Path, name: str, content: bytes) -> None:
    """A training that starts from a damaged speaker model."""
    config = config_of(of_verification.FILE, folder)
    base = folder / "speaker_verification"
    model = config.model.model_copy(update={"from_scratch": False, "config": None, "base": str(base)})
    with replaced(base / name, content):
        build_speaker_model(config.model_copy(update={"model": model}), [*VOICES[1:], "new"])


def written(folder: Path, name: str, read: Callable[[Path], object], content: bytes) -> None:
    (folder / name).write_bytes(content)
    read(folder / name)


def kinds(folder: Path) -> list[Kind]:
    """Name, a sound input, and what reads a damaged one."""
    known = folder / "known.rttm"
    known.write_text(RTTM, encoding="utf-8")
    ids = [f"{name}/{number}" for name in VOICES for number in range(2)]
    labels = LabelSource("label", "audio_classification.label_column", 0.25)

    def listed(path: Path) -> None:
        list_clips(DataConfig(source="manifest", root=str(folder), train=str(path)), labels)

    def scored(path: Path) -> None:
        read_rttm(path)
        score_rttm(str(known), str(path), 0.25, True, False)

    texts: list[tuple[str, str, Callable[[Path], object]]] = [
        ("list.tsv", LABELS, listed),
        ("found.rttm", RTTM, scored),
        ("trials.txt", TRIALS, lambda path: read_trials(path, ids)),
        ("pairs.txt", TRIALS, read_pairs),
    ]
    found: list[Kind] = [(name, text.encode(), partial(written, folder, name, read)) for name, text, read in texts]
    readers: dict[str, tuple[Callable[..., None], ...]] = {
        "speaker_verification": (compared, goes_on),
        "speaker_diarization": (diarized,),
        "speech_separation": (separated,),
    }
    for place, reads in readers.items():
        for file in sorted((folder / place).iterdir()):
            if file.name != "README.md":
                content, name = file.read_bytes(), f"{place}/{file.name}"
                found += [(name, content, partial(read, folder, file.name)) for read in reads]
    return found


def test_a_hundred_mutated_inputs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("it asked"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for _, sound, read in kinds(folder):
        read(sound)
    assert run_cases(kinds(folder), range(100)) == []


@pytest.mark.slow
def test_a_thousand_mutated_inputs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("it asked"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert run_cases(kinds(folder), range(100, 1100)) == []
