"""The small pre-trained model that comes with the package, and the proof of what it heard.

It may have heard English with labels, and Kyrgyz without, of training voices: never a voice or a sentence frame that
the demo is tested with, and never a Kyrgyz label. `provenance` checks that on the speech itself, before a run is
packaged.
"""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from unispeech_ft.data.utterances import SYNTHETIC_MARK
from unispeech_ft.errors import UserError
from unispeech_ft.tasks.pretraining.config import PretrainingConfig
from unispeech_ft.testing.voices import client_id, voices

LANGUAGE_OF_THE_DEMO = "ky"
MAX_BYTES = 6 * 10**6
KEPT = ("config.json", "preprocessor_config.json", "processor_config.json", "tokenizer_config.json", "vocab.json")


@dataclass(frozen=True)
class Provenance:
    """What a packaged model heard, and how it was made.

    Attributes:
        command: that remakes it.
        labelled: language of the speech with labels.
        unlabelled: language of the speech without, None where there was none.
        clips: how many of both.
        speakers: their voices.
    """

    command: str
    seed: int
    updates: int
    synthetic: bool
    labelled: str
    unlabelled: str | None
    clips: int
    speakers: tuple[str, ...]


def _rows(table: Path) -> list[dict[str, str]]:
    with table.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def _refused(what: str) -> UserError:
    return UserError(f"this model cannot be packaged: {what}", remedy="pre-train it on synthetic training voices alone")


def provenance(config: PretrainingConfig, command: str) -> Provenance:
    """What a run heard, read from its speech.

    Raises:
        UserError: the speech is not synthetic, is labelled Kyrgyz, or holds a voice that is not a training voice.
    """
    data, unlabelled = config.data, config.unlabelled
    root = Path(str(data.root))
    if data.root is None or not (root / SYNTHETIC_MARK).is_file():
        raise _refused(f"{data.root} is not marked as synthetic speech")
    languages = data.languages or [str(data.language)]
    if LANGUAGE_OF_THE_DEMO in languages:
        raise _refused("it was trained on Kyrgyz labels")
    rows = [row for language in languages for row in _rows(root / language / "train.tsv")]
    heard = None
    if unlabelled.root is not None:
        manifest = Path(unlabelled.root)
        table = {row["path"]: row for row in _rows(manifest.parent / "train.tsv")}
        names = [Path(row["path"]).name for row in _rows(manifest)]
        strange = sorted(set(names) - set(table))
        if unlabelled.source != "manifest" or strange:
            raise _refused(f"unlabelled clips outside train.tsv ({', '.join(strange[:3])})")
        rows += [table[name] for name in names]
        heard = manifest.parent.name
    speakers = {row["client_id"] for row in rows}
    known = {client_id(voice) for voice in voices("train")}
    if speakers - known:
        raise _refused(f"voices that are not for training ({', '.join(sorted(speakers - known)[:3])})")
    return Provenance(
        command,
        config.seed,
        config.schedule.updates,
        True,
        "+".join(languages),
        heard,
        len(rows),
        tuple(sorted(speakers)),
    )


def _card(said: Provenance) -> str:
    without = f" and {said.unlabelled} without labels" if said.unlabelled else ""
    return (
        "---\nlibrary_name: transformers\ntags: [speech, unispeech, synthetic]\n---\n\n"
        "# A small UniSpeech, pre-trained on synthetic speech\n\n"
        "**Nothing that this model heard is a human voice.** It was pre-trained on speech of espeak-ng"
        f" ({said.labelled} with labels{without}, {said.clips} clips of {len(said.speakers)} training voices), as a"
        " start for the demo. It heard no voice and no sentence frame that the demo is tested with, and no Kyrgyz"
        " label. It is of no use for human speech.\n\n"
        f"Seed {said.seed}, {said.updates} updates. Made by\n\n```bash\n{said.command}\n```\n\n"
        "The whole configuration is `pretraining.yaml`; what it heard is `provenance.json`. The weights are stored in"
        " 16 bits.\n"
    )


def package(model: Path, config_yaml: str, said: Provenance, folder: Path) -> int:
    """Writes a model folder in 16 bits with its card, configuration and provenance; returns its size in bytes.

    Raises:
        UserError: it would be larger than `MAX_BYTES`.
    """
    import torch
    from safetensors.torch import load_file, save_file

    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name in KEPT:
        if (model / name).is_file():
            shutil.copy(model / name, partial / name)
    tensors = {
        name: tensor.to(torch.float16).contiguous() for name, tensor in load_file(model / "model.safetensors").items()
    }
    save_file(tensors, partial / "model.safetensors", metadata={"format": "pt"})
    (partial / "model.safetensors").chmod(0o644)
    (partial / "README.md").write_text(_card(said), encoding="utf-8")
    (partial / "pretraining.yaml").write_text(config_yaml, encoding="utf-8")
    (partial / "provenance.json").write_text(json.dumps(asdict(said), indent=2) + "\n", encoding="utf-8")
    size = sum(file.stat().st_size for file in partial.iterdir())
    if size > MAX_BYTES:
        shutil.rmtree(partial)
        raise UserError(
            f"the model takes {size / 1e6:.1f} MB", remedy=f"at most {MAX_BYTES / 1e6:g} MB may be packaged"
        )
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    return size
