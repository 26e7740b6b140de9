"""What scripts/learning.py trains and tests on: synthetic Kyrgyz and Spanish, and one man's recordings."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import yaml
from miniature import DRY_HOURS, REPOSITORY, TUNING, TUNING_HOURS, training_manifest

from unispeech_ft.errors import UserError
from unispeech_ft.testing.corpus import make_corpus

MANIFEST = REPOSITORY / "configs" / "ctc_phoneme" / "manifest.yaml"
SPEAKER = "es_cajal_m1"
MORE_HOURS = {"train_hours": 0.5, "dev_hours": 0.01, "test_hours": 0.01}
# Of configs/ctc_phoneme/manifest.yaml, what that recipe was before.
EARLIER = {
    "model.config": json.dumps(yaml.safe_load(TUNING.read_text(encoding="utf-8"))["model"]["config"]),
    "model.activation_dropout": "0.1",
    "data.normalize": "true",
    "augmentation.speeds": "[]",
    "augmentation.copies": "0",
    "augmentation.noise": "null",
    "augmentation.rooms": "null",
    "schedule.updates": "3000",
    "training.ema_decay": "null",
}


class Corpus(NamedTuple):
    """What is trained and tested on.

    Attributes:
        title: for people.
        config: today's recipe.
        data: its keys that name the speech.
        others: keys that name further test speech, of other people; None where the test split has them.
        unlabelled: recordings without labels, of training voices; none where there are none.
        pretraining: folder of the speech of scripts/miniature.py, made where it is missing; None where there is none.
    """

    title: str
    config: Path
    data: Mapping[str, str]
    others: Mapping[str, str] | None = None
    unlabelled: Sequence[Path] = ()
    pretraining: Path | None = None


def without_labels(language: Path) -> list[Path]:
    """The training clips of a synthetic language."""
    names = training_manifest(language).read_text(encoding="utf-8").splitlines()[1:]
    return [language / name for name in names]


def synthetic(language: str, speech: Path, dry: bool) -> Corpus:
    """Ten minutes of espeak-ng's speech, and half an hour of the same voices without labels, made where missing."""
    more = make_corpus(speech / f"{language}-unlabelled", [language], seed=303, **(DRY_HOURS if dry else MORE_HOURS))
    root = make_corpus(speech / language, [language], seed=202, **(DRY_HOURS if dry else TUNING_HOURS))
    titles = {"ky": "10 minutes of synthetic Kyrgyz", "es": "10 minutes of synthetic Spanish"}
    before = speech / "miniature" if language == "ky" else None
    data = {"data.root": str(root), "data.language": language}
    return Corpus(titles[language], TUNING, data, None, without_labels(more / language), before)


def real(folder: Path, output: Path) -> Corpus:
    """One man's sentences to train and test on, divided by the rule for sentences, and those of other people to test.

    Raises:
        UserError: the list is not there, or lacks the man.
    """
    source = folder / "cv_tsv" / "es.tsv"
    try:
        lines = source.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(f"{source} cannot be read ({error.strerror})", remedy="name the folder in --real") from None
    rows = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    lists: dict[str, list[str]] = {"man": [], "others": []}
    for row in rows:
        part = "man" if row["client_id"] == SPEAKER else "others"
        lists[part].append(f"{(source.parent / row['path']).resolve()}\t{row['sentence']}\t{row['client_id']}\n")
    if not lists["man"] or not lists["others"]:
        raise UserError(f"{source} lists no {SPEAKER}, or nobody else", remedy="name another folder in --real")
    output.mkdir(parents=True, exist_ok=True)
    for part, found in lists.items():
        (output / f"{part}.tsv").write_text("path\tsentence\tspeaker\n" + "".join(found), encoding="utf-8")
    shared = {**EARLIER, "data.root": str(folder.resolve()), "data.language": "es", "data.max_duration_s": "15"}
    return Corpus(
        "Real recordings of one man, Spanish, about 11 minutes",
        MANIFEST,
        {**shared, "data.train": str(output / "man.tsv"), "data.hold_out": "sentence"},
        {"data.train": "null", "data.hold_out": "null", "data.test": str(output / "others.tsv")},
    )
