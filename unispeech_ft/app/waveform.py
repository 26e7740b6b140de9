"""Phones on the waveform, to be heard and corrected: the element of the page, and the sound that it asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from unispeech_ft.app.workspace import Workspace
from unispeech_ft.data.audio import SAMPLE_RATE_HZ, waveform_blocks
from unispeech_ft.errors import UserError
from unispeech_ft.scoring.report.data import encode_sound
from unispeech_ft.scoring.report.page import part
from unispeech_ft.transcription.timed import Transcript

# Longer recordings come in pieces, so that a browser never holds more of one. What is seen at once lies in one of them.
PIECE_S = 60.0
OVERLAP_S = 15.0
# Of the report: sound that is played from any time to any other, and its picture.
SHARED = ("sound.js", "picture.js")


def corrections(heard: Transcript, phones: Sequence[str]) -> dict[str, Any]:
    """What the element shows, in plain JSON.

    Args:
        phones: that the model knows, which are offered where one is typed.

    Returns:
        `recording`, `duration_s`, `phones`, and `rows` of start and end in seconds, phone, and its posterior.
    """
    rows = [[round(p.start_s, 3), round(p.end_s, 3), p.phone, round(p.posterior, 2)] for p in heard.phones]
    return {"recording": heard.path, "duration_s": heard.duration_s, "phones": list(phones), "rows": rows}


def own_recording(workspace: Workspace, name: object) -> Path:
    """The recording that a browser names.

    Raises:
        UserError: it is none of those that were given to this page.
    """
    path = Path(str(name)).resolve()
    if not path.is_relative_to(workspace.root.resolve()) or not path.is_file():
        raise UserError(f"{name} is no recording of this page", remedy="choose it and transcribe it again")
    return path


def piece_of_sound(recording: Path, piece: int) -> tuple[str, int]:
    """One minute of a recording and some seconds behind it, as MP3 in base64; and its number of samples at 16 kHz.

    Raises:
        BadClip: see `data.audio.native_blocks`.
    """
    first, last = (round(at_s * SAMPLE_RATE_HZ) for at_s in (piece * PIECE_S, (piece + 1) * PIECE_S + OVERLAP_S))
    held, start = [], 0
    for block in waveform_blocks(recording):
        held.append(block[max(0, first - start) : max(0, last - start)])
        start += len(block)
        if start >= last:
            break
    cut = np.concatenate(held)
    return encode_sound(cut, SAMPLE_RATE_HZ), len(cut)


def waveform(workspace: Workspace) -> gr.HTML:
    """The element; its value is that of `corrections`, and None before."""

    def sound(asked: Mapping[str, Any]) -> list[object]:
        return list(piece_of_sound(own_recording(workspace, asked["recording"]), int(asked["piece"])))

    own = files("unispeech_ft.app")
    html, css, script = (own.joinpath(f"waveform.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js"))
    return gr.HTML(
        None,
        label="Phones on the waveform",
        html_template=html,
        css_template=css,
        js_on_load="\n".join(['"use strict";', *map(part, SHARED), script]),
        apply_default_css=False,
        server_functions=[sound],
        piece_s=PIECE_S,
    )
