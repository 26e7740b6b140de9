"""The folder that is published, made from a run that stays untouched: its weights as links, its texts made public."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

import numpy as np

from unispeech_ft.config.reading import to_yaml
from unispeech_ft.config.sections import RunConfig
from unispeech_ft.data.audio import SAMPLE_RATE_HZ
from unispeech_ft.data.sources import list_utterances
from unispeech_ft.data.sources.collective import is_named
from unispeech_ft.data.utterances import Split
from unispeech_ft.errors import UserError
from unispeech_ft.hub.base_license import base_license, conditions
from unispeech_ft.hub.card import model_card, snippets
from unispeech_ft.hub.public import TOKEN, public_evidence
from unispeech_ft.runs import evidence as ev
from unispeech_ft.runs.evidence import Evidence
from unispeech_ft.scoring import UtteranceScore, write_results
from unispeech_ft.tasks.ctc_phoneme.config import CtcPhonemeConfig

SNIPPET_S = 1.0
MODEL_FILES = (
    "config.json",
    "generation_config.json",
    "vocab.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "preprocessor_config.json",
    "processor_config.json",
    "boundaries.safetensors",
    "confidence.json",
    "model.safetensors",
    "model-*-of-*.safetensors",
    "model.safetensors.index.json",
)
WEIGHTS = (".safetensors", ".onnx", ".data", ".bin")


def local_names(config: RunConfig) -> list[str]:
    """Which of `model.base` and `data.root` are folders of this machine."""
    named = {"model.base": config.model.base, "data.root": config.data.root}
    return [key for key, name in named.items() if name is not None and Path(name).expanduser().is_dir()]


def sentences_of(evidence: Evidence, split: Split) -> Mapping[str, str]:
    """Sentence of each scored utterance, from the speech that the configuration names.

    Raises:
        UserError: the speech is not there, has no sentences for some of them, or may not be hosted anew.
    """
    if is_named(evidence.config.data.root):
        raise UserError(
            f"the sentences of {evidence.config.data.root} are not to be hosted anew, so nothing was published",
            remedy="leave --sentences out; whoever verifies fetches the release",
        )
    texts = {item.id: item.text for item in list_utterances(evidence.config.data, wanted=(split,)).splits[split]}
    lacking = [item.id for item in evidence.scores[split] if not texts.get(item.id)]
    if lacking:
        raise UserError(
            f"{len(lacking)} utterances of {split} have no sentence in {evidence.config.data.root} ({lacking[0]} …)",
            remedy="leave --sentences out, or restore the speech of the run",
        )
    return {item.id: str(texts[item.id]) for item in evidence.scores[split]}


def link_model(run: Path, folder: Path) -> None:
    """Links to the files of a run's model, and says which of its folder are none."""
    stray = []
    for file in sorted((run / "model").iterdir()):
        if file.is_file() and not file.is_symlink() and any(fnmatch(file.name, name) for name in MODEL_FILES):
            (folder / file.name).symlink_to(file.resolve())
        elif file.name != ev.CARD:
            stray.append(file.name)
    if stray:
        print(f"not published, since it is no file of a model: {', '.join(stray)[:300]}", file=sys.stderr)


