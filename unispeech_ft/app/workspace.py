"""The folder of a page: what was uploaded, the configuration that was made of it, and the runs."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from unispeech_ft.config.reading import to_yaml
from unispeech_ft.data.audio import AUDIO_ENDINGS
from unispeech_ft.data.sources.folders import ANY_TIER, TEXT_ENDINGS
from unispeech_ft.errors import UserError
from unispeech_ft.files import write_text
from unispeech_ft.runs.shipped import find_shipped
from unispeech_ft.tasks.ctc_phoneme.config import load_config
from unispeech_ft.training.checkpoint import sorted_checkpoints
from unispeech_ft.transcription.annotation import write_annotation
from unispeech_ft.transcription.elan import Tier
from unispeech_ft.transcription.textgrid import TIER

PACKAGED = "packaged:"
SENTENCES, PHONES = "sentences", "phones"
RUN, CHECKPOINTS = "run-", "checkpoints"


@dataclass(frozen=True)
class Workspace:
    """Where everything of a page lies.

    Attributes:
        root: nothing is written elsewhere.
    """

    root: Path

    @property
    def speech(self) -> Path:
        """The recordings with their texts."""
        return self.root / "speech"

    @property
    def yaml(self) -> Path:
        """The configuration that the page made."""
        return self.root / "config.yaml"

    def runs(self) -> list[Path]:
        """The runs that have ended, the newest first."""
        found = (self.root / "runs").glob("*/model/config.json")
        return sorted((path.parents[1] for path in found), key=lambda run: run.stat().st_mtime, reverse=True)

    def stopped(self) -> list[Path]:
        """The runs that can be resumed, the newest first: they have a checkpoint and no model."""
        ended = set(self.runs())
        found = [run for run in self.numbered_runs() if sorted_checkpoints(run / CHECKPOINTS) and run not in ended]
        return sorted(found, key=lambda run: (run / CHECKPOINTS).stat().st_mtime, reverse=True)

    def numbered_runs(self) -> list[Path]:
        """The runs that the page began, in that order."""
        found = [path for path in (self.root / "runs").glob(f"{RUN}*") if path.name.removeprefix(RUN).isdecimal()]
        return sorted((path for path in found if path.is_dir()), key=_run_number)

    def newest_run(self) -> Path | None:
        """The run that the page began last."""
        begun = self.numbered_runs()
        return begun[-1] if begun else None


@dataclass(frozen=True)
class Wishes:
    """What a person chose on the page.

    Attributes:
        holds: whether the texts are sentences or phones.
        language: of the sentences.
        tier: of annotations; "" for the one that is found.
        base: the model to start from; "" for none.
        updates: how long it trains.
    """

    holds: str
    language: str
    tier: str
    base: str
    updates: int


def _run_number(run: Path) -> int:
    return int(run.name.removeprefix(RUN))


def take_in(workspace: Workspace, files: Iterable[str | Path]) -> list[str]:
    """Copies uploaded files into the folder, in place of those that were there; returns their names.

    Raises:
        UserError: none is a recording, or none is a text.
    """
    paths = [Path(file) for file in files]
    for endings, what in ((AUDIO_ENDINGS, "a recording"), (TEXT_ENDINGS, "a text")):
        if not any(path.suffix.lower() in endings for path in paths):
            raise UserError(f"none of the files is {what}", remedy=f"choose files with {' '.join(endings)} as well")
    shutil.rmtree(workspace.speech, ignore_errors=True)
    workspace.speech.mkdir(parents=True)
    for path in paths:
        shutil.copyfile(path, workspace.speech / path.name)
    return sorted(path.name for path in paths)


def write_config(workspace: Workspace, wishes: Wishes) -> Path:
    """Writes the YAML of what was chosen: one of the package with these keys in it.

    Raises:
        UserError: a value cannot be used.
    """
    of_phones = wishes.holds == PHONES
    if not of_phones and not wishes.language.strip():
        raise UserError("the language of the sentences is missing", remedy="give its code, such as ky")
    if wishes.updates < 1:
        raise UserError(f"{wishes.updates} updates are none", remedy="give how many steps it is to learn, such as 2000")
    last = workspace.newest_run()
    number = 1 + (_run_number(last) if last else 0)
    every = max(1, wishes.updates // 20)
    overrides: dict[str, object] = {
        "data.source": "manifest",
        "data.root": str(workspace.speech),
        "data.train": str(workspace.speech),
        "data.language": wishes.language.strip() or None,
        "data.text_column": None if of_phones else wishes.tier.strip() or None,
        "data.phones_column": wishes.tier.strip() or ANY_TIER if of_phones else None,
        "data.cache_dir": str(workspace.root / "cache"),
        "phonemes.labels": "column" if of_phones else "espeak",
        "phonemes.map": "none" if of_phones else "ipa",
        "schedule.updates": wishes.updates,
        "schedule.warmup": wishes.updates // 10,
        "schedule.freeze_encoder_updates": 0,
        "schedule.name": "linear",
        "evaluation.every_updates": every,
        "evaluation.start_after": 0,
        "checkpointing.every_updates": 2 * every,
        "tracking.trackers": [],
        "output_dir": str(workspace.root / "runs" / f"{RUN}{number}"),
    }
    base = wishes.base.strip()
    # From nothing and from the small model of the package, many small updates; else the published recipe.
    if base:
        overrides["model.base"] = base
    if not base:
        start = find_shipped("ctc_phoneme/manifest")
    elif base.startswith(PACKAGED):
        start = find_shipped("ctc_phoneme/demo")
    else:
        start = find_shipped("ctc_phoneme/ky_1h")
        overrides |= {"data.splits": "release", "phonemes.normalise": "text", "phonemes.head_layout": "transformers"}
    config = load_config(start.path, overrides)
    workspace.root.mkdir(parents=True, exist_ok=True)
    write_text(workspace.yaml, to_yaml(config))
    return workspace.yaml


# Start and end in seconds, and the phone, as the page has them.
Rows = Sequence[tuple[float, float, str]]


def read_rows(table: Sequence[Sequence[object]]) -> list[tuple[float, float, str]]:
    """The corrected phones in order; rows without a phone are taken out.

    Raises:
        UserError: a time is no number, phones overlap, or a phone is several.
    """
    rows = []
    for number, (start, end, phone, *_) in enumerate(table, start=1):
        if not str(phone).strip():
            continue
        if len(str(phone).split()) > 1:
            raise UserError(f"phone {number}: {phone} is more than one", remedy="insert another phone for the second")
        try:
            start_s, end_s = float(str(start)), float(str(end))
        except ValueError:
            raise UserError(f"phone {number}: {start} to {end} are no times", remedy="write seconds, 0.25") from None
        if not 0 <= start_s < end_s:
            raise UserError(f"phone {number}: {start} to {end} is no stretch of time", remedy="mend its times")
        rows.append((start_s, end_s, str(phone).strip()))
    rows.sort()
    for before, after in zip(rows, rows[1:], strict=False):
        if after[0] < before[1]:
            what = f"{before[2]} ends at {before[1]} s, behind the start of {after[2]} at {after[0]} s"
            raise UserError(what, remedy="mend one of the two")
    return rows


def save_rows(workspace: Workspace, recording: Path, rows: Rows, duration_s: float) -> list[Path]:
    """Writes corrected phones as .eaf and .TextGrid; returns the files."""
    folder = workspace.root / "annotations"
    places = [folder / f"{recording.stem}{ending}" for ending in (".eaf", ".TextGrid")]
    for place in places:
        place.unlink(missing_ok=True)
        write_annotation(place, recording, [Tier(TIER, list(rows))], duration_s)
    return places


def packed_model(workspace: Workspace, run: Path) -> Path:
    """The model folder of a run as one file."""
    return Path(shutil.make_archive(str(workspace.root / "exports" / f"{run.name}-model"), "zip", run / "model"))
