"""The page: four tabs, from recordings to a model and corrected annotations."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio as gr
import pandas as pd

from unispeech_ft.api import transcribe
from unispeech_ft.app.training import MEANS, Look, Trainings, headline, instead_of_pers
from unispeech_ft.app.waveform import corrections, own_recording, waveform
from unispeech_ft.app.workspace import (
    PHONES,
    SENTENCES,
    Wishes,
    Workspace,
    packed_model,
    read_rows,
    save_rows,
    take_in,
    write_config,
)
from unispeech_ft.audit.findings import format_audit
from unispeech_ft.audit.run import audit
from unispeech_ft.errors import UserError
from unispeech_ft.models.saved import load_saved
from unispeech_ft.tasks.ctc_phoneme.config import load_config

TITLE = "One hour of speech in, a phone recogniser out"
# In a style of its own, since gradio rewrites the rules of `css` and drops those for narrow screens.
STYLE = """<style>
.gradio-container { width: 100%; max-width: 1080px !important; margin: 0 auto !important; }
.gradio-container main { width: 100%; min-width: 0; box-sizing: border-box; }
.audit textarea, .said textarea { font-family: ui-monospace, monospace !important; font-size: 12px !important; }
.kept .empty { min-height: 5rem !important; }
.report iframe { width: 100%; height: 75vh; border: 1px solid #ccc; border-radius: 6px; }
@media (max-width: 500px) {
  .gradio-container, .gradio-container > *, .gradio-container main { padding: 4px !important; }
  .gradio-container button[role=tab] { padding: 0 9px !important; }
  .gradio-container .row { flex-direction: column !important; }
  .gradio-container .row > * { width: 100% !important; min-width: 0 !important; flex: none !important; }
}
</style>"""


def look() -> dict[str, Any]:
    """How the page looks: fonts of the machine, so that none is fetched."""
    theme = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    # Darker than gradio has them, which are hard to read.
    theme.set(
        block_info_text_color="*neutral_500",
        body_text_color_subdued="*neutral_500",
        input_placeholder_color="*neutral_500",
    )
    return {"theme": theme, "head": STYLE}


@contextmanager
def faults_shown() -> Iterator[None]:
    """Shows a fault of the user as one line on the page."""
    try:
        yield
    except UserError as fault:
        raise gr.Error("\n".join(fault.lines), duration=None, print_exception=False) from None


def build(workspace: Workspace, trainings: Trainings) -> gr.Blocks:
    """The page of a folder, and of the trainings that it starts."""
    page = gr.Blocks(title=f"unispeech-ft: {TITLE.lower()}", analytics_enabled=False)
    with page:
        gr.Markdown(f"## {TITLE}")
        with gr.Tab("Speech"):
            wishes = _speech_tab(workspace)
        with gr.Tab("Train"):
            _training_tab(page, trainings, wishes)
        with gr.Tab("Transcribe"):
            _transcription_tab(workspace)
        with gr.Tab("Export"):
            _export_tab(workspace)
    return page


def _speech_tab(workspace: Workspace) -> list[gr.components.Component]:
    """Files, what their texts are, and what is wrong with them; returns the fields that say it."""
    gr.Markdown(
        "Recordings, and for each a text of the same name: `.eaf`, `.TextGrid`, `.txt` or `.lab`. A text is what is"
        " said: a sentence, or phones with a space between any two. They stay on this machine."
    )
    files = gr.File(label="Files", file_count="multiple", height=160)
    with gr.Row():
        holds = gr.Radio([SENTENCES, PHONES], value=SENTENCES, label="The texts are")
        language = gr.Textbox(label="Language of the sentences", placeholder="ky", info="its code: ky, es, sv-SE …")
        tier = gr.Textbox(
            label="Tier", placeholder="found by itself", info="in which the texts of .eaf and .TextGrid stand"
        )
    button = gr.Button("Look at them", variant="primary")
    found = gr.Textbox(
        label="What they hold, and what would spoil a training", lines=14, max_lines=30, elem_classes="audit"
    )

    @faults_shown()
    def examine(chosen: list[str] | None, holds: str, language: str, tier: str) -> str:
        if chosen:
            take_in(workspace, chosen)
        config = write_config(workspace, Wishes(holds, language, tier, "packaged:demo", 100))
        return format_audit(audit(load_config(config, {"dry_run": True})))

    button.click(examine, [files, holds, language, tier], found, api_name="audit")
    return [holds, language, tier]


def _training_tab(page: gr.Blocks, trainings: Trainings, wishes: list[gr.components.Component]) -> None:
    with gr.Row():
        base = gr.Textbox(
            "",
            label="Start from",
            placeholder="nothing",
            info="nothing: a small model learns from your speech alone, without a GPU; else a model folder or Hub id,"
            " such as microsoft/unispeech-large-1500h-cv, which is fetched and wants a GPU",
        )
        updates = gr.Number(
            2000,
            label="Updates",
            precision=0,
            info="steps of learning: more take longer, and err less up to a point",
        )
    with gr.Row():
        button = gr.Button("Train", variant="primary")
        end = gr.Button("Stop and save")
        on = gr.Button("Resume")
        here = gr.Button("Finish here")
    state = gr.Markdown("Not started.")
    with gr.Row():
        no_pers = gr.Markdown(instead_of_pers(None))
        pers = gr.LinePlot(x="update", y="PER (%)", label=MEANS, height=240, visible=False)
        losses = gr.LinePlot(x="update", y="loss", label="Loss: what the training lowers", height=240)
    said = gr.Textbox(label="What the command says", lines=8, max_lines=40, elem_classes="said")
    report = gr.HTML(label="Report", elem_classes="report")
    shown = [state, pers, no_pers, losses, said, report]

    def run(holds: str, language: str, tier: str, base: str, updates: float | None) -> Iterator[tuple[Any, ...]]:
        with faults_shown():
            training = trainings.begin(Wishes(holds, language, tier, base, int(updates or 0)))
        yield from map(_shown, training.watch())

    def go_on() -> Iterator[tuple[Any, ...]]:
        with faults_shown():
            training = trainings.resume()
        yield from map(_shown, training.watch())

    def finish() -> Iterator[tuple[Any, ...]]:
        with faults_shown():
            training = trainings.finish()
        yield from map(_shown, training.watch())

    def opened() -> Iterator[tuple[Any, ...]]:
        with faults_shown():
            yield from map(_shown, trainings.watch())

    # Without a limit, so that a second one is refused at once instead of waiting behind the first.
    button.click(run, [*wishes, base, updates], shown, api_name="train", concurrency_limit=None)
    on.click(go_on, None, shown, api_name="resume", concurrency_limit=None)
    here.click(finish, None, shown, api_name="finish", concurrency_limit=None)
    end.click(faults_shown()(trainings.stop), None, None, api_name="stop", concurrency_limit=None)
    page.load(opened, None, shown, api_name="training", concurrency_limit=None, show_progress="hidden")


def _shown(now: Look) -> tuple[Any, ...]:
    report = _report(now.run) if now.status == 0 else ""
    pers = gr.LinePlot(_frame("PER (%)", now.pers), visible=bool(now.pers))
    no_pers = gr.Markdown(instead_of_pers(now), visible=not now.pers)
    return headline(now), pers, no_pers, _frame("loss", now.losses), now.said, report


def _frame(name: str, points: list[tuple[float, float]]) -> pd.DataFrame:
    return pd.DataFrame(points, columns=["update", name], dtype=float).round(2)


def _report(run: Path) -> str:
    """The report in a frame of its own, whose policy lets it fetch nothing."""
    files = [run / "eval" / split / "report.html" for split in ("test", "validation")]
    found = next((file for file in files if file.is_file()), None)
    if found is None:
        return ""
    page = html.escape(found.read_text(encoding="utf-8"), quote=True)
    said = f"<p>Report: {html.escape(str(found))}</p>"
    return f'{said}<iframe sandbox="allow-scripts" title="report" srcdoc="{page}"></iframe>'


def _transcription_tab(workspace: Workspace) -> None:
    model = gr.Textbox(
        label="Model", placeholder="the newest that this page has trained to its end", info="a model folder or Hub id"
    )
    recording = gr.Audio(label="Recording", type="filepath", sources=["upload", "microphone"], buttons=["download"])
    button = gr.Button("Transcribe", variant="primary")
    phones = waveform(workspace)
    line = gr.Textbox(label="Phones, to copy", lines=2)
    save = gr.Button("Save as .eaf and .TextGrid")
    files = gr.File(
        label="Annotations for ELAN and Praat", file_count="multiple", interactive=False, elem_classes="kept"
    )

    @faults_shown()
    def recognise(path: str | None, model: str) -> tuple[str, dict[str, Any]]:
        if not path:
            raise UserError("there is no recording", remedy="choose one, or say something")
        saved = load_saved(model.strip() or _newest(workspace) / "model")
        (heard,) = transcribe(saved, path)
        return " ".join(p.phone for p in heard.phones), corrections(heard, saved.tokenizer.phones)

    @faults_shown()
    def keep(corrected: Mapping[str, Any] | None) -> list[str]:
        if not corrected:
            raise UserError("there are no phones to save", remedy="transcribe a recording first")
        if not isinstance(corrected, Mapping) or not {"recording", "rows", "duration_s"} <= corrected.keys():
            raise UserError("these are no phones of this page", remedy="send what transcribe gave, with other rows")
        recording = own_recording(workspace, corrected["recording"])
        rows = read_rows(corrected["rows"])
        return [str(place) for place in save_rows(workspace, recording, rows, float(corrected["duration_s"]))]

    button.click(recognise, [recording, model], [line, phones], api_name="transcribe")
    phones.input(None, phones, line, js="(value) => value.rows.map((row) => row[2]).filter(Boolean).join(' ')")
    save.click(keep, phones, files, api_name="save")


def _newest(workspace: Workspace) -> Path:
    runs = workspace.runs()
    if not runs:
        raise UserError("there is no model yet", remedy="train one, or name a model")
    return runs[0]


def _export_tab(workspace: Workspace) -> None:
    gr.Markdown(
        f"The newest model as a folder that Transformers loads, and the configuration that this page made of your"
        f" choices: `unispeech-ft train config.yaml` does the same on another machine. All of it lies in"
        f" `{workspace.root}`."
    )
    button = gr.Button("Pack model and configuration", variant="primary")
    files = gr.File(label="Files", file_count="multiple", interactive=False, elem_classes="kept")

    @faults_shown()
    def pack() -> list[str]:
        return [str(packed_model(workspace, _newest(workspace))), str(workspace.yaml)]

    button.click(pack, None, files, api_name="export")