def _write_sentences(file: Path, sentences: Mapping[str, str], scores: list[UtteranceScore]) -> None:
    lines = (json.dumps({"id": item.id, "sentence": sentences[item.id]}, ensure_ascii=False) for item in scores)
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def stage(
    run: Path,
    folder: Path,
    *,
    repo: str,
    private: bool = True,
    license_name: str | None = None,
    sentences: bool = False,
    onnx: bool = False,
) -> Evidence:
    """Fills an empty folder with exactly what is published of a run.

    Args:
        run: is only read.
        sentences: publish the sentences of the scored utterances as well.
        onnx: export the model to ONNX as well.

    Returns:
        The public evidence.

    Raises:
        UserError: the run is incomplete, the sentences are not there, the model cannot be exported, or a text holds
            what looks like a token.
    """
    if not (run / "model" / "config.json").is_file():
        raise UserError(f"{run} has no model/config.json", remedy="name the folder of a run that has ended")
    original = ev.read_evidence(run)
    link_model(run, folder)
    evidence = original
    if onnx:
        from unispeech_ft.hub.onnx import export_onnx

        facts = export_onnx(run / "model", folder / "model.onnx")
        (folder / ev.ONNX).write_text(ev.to_json(facts), encoding="utf-8")
        evidence = replace(original, onnx=facts)
    evidence = public_evidence(
        evidence,
        local=local_names(original.config),
        repo=repo,
        private=private,
        license_name=license_name,
        base_license=inherited(original.config),
    )
    _write_texts(folder, evidence)
    if sentences:
        for split, scores in evidence.scores.items():
            _write_sentences(folder / "eval" / split / ev.SENTENCES, sentences_of(original, split), scores)
    refuse_secrets(folder)
    return evidence


def _write_texts(folder: Path, evidence: Evidence) -> None:
    (folder / ev.CONFIG).write_text(to_yaml(evidence.config), encoding="utf-8")
    (folder / ev.ENVIRONMENT).write_text(ev.to_json(evidence.environment), encoding="utf-8")
    (folder / ev.TRAINING).write_text(ev.to_json(evidence.training), encoding="utf-8")
    if evidence.adapter is not None:
        (folder / ev.ADAPTER).write_text(ev.to_json(evidence.adapter), encoding="utf-8")
    for split, summary in evidence.summaries.items():
        write_results(folder / "eval" / split, evidence.scores[split], summary)
    if evidence.zero_shot is not None:
        write_results(folder / ev.ZERO_SHOT, evidence.zero_shot.scores, evidence.zero_shot.summary)
    (folder / ev.CARD).write_text(model_card(evidence), encoding="utf-8")


def inherited(config: CtcPhonemeConfig) -> str | None:
    """The licence of the base model, and on stderr what it asks of whoever passes the result on."""
    if config.model.from_scratch:
        return None
    found = config.hub.base_license or base_license(config.model.base)
    for condition in conditions(found):
        print(f"{config.model.base} is {found}. {condition}.", file=sys.stderr)
    return found


def refuse_secrets(folder: Path) -> None:
    """Raises UserError where a text that would be published holds what looks like a token of the Hub."""
    from huggingface_hub import get_token

    own = get_token()
    for file in sorted(folder.rglob("*")):
        if not file.is_file() or file.suffix in WEIGHTS:
            continue
        text = file.read_text(encoding="utf-8", errors="replace")
        if TOKEN.search(text) or (own and own in text):
            raise UserError(
                f"{file.relative_to(folder)} of the run holds what looks like a token, so nothing was published",
                remedy="take it out of the run's file, and revoke the token if it is one",
            )


def run_snippet(folder: Path, evidence: Evidence) -> None:
    """Runs the card's first program on a staged folder in a fresh interpreter, with a second of noise as its clip.

    Raises:
        UserError: it fails; plain transformers could not use what would be published.
    """
    import soundfile

    program = snippets(evidence, str(folder.resolve()))[0]
    with tempfile.TemporaryDirectory() as place:
        noise = np.random.default_rng(0).normal(scale=0.1, size=round(SNIPPET_S * SAMPLE_RATE_HZ))
        soundfile.write(Path(place) / "clip.wav", noise, SAMPLE_RATE_HZ)
        finished = subprocess.run(
            [sys.executable, "-c", program], cwd=place, capture_output=True, text=True, timeout=600, check=False
        )
    if finished.returncode != 0:
        reason = (finished.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise UserError(
            f"plain transformers cannot use the model, so nothing was published ({reason[:200]})",
            remedy="export or train it again",
        )


def no_room(error: OSError) -> bool:
    """Whether the disk, or the user's share of it, is full."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)
