"""Fine-tunes a phoneme recogniser with CTC.

    accelerate launch recipes/ctc_phoneme.py --config configs/ctc_phoneme/demo.yaml [--section.key VALUE …]

The stages, each a function to read next: speech is listed, decoded once and labelled; the phones of the training
split become the rows of the head; the frozen front end's features are computed once for each clip; the batch plan is
made and trained; the best model is exported and scored on the test split.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from accelerate import Accelerator

from unispeech_ft.config import Config
from unispeech_ft.config_reading import load_config, to_yaml
from unispeech_ft.environment import environment
from unispeech_ft.errors import run_command
from unispeech_ft.hub.card import model_card
from unispeech_ft.hub.export import export_model
from unispeech_ft.models.build import BuiltModel, build_model
from unispeech_ft.phonemes.tokenizer import PhoneTokenizer
from unispeech_ft.training import ctc
from unispeech_ft.training.dry_run import memory_lines, plan_lines
from unispeech_ft.training.loop import train
from unispeech_ft.training.results import result_lines, write_evaluation
from unispeech_ft.training.state import BEST, find_checkpoint, load_weights


def describe_data(data: ctc.SpeechData, tokenizer: PhoneTokenizer, accelerator: Accelerator) -> None:
    """Prints what there is, what was left out, and which phones training lacks."""
    for line in data.notes:
        accelerator.print(line)
    for split, labelled in data.splits.items():
        accelerator.print(f"{split}: {len(labelled)} clips, {labelled.hours:.2f} h")
    accelerator.print(f"inventory: {len(tokenizer.phones)} phones: {' '.join(tokenizer.phones)}")
    for split, phones in ctc.phones_only_outside_training(data).items():
        accelerator.print(f"{split}: phones that training lacks, each a sure error: {' '.join(phones)}")


def open_output(config: Config, data: ctc.SpeechData, accelerator: Accelerator) -> None:
    """Makes the run directory. An earlier run in the same place is moved aside, unless it is resumed."""
    output = Path(config.output_dir)
    find_checkpoint(config)
    if accelerator.is_main_process:
        if output.exists() and config.resume is False:
            number = next(n for n in range(1, 10_000) if not output.with_name(f"{output.name}.{n}").exists())
            output.rename(output.with_name(f"{output.name}.{number}"))
            accelerator.print(f"an earlier run in {output} was moved to {output}.{number}")
        output.mkdir(parents=True, exist_ok=True)
        (output / "config.yaml").write_text(to_yaml(config), encoding="utf-8")
        described = json.dumps(environment(accelerator), indent=2, ensure_ascii=False)
        (output / "environment.json").write_text(described + "\n", encoding="utf-8")
        left_out = (json.dumps(vars(item), ensure_ascii=False) + "\n" for item in data.left_out)
        (output / "left_out.jsonl").write_text("".join(left_out), encoding="utf-8")
    accelerator.wait_for_everyone()
    trackable = {key: str(value) for key, value in config.model_dump(mode="json").items()}
    accelerator.init_trackers("tensorboard", config=trackable)


def score_and_export(
    config: Config,
    data: ctc.SpeechData,
    built: BuiltModel,
    tokenizer: PhoneTokenizer,
    features: dict[str, ctc.SplitFeatures],
    accelerator: Accelerator,
) -> None:
    """Scores validation and test with the best weights, writes results and model folder, and prints the outcome."""
    output = Path(config.output_dir)
    if (output / "checkpoints" / BEST).is_dir():
        load_weights(output / "checkpoints" / BEST, built.model)
    summaries = []
    for split in ("validation", "test"):
        if split not in features:
            continue
        evaluation = features[split].evaluate(built, tokenizer, accelerator)
        if accelerator.is_main_process:
            summary = write_evaluation(
                output / "eval" / split, evaluation, config, model=str(output / "model"), split=split,
                synthetic=data.corpus.synthetic, published=data.corpus.published_split,
            )
            summaries.append(summary)
            if split == "test":
                accelerator.print("\n" + "\n".join(result_lines(evaluation, summary)))
    if accelerator.is_main_process:
        train_split = data.splits["train"]
        card = model_card(config, summaries, train_split.hours, len(train_split))
        export_model(output / "model", built, tokenizer, config.model.layerdrop, card)
        accelerator.print(f"model: {output / 'model'}\nresults: {output / 'eval'}")


def main() -> None:
    config = load_config(sys.argv[1:])
    accelerator = ctc.start(config)
    model_config = ctc.model_frames(config)
    data = ctc.open_data(config, accelerator, model_config)
    tokenizer = ctc.head_for(data, config)
    describe_data(data, tokenizer, accelerator)
    plan = ctc.plan_for(config, data.splits["train"])
    longest = int(data.splits["train"].num_samples.max())
    for line in plan_lines(config, plan) + memory_lines(config, model_config, longest):
        accelerator.print(line)
    if config.dry_run:
        accelerator.print("dry run: nothing was trained and nothing written but the caches")
        return

    built = build_model(config.model, config.mask, config.data, tokenizer, config.seed)
    built.model.to(accelerator.device)
    accelerator.print(f"head: {built.kept_rows} rows taken over from the base model, {built.fresh_rows} fresh")
    open_output(config, data, accelerator)
    cache_dir = Path(config.data.cache_dir).expanduser()
    if "validation" in data.splits:
        limited = ctc.limit_validation(data.splits["validation"], config.evaluation.max_utterances, config.seed)
        data.splits["validation"] = limited
    features = {
        split: ctc.split_features(labelled, built.front_end, cache_dir, accelerator)
        for split, labelled in data.splits.items()
    }
    task = ctc.ctc_task(config, built, tokenizer, features["train"], features.get("validation"), accelerator)
    train(task, config, accelerator)
    score_and_export(config, data, built, tokenizer, features, accelerator)
    accelerator.end_training()


if __name__ == "__main__":
    run_command(main)
