"""What the page says of its trainings, which it can go on with, and the sound that its waveform asks for."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

pytest.importorskip("gradio")

from unispeech_ft.app.training import Look, Trainings, first_evaluation, headline, instead_of_pers, look
from unispeech_ft.app.waveform import OVERLAP_S, PIECE_S, own_recording, piece_of_sound
from unispeech_ft.app.workspace import SENTENCES, Wishes, Workspace, write_config
from unispeech_ft.errors import Interrupted, UserError
from unispeech_ft.tasks.ctc_phoneme.config import load_config

RATE_HZ = 16_000


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path / "app")


def begun(workspace: Workspace, number: int, updates: int | None = None, ended: bool = False) -> Path:
    """A run with a checkpoint of so many updates, and its model where it has ended."""
    run = workspace.root / "runs" / f"run-{number}"
    run.mkdir(parents=True)
    if updates is not None:
        (run / "checkpoints" / f"update-{updates:06d}").mkdir(parents=True)
        event = {"event": "update", "update": updates, "loss": 1.5}
        (run / "metrics.jsonl").write_text(json.dumps(event) + "\n", encoding="utf-8")
    if ended:
        (run / "model").mkdir()
        (run / "model" / "config.json").write_text("{}", encoding="utf-8")
    return run


@pytest.mark.parametrize(
    ("status", "updates", "stopping", "said"),
    [
        (None, None, False, "Getting ready: speech, labels and sound come first (run-1)"),
        (None, 12, False, "Training: update 12 of 40 (run-1)"),
        (None, 12, True, "Stopping after the update at hand, which is saved: update 12 of 40 (run-1)"),
        (0, 40, False, "Done: update 40 of 40 (run-1). It is the model that **Transcribe** takes."),
        (130, 12, True, "Stopped and saved: update 12 of 40 (run-1). **Resume** goes on"),
        (-15, 12, False, "Stopped and saved: update 12 of 40 (run-1). **Resume** goes on"),
        (130, None, True, "Stopped before the first update, so nothing is saved (run-1). **Train** begins anew."),
        (2, None, False, "Ended early: read below what the command says"),
        (1, 12, False, "Ended early: read below what the command says. Update 12 is saved. **Resume** goes on"),
    ],
)
def test_the_line_above_the_curves(workspace, status, updates, stopping, said):
    now = look(begun(workspace, 1, updates), 40, status, stopping=stopping)
    assert headline(now).startswith(said)


def test_a_figure_is_in_the_line():
    assert "PER **12.3 %**" in headline(Look(Path("run-1"), 40, [(2, 1.0)], [(2, 12.34)]))


def test_the_command_that_was_stopped_speaks_of_the_button(workspace):
    run = begun(workspace, 1, 12)
    run.with_suffix(".txt").write_text(f"update 12: loss 1.5\n{Interrupted(2, str(run), 12)}\n", encoding="utf-8")
    said = look(run, 40, 130).said
    assert said.endswith(f"update 12 is saved in {run}: press Resume to go on")
    assert "--resume" not in said


def test_of_a_bar_only_what_moves_is_shown(workspace):
    run = begun(workspace, 1, 12)
    steps = ["features of train:  97%|███▉| 67/69", "  0%|    | 5/4000 13:20", "PER 40.1%  1%|    | 10/4000, loss=4.4"]
    for last in ([], ["the end"]):
        run.with_suffix(".txt").write_text("\n".join(["model: 10 % of it", *steps, *last]) + "\n", encoding="utf-8")
        assert look(run, 40, None).said.split("\n") == ["model: 10 % of it", *(last or steps[-1:])]


def test_a_line_stands_where_the_pers_will_be(workspace):
    config = write_config(workspace, Wishes(SENTENCES, "ky", "", "packaged:demo", 60))
    assert first_evaluation(load_config(config)) == 3
    assert first_evaluation(load_config(config, {"evaluation.start_after": 7})) == 9
    assert first_evaluation(load_config(config, {"evaluation.every_updates": 400})) == 60
    run = begun(workspace, 1, 2)
    assert instead_of_pers(look(run, 60, None, 3)).endswith("for the first time behind update 3.")
    assert instead_of_pers(look(run, 60, 2, 3)).endswith("None was measured before this training ended.")
    assert instead_of_pers(Look(run, 60, [(3, 1.0)], [(3, 12.3)])) == ""
    assert "from time to time" in instead_of_pers(None)


def test_what_can_be_resumed_lies_in_the_folder(workspace):
    trainings = Trainings(workspace)
    assert list(trainings.watch()) == []
    for ask in (trainings.resume, trainings.finish):
        with pytest.raises(UserError, match="no training was stopped"):
            ask()
    with pytest.raises(UserError, match="no training runs"):
        trainings.stop()
    begun(workspace, 2, 40, ended=True)
    begun(workspace, 9)
    stopped = begun(workspace, 10, 12)
    assert workspace.stopped() == [stopped]
    assert workspace.newest_run() == stopped
    write_config(workspace, Wishes(SENTENCES, "ky", "", "packaged:demo", 40))
    assert "run-11" in workspace.yaml.read_text(encoding="utf-8")


def test_sound_comes_in_pieces(workspace):
    workspace.speech.mkdir(parents=True)
    recording = workspace.speech / "long.wav"
    time_s = np.arange(round((PIECE_S + 20) * 8_000)) / 8_000
    tone_hz = np.where(time_s < PIECE_S + 5, 400, 1_000)
    soundfile.write(recording, 0.5 * np.sin(2 * np.pi * tone_hz * time_s), 8_000)
    for piece, duration_s, start_hz, end_hz in ((0, PIECE_S + OVERLAP_S, 400, 1_000), (1, 20, 400, 1_000)):
        encoded, num_samples = piece_of_sound(recording, piece)
        assert num_samples == round(duration_s * RATE_HZ)
        sound, rate_hz = soundfile.read(io.BytesIO(base64.b64decode(encoded)), dtype="float32")
        assert rate_hz == RATE_HZ
        for part, hz in (
            (sound[RATE_HZ : 3 * RATE_HZ], start_hz),
            (sound[num_samples - RATE_HZ : num_samples], end_hz),
        ):
            spectrum = np.abs(np.fft.rfft(part))
            assert abs(spectrum.argmax() * RATE_HZ / len(part) - hz) < 10
    assert own_recording(workspace, str(recording)) == recording.resolve()
    for foreign in (__file__, str(workspace.speech / "gone.wav"), str(workspace.speech / ".." / ".." / "x.wav")):
        with pytest.raises(UserError, match="no recording of this page"):
            own_recording(workspace, foreign)
