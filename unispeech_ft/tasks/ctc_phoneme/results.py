"""What a fine-tuning leaves: scored splits and a model folder; and the scoring of any saved model."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unispeech_ft.data.labels import LabelledSplit
from unispeech_ft.data.speech import Speech, open_speech, published_tokenizer
from unispeech_ft.data.utterances import Split
from unispeech_ft.errors import UserError, fitted
from unispeech_ft.files import write_text
from unispeech_ft.hub.card import model_card
from unispeech_ft.hub.public import public_evidence
from unispeech_ft.hub.stage import local_names
from unispeech_ft.models.adapters import count_trained, merge_adapters
from unispeech_ft.models.articulation import remove_articulation
from unispeech_ft.models.build import BuiltModel
from unispeech_ft.models.confidence import save_confidence
from unispeech_ft.models.loader import model_folder
from unispeech_ft.models.saved import load_saved
from unispeech_ft.models.saving import save_model
from unispeech_ft.phonemes.tokenizer import PhoneTokenizer, inventory
from unispeech_ft.runs.evidence import (
    ADAPTER,
    ENVIRONMENT,
    TRAINING,
    AdapterFacts,
    Environment,
    Evidence,
    read_json,
    to_json,
)
from unispeech_ft.runs.training_facts import training_facts
from unispeech_ft.scoring import GREEDY_RULE, TEXT_RULE, Summary, UtteranceScore
from unispeech_ft.scoring.beam import load_search
from unispeech_ft.scoring.confidence import Confidence, learn_confidence
from unispeech_ft.scoring.floor import Floor
from unispeech_ft.tasks.ctc_phoneme.config import CtcPhonemeConfig, load_config
from unispeech_ft.tasks.ctc_phoneme.evaluate import Evaluation, evaluate_split, warnings_about
from unispeech_ft.tasks.ctc_phoneme.task import SplitFeatures, split_features
from unispeech_ft.tasks.ctc_phoneme.write_results import floor_of, result_lines, trained_speakers, write_evaluation
from unispeech_ft.tasks.ctc_phoneme.zero_shot import ZeroShot
from unispeech_ft.training import launch
from unispeech_ft.training.checkpoint import load_best
from unispeech_ft.training.loop import METRICS

if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import PreTrainedConfig


def score_and_export(
    config: CtcPhonemeConfig,
    speech: Speech,
    built: BuiltModel,
    tokenizer: PhoneTokenizer,
    features: Mapping[Split, SplitFeatures],
    accelerator: Accelerator,
    zero_shot: ZeroShot | None = None,
) -> list[Summary]:
    """Scores validation and test with the best weights, writes results and model folder, and prints the outcome.

    A probe leaves no model.

    Args:
        zero_shot: of the test split, told beside its PER.

    Returns:
        The summaries of the scored splits; on other processes than the first, none.
    """
    output = Path(config.output_dir)
    load_best(output, built.model)
    remove_articulation(built.model)
    adapter = None if config.adapter.kind is None else AdapterFacts(*count_trained(built.model))
    merge_adapters(built.model)
    summaries, scores, confidence = _score_splits(config, speech, built, tokenizer, features, accelerator, zero_shot)
    if config.probe.enabled:
        # Neither Transformers nor our own commands have a place for its head.
        accelerator.print(f"results: {output / 'eval'}; a probe of phones is a measurement and leaves no model")
    elif accelerator.is_main_process:
        facts = training_facts(config, speech, built, tokenizer)
        if adapter is not None:
            write_text(output / ADAPTER, to_json(adapter))
        write_text(output / TRAINING, to_json(facts))
        evidence = Evidence(
            config,
            read_json(output / ENVIRONMENT, Environment),
            facts,
            summaries,
            scores,
            adapter=adapter,
            zero_shot=zero_shot.scored if zero_shot else None,
        )
        _export(evidence, built, tokenizer, confidence)
        for line in conditioning_lines(built.model.config):
            accelerator.print(line)
        accelerator.print(f"model: {output / 'model'}\nresults: {output / 'eval'}")
    return list(summaries.values())


def _score_splits(
    config: CtcPhonemeConfig,
    speech: Speech,
    built: BuiltModel,
    tokenizer: PhoneTokenizer,
    features: Mapping[Split, SplitFeatures],
    accelerator: Accelerator,
    zero_shot: ZeroShot | None,
) -> tuple[dict[Split, Summary], dict[Split, list[UtteranceScore]], Confidence | None]:
    """Scores all splits but train, writes their results, and tells those of test; what confidence validation taught."""
    output = Path(config.output_dir)
    summaries: dict[Split, Summary] = {}
    confidence: Confidence | None = None
    scores: dict[Split, list[UtteranceScore]] = {}
    for split, scored in features.items():
        if split == "train":
            continue
        evaluation = evaluate_split(built.model, tokenizer, scored.labelled, scored.store, accelerator)
        if accelerator.is_main_process:
            scores[split] = evaluation.scores
            floor = floor_of(config, split, scored.labelled.references)
            if split == "validation":
                confidence = learn_confidence(evaluation.scores, evaluation.times)
            summaries[split] = write_evaluation(
                output / "eval" / split,
                evaluation,
                config,
                model=str(output / "model"),
                split=split,
                corpus=speech.corpus,
                waveform=scored.labelled.waveform,
                metrics=output / METRICS,
                floor=floor,
                trained_speakers=trained_speakers(speech.corpus, split),
                confidence=confidence,
            )
            if split == "test":
                accelerator.print(fitted(["", *_told(evaluation, summaries[split], floor, zero_shot)]))
    return summaries, scores, confidence


def _export(evidence: Evidence, built: BuiltModel, tokenizer: PhoneTokenizer, confidence: Confidence | None) -> None:
    """Writes the model folder of a run, with its card."""
    config = evidence.config
    folder = Path(config.output_dir) / "model"
    card = model_card(public_evidence(evidence, local=local_names(config), repo=None))
    save_model(folder, built.model, built.extractor, tokenizer, layerdrop=config.model.layerdrop, card=card)
    if confidence is not None:
        save_confidence(folder, confidence)


def conditioning_lines(model: PreTrainedConfig) -> list[str]:
    """What to know before a self-conditioned model is opened elsewhere; nothing of a plain one."""
    layers = ", ".join(map(str, getattr(model, "conditioned_layers", ())))
    said = (
        f"the model is self-conditioned after layers {layers}: Transformers opens it after"
        " `import unispeech_ft.models.self_conditioned`; without the conditioning it would be another model"
    )
    return [said] if layers else []


def _told(
    evaluation: Evaluation, summary: Summary, floor: Floor | None, zero_shot: ZeroShot | None = None
) -> list[str]:
    lines = result_lines(evaluation, summary, floor=floor, columns=shutil.get_terminal_size().columns)
    return lines if zero_shot is None else [lines[0], f"  {zero_shot.line()}", *lines[1:]]


def _same_speech(first: CtcPhonemeConfig, second: CtcPhonemeConfig) -> bool:
    """Whether two configurations name the same clips with the same labels."""
    handling = {"cache_dir", "num_workers", "normalize", "normalize_eps"}
    speech = [config.data.model_dump(exclude=handling) for config in (first, second)]
    return first.phonemes == second.phonemes and speech[0] == speech[1]


def default_output(model: str, config: CtcPhonemeConfig, split: Split) -> Path:
    """Where the results of a saved model go: into its run, if that was configured for the same speech.

    Otherwise, so that a run's own results stay, into `eval/NAME/SPLIT` of the current folder; a model that is the
    folder `model` of a run has the run's name.
    """
    folder = Path(model).expanduser().resolve()
    run = folder.parent
    if folder.name != "model" or not (run / "config.yaml").is_file():
        return Path("eval") / folder.name / split
    return run / "eval" / split if _is_of_run(model, config) else Path("eval") / run.name / split


def _is_of_run(model: str, config: CtcPhonemeConfig) -> bool:
    """Whether a saved model is of a run that was configured for this speech."""
    file = Path(model).expanduser().resolve().parent / "config.yaml"
    try:
        return file.is_file() and _same_speech(load_config(file), config)
    except UserError:
        return False


def _original_conventions(config: CtcPhonemeConfig) -> dict[str, Any]:
    """For published checkpoints, which lack a tokenizer: the head of the lists' dictionary, and layer_norm's eps."""
    if config.data.splits == "release" or config.phonemes.head_layout != "original":
        return {}
    return {"tokenizer": published_tokenizer(config.data, config.phonemes), "eps": config.data.normalize_eps}


def _lines_before(labelled: LabelledSplit, tokenizer: PhoneTokenizer) -> list[str]:
    """What is scored, and which of its phones the model lacks."""
    lines = [f"{labelled.split}: {len(labelled)} clips, {labelled.hours:.2f} h"]
    lacking = sorted(set(inventory(labelled.phones)) - set(tokenizer.phones))
    if lacking:
        lines.append(f"{labelled.split}: phones that the model lacks, each a sure error: {' '.join(lacking)}")
    return lines


def evaluate_saved(
    model: str,
    config: CtcPhonemeConfig,
    split: Split,
    output: Path | None = None,
    beam: Path | None = None,
    revision: str | None = None,
) -> Summary | None:
    """Scores a saved model on a split of a configuration, writes the results, and prints the outcome.

    The model's own inventory decodes; what the configuration says on the model counts for nothing. Phones that the
    model lacks stay in the references and count as errors.

    Args:
        model: folder or Hub id, see `models.saved.load_saved`.
        output: folder of the results; see `default_output`, with `-beam` added for a beam search.
        beam: folder of a beam search, see `scoring.beam`; None decodes greedily.
        revision: of a Hub id.

    Returns:
        The summary; on other processes than the first, None.

    Raises:
        UserError: a fault of the model, the source, the language, or the output folder.
    """
    accelerator = launch.start()
    model = model_folder(model)
    saved = load_saved(model, accelerator.device, revision=revision, **_original_conventions(config))
    speech = open_speech(config.data, config.phonemes, wanted=(split,), turns=launch.turns_of(accelerator))
    labelled = speech.splits[split]
    accelerator.print("\n".join([*speech.notes, *_lines_before(labelled, saved.tokenizer)]))
    features = split_features(labelled, saved.built.front_end, config, accelerator)
    search, beam_settings = load_search(beam, saved.tokenizer) if beam else (None, None)
    evaluation = evaluate_split(
        saved.built.model, saved.tokenizer, labelled, features.store, accelerator, search=search
    )
    summary = None
    if accelerator.is_main_process:
        folder = output or default_output(model, config, split)
        if beam and not output:
            folder = folder.with_name(f"{split}-beam")
        floor = floor_of(config, split, labelled.references)
        summary = write_evaluation(
            folder,
            evaluation,
            config,
            model=model,
            split=split,
            corpus=speech.corpus,
            waveform=labelled.waveform,
            metrics=Path(model).expanduser().parent / METRICS,
            floor=floor,
            scoring=beam_settings.rule + TEXT_RULE if beam_settings else GREEDY_RULE,
            trained_speakers=trained_speakers(speech.corpus, split) if _is_of_run(model, config) else None,
            confidence=None if beam else saved.confidence,
        )
        warnings = [f"warning: {text}" for text in warnings_about(evaluation, saved.tokenizer.phones)]
        print(fitted(["", *_told(evaluation, summary, floor), *warnings, f"results: {folder}"]))
    accelerator.end_training()
    return summary
