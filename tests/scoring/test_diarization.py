"""The diarization error rate against known answers, another library, and hand-made cases."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from unispeech_ft.errors import UserError
from unispeech_ft.scoring.diarization import (
    Segment,
    add_up,
    diarization_errors,
    format_rttm,
    read_rttm,
    segments_of,
)

SHARED = Path(os.environ.get("UNISPEECH_FT_SHARED", Path(__file__).parents[3] / "shared"))
MEETINGS = SHARED / "data" / "meetings"


@pytest.mark.skipif(not MEETINGS.is_dir(), reason=f"no meetings in {MEETINGS}")
@pytest.mark.parametrize(
    ("collar_s", "skip_overlap", "percent"), [(0.0, False, 19.4682), (0.25, False, 10.3932), (0.25, True, 7.1692)]
)
def test_known_answers_of_a_meeting(collar_s: float, skip_overlap: bool, percent: float) -> None:
    [known], [found] = (read_rttm(MEETINGS / f"ES2014c.{name}.rttm").values() for name in ("ref", "sys"))
    errors = diarization_errors(known, found, collar_s=collar_s, skip_overlap=skip_overlap)
    assert 100 * (errors.rate or 0) == pytest.approx(percent, abs=5e-5)


def test_each_kind_of_error() -> None:
    known = [Segment("a", 0, 4), Segment("b", 4, 8), Segment("c", 8, 10)]
    found = [Segment("1", 0, 5), Segment("2", 5, 8), Segment("2", 11, 12)]
    errors = diarization_errors(known, found)
    assert (errors.missed_s, errors.false_alarm_s, errors.confused_s, errors.total_s) == (2, 1, 1, 10)
    assert errors.rate == 0.4
    both = add_up([errors, errors])
    assert (both.total_s, both.rate) == (20, 0.4)


def test_overlapped_speech_counts_once_for_each_speaker() -> None:
    known = [Segment("a", 0, 2), Segment("b", 1, 3)]
    errors = diarization_errors(known, [Segment("x", 0, 3)])
    assert (errors.missed_s, errors.confused_s, errors.total_s) == (1, 1, 4)
    assert diarization_errors(known, known).rate == 0
    assert diarization_errors([], [Segment("x", 0, 1)]).rate is None


@pytest.mark.parametrize("seed", range(4))
def test_it_is_that_of_another_library(seed: int) -> None:
    metrics = pytest.importorskip("pyannote.metrics.diarization")
    core = pytest.importorskip("pyannote.core")
    random = np.random.default_rng(seed)

    def segments() -> list[Segment]:
        # A speaker's own segments do not overlap, else the other library counts them twice.
        edges = {name: np.sort(random.uniform(0, 60, 18)).round(2).reshape(-1, 2) for name in ("a", "b", "c")}
        return [Segment(name, *span) for name, spans in edges.items() for span in spans.tolist()]

    known, found = segments(), segments()
    for collar_s, skip in ((0.0, False), (0.25, False), (0.25, True)):
        annotations = [core.Annotation(), core.Annotation()]
        for annotation, items in zip(annotations, (known, found), strict=True):
            for number, item in enumerate(items):
                annotation[core.Segment(item.start_s, item.end_s), number] = item.speaker
        theirs = metrics.DiarizationErrorRate(collar=2 * collar_s, skip_overlap=skip)(*annotations)
        ours = diarization_errors(known, found, collar_s=collar_s, skip_overlap=skip)
        assert ours.rate == pytest.approx(theirs, abs=1e-9)


def test_rttm_there_and_back(tmp_path: Path) -> None:
    recordings = {"m1": [Segment("MÉO", 0.5, 1.25), Segment("b", 1.0, 2.0)], "m2": [Segment("b", 3.0, 4.5)]}
    (tmp_path / "x.rttm").write_text("SPKR-INFO m1 1 <NA> <NA> <NA> unknown b <NA>\n" + format_rttm(recordings))
    assert read_rttm(tmp_path / "x.rttm") == recordings


def test_two_files_are_scored_on_the_command_line(command: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    (tmp_path / "a.rttm").write_text(
        format_rttm({"m": [Segment("a", 0, 4), Segment("b", 3, 6)], "n": [Segment("a", 0, 3)]})
    )
    (tmp_path / "b.rttm").write_text(format_rttm({"m": [Segment("x", 0, 3), Segment("y", 3, 6)]}))
    status, said, _ = command("score", tmp_path / "a.rttm", tmp_path / "b.rttm")
    assert status == 0
    assert said.startswith("DER 40.0000 %  (missed 40.0000 + false alarm 0.0000 + confusion 0.0000; collar 0 s")
    status, said, _ = command(
        "score", tmp_path / "a.rttm", tmp_path / "b.rttm", "--skip_overlap", "--collar", "0.25", "--json"
    )
    assert json.loads(said)["overlap"] == "skipped"
    status, _, fault = command("score", tmp_path / "b.rttm", tmp_path / "a.rttm")
    assert status == 2
    assert "has 1 recordings that" in fault
    assert command("score", tmp_path / "x.tsv", tmp_path / "y.tsv", "--collar", "1")[0] == 2


@pytest.mark.parametrize("text", ["", ";; nothing\n", "SPEAKER m 1 x 1 <NA> <NA> a <NA>\n", "SPEAKER m 1 -1 1 n n a\n"])
def test_rttm_that_cannot_be_used(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.rttm").write_text(text)
    with pytest.raises(UserError):
        read_rttm(tmp_path / "x.rttm")


def test_runs_of_frames_are_segments() -> None:
    active = np.array([[1, 0], [1, 1], [0, 1], [1, 1]], dtype=bool)
    assert segments_of(active, ["a", "b"], 0.5, 1.0) == [
        Segment("a", 1.0, 2.0),
        Segment("b", 1.5, 3.0),
        Segment("a", 2.5, 3.0),
    ]
