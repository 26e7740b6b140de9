"""The run directory: opened before training, filled with model and results after it, and scored again later."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unispeech_ft.config.reading import load_config, to_yaml
from unispeech_ft.config.sections import Config, TrackingConfig
from unispeech_ft.data.utterances import Rejected, Split
from unispeech_ft.errors import UserError
from unispeech_ft.hub.card import model_card
from unispeech_ft.hub.public import public_evidence
from unispeech_ft.hub.stage import local_names
from unispeech_ft.models.build import BuiltModel
from unispeech_ft.models.saved import load_saved
from unispeech_ft.phonemes.tokenizer import PhoneTokenizer, inventory
from unispeech_ft.runs.environment import environment
from unispeech_ft.runs.evidence import ENVIRONMENT, TRAINING, Environment, Evidence, read_json, to_json
from unispeech_ft.runs.export import export_model
from unispeech_ft.runs.results import floor_of, result_lines, write_evaluation
from unispeech_ft.runs.training_facts import training_facts
from unispeech_ft.scoring import GREEDY_RULE, TEXT_RULE, Summary, UtteranceScore
from unispeech_ft.scoring.beam import load_search
from unispeech_ft.tasks.ctc_phoneme import task as ctc
from unispeech_ft.tasks.ctc_phoneme.evaluate import warnings_about
from unispeech_ft.tasks.pretraining.config import PretrainConfig
from unispeech_ft.training.checkpoint import BEST, find_checkpoint, load_weights, read_progress

if TYPE_CHECKING:
    from accelerate import Accelerator


METRICS = "metrics.jsonl"


def describe_data(data: ctc.SpeechData, tokenizer: PhoneTokenizer, accelerator: Accelerator) -> None:
    """Prints what there is, what was left out, and which phones training lacks."""
    for line in data.notes:
        accelerator.print(line)
    for split, labelled in data.splits.items():
        accelerator.print(f"{split}: {len(labelled)} clips, {labelled.hours:.2f} h")
    accelerator.print(f"inventory: {len(tokenizer.phones)} phones: {' '.join(tokenizer.phones)}")
    for name, phones in ctc.phones_only_outside_training(data).items():
        accelerator.print(f"{name}: phones that training lacks, each a sure error: {' '.join(phones)}")


def open_output(config: Config, data: ctc.SpeechData, accelerator: Accelerator) -> None:
    """Makes the run directory. An earlier run in the same place is moved aside, unless it is resumed.

    Raises:
        UserError: the checkpoint to resume from is missing or of another task; nothing is written then.
    """
    open_folder(config, ctc.identity(config, data.splits["train"]), data.left_out, accelerator)


def open_folder(
    config: Config | PretrainConfig, identity: str, left_out: Sequence[Rejected], accelerator: Accelerator
) -> None:
    """Makes a run directory with what is known before training; see `open_output`.

    Args:
        identity: of the task, see `training.ctc.identity`.
        left_out: utterances that the run does not use.

    Raises:
        UserError: as in `open_output`.
    """
    output = Path(config.output_dir)
    checkpoint = find_checkpoint(config)
    if checkpoint is not None:
        read_progress(checkpoint, identity)
    if accelerator.is_main_process:
        if output.exists() and config.resume is False:
            number = next(n for n in range(1, 10_000) if not output.with_name(f"{output.name}.{n}").exists())
            output.rename(output.with_name(f"{output.name}.{number}"))
            accelerator.print(f"an earlier run in {output} was moved to {output}.{number}")
        output.mkdir(parents=True, exist_ok=True)
        (output / "config.yaml").write_text(to_yaml(config), encoding="utf-8")
        described = json.dumps(environment(accelerator), indent=2, ensure_ascii=False)
        (output / "environment.json").write_text(described + "\n", encoding="utf-8")
        lines = (json.dumps(vars(item), ensure_ascii=False) + "\n" for item in left_out)
        (output / "left_out.jsonl").write_text("".join(lines), encoding="utf-8")
    accelerator.wait_for_everyone()
    trackable = {key: str(value) for key, value in config.model_dump(mode="json").items()}
    accelerator.init_trackers("tensorboard", config=trackable)


def score_and_export(
    config: Config,
    data: ctc.SpeechData,
    built: BuiltModel,
    tokenizer: PhoneTokenizer,
    features: dict[Split, ctc.SplitFeatures],
    accelerator: Accelerator,
) -> list[Summary]:
    """Scores validation and test with the best weights, writes results and model folder, and prints the outcome.

    Returns:
        The summaries of the scored splits; on other processes than the first, none.
    """
    output = Path(config.output_dir)
    if (output / "checkpoints" / BEST).is_dir():
        load_weights(output / "checkpoints" / BEST, built.model)
    summaries: dict[Split, Summary] = {}
    scores: dict[Split, list[UtteranceScore]] = {}
    for split, scored in features.items():
        if split == "train":
            continue
        evaluation = scored.evaluate(built, tokenizer, accelerator)
        if accelerator.is_main_process:
            scores[split] = evaluation.scores
            floor = floor_of(config, split, scored.labelled.references)
            summaries[split] = summary = write_evaluation(
                output / "eval" / split,
                evaluation,
                config,
                model=str(output / "model"),
                split=split,
                synthetic=data.corpus.synthetic,
                published=data.corpus.published_split,
                waveform=scored.labelled.waveform,
                metrics=output / METRICS,
                floor=floor,
            )
            if split == "test":
                accelerator.print("\n" + "\n".join(result_lines(evaluation, summary, floor=floor)))
    if accelerator.is_main_process:
        facts = training_facts(config, data, built, tokenizer)
        (output / TRAINING).write_text(to_json(facts), encoding="utf-8")
        known = read_json(output / ENVIRONMENT, Environment)
        evidence = Evidence(config, known, facts, summaries, scores)
        card = model_card(public_evidence(evidence, local=local_names(evidence.config), repo=None))
        export_model(output / "model", built, tokenizer, config.model.layerdrop, card)
        accelerator.print(f"model: {output / 'model'}\nresults: {output / 'eval'}")
    return list(summaries.values())


def _same_speech(first: Config, second: Config) -> bool:
    """Whether two configurations name the same clips with the same labels."""
    handling = {"cache_dir", "num_workers", "normalize", "normalize_eps"}
    speech = [config.data.model_dump(exclude=handling) for config in (first, second)]
    return first.phonemes == second.phonemes and speech[0] == speech[1]


def default_output(model: str, config: Config, split: Split) -> Path:
    """Where the results of a saved model go: into its run, if that was configured for the same speech.

    Otherwise, so that a run's own results stay, into `eval/NAME/SPLIT` of the current folder; a model that is the
    folder `model` of a run has the run's name.
    """
    folder = Path(model).expanduser().resolve()
    run = folder.parent
    if folder.name != "model" or not (run / "config.yaml").is_file():
        return Path("eval") / folder.name / split
    try:
        same = _same_speech(load_config(["--config", str(run / "config.yaml")]), config)
    except UserError:
        same = False
    return run / "eval" / split if same else Path("eval") / run.name / split


def _original_conventions(config: Config) -> dict[str, Any]:
    """For published checkpoints, which lack a tokenizer: the head of the lists' dictionary, and layer_norm's eps."""
    if config.data.splits == "release" or config.phonemes.head_layout != "original":
        return {}
    return {"tokenizer": ctc.published_head(config), "eps": config.data.normalize_eps}


def evaluate_saved(
    model: str, config: Config, split: Split, output: Path | None = None, beam: Path | None = None
) -> Summary | None:
    """Scores a saved model on a split of a configuration, writes the results, and prints the outcome.

    The model's own inventory decodes; what the configuration says on the model counts for nothing. Phones that the
    model lacks stay in the references and count as errors.

    Args:
        model: folder or Hub id, see `models.saved.load_saved`.
        output: folder of the results; see `default_output`, with `-beam` added for a beam search.
        beam: folder of a beam search, see `scoring.beam`; None decodes greedily.

    Returns:
        The summary; on other processes than the first, None.

    Raises:
        UserError: a fault of the model, the source, the language, or the output folder.
    """
    accelerator = ctc.start(config.model_copy(update={"tracking": TrackingConfig(trackers=[]), "dry_run": False}))
    saved = load_saved(model, accelerator.device, **_original_conventions(config))
    data = ctc.open_data(config, accelerator, None, (split,))
    labelled = data.splits[split]
    for line in data.notes:
        accelerator.print(line)
    accelerator.print(f"{split}: {len(labelled)} clips, {labelled.hours:.2f} h")
    lacking = sorted(set(inventory(labelled.phones)) - set(saved.tokenizer.phones))
    if lacking:
        accelerator.print(f"{split}: phones that the model lacks, each a sure error: {' '.join(lacking)}")
    cache_dir = Path(config.data.cache_dir).expanduser()
    front_end = ctc.in_its_precision(saved.built.front_end, config.training, accelerator)
    features = ctc.split_features(labelled, front_end, cache_dir, accelerator)
    search, beam_settings = load_search(beam, saved.tokenizer) if beam else (None, None)
    evaluation = features.evaluate(saved.built, saved.tokenizer, accelerator, search)
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
            synthetic=data.corpus.synthetic,
            published=data.corpus.published_split,
            waveform=labelled.waveform,
            metrics=Path(model).expanduser().parent / METRICS,
            floor=floor,
            scoring=beam_settings.rule + TEXT_RULE if beam_settings else GREEDY_RULE,
        )
        warnings = [f"warning: {text}" for text in warnings_about(evaluation, saved.tokenizer.phones)]
        print("\n".join(["", *result_lines(evaluation, summary, floor=floor), *warnings, f"results: {folder}"]))
    accelerator.end_training()
    return summary
