"""What a classification leaves: scored splits and a model folder for `pipeline("audio-classification")`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from unispeech_ft.data.labelled import Clips
from unispeech_ft.data.utterances import Split
from unispeech_ft.models.build import BuiltModel
from unispeech_ft.models.feature_cache import ComputedFeatures, FeatureStore
from unispeech_ft.models.saving import save_model
from unispeech_ft.tasks.audio_classification.config import ClassifierConfig
from unispeech_ft.tasks.audio_classification.evaluate import (
    Summary,
    evaluate_clips,
    result_line,
    summarize,
    write_evaluation,
)
from unispeech_ft.training.checkpoint import BEST, load_weights

if TYPE_CHECKING:
    from accelerate import Accelerator


def _card(summaries: Mapping[Split, Summary], classes: list[str], config: ClassifierConfig) -> str:
    results = "\n".join(f"- {result_line(summary)}" for summary in summaries.values())
    base = config.model.base or "random weights"
    return (
        "---\nlibrary_name: transformers\npipeline_tag: audio-classification\ntags: [speech, unispeech]\n---\n\n"
        f"# A classifier of {len(classes)} classes\n\nTrained with unispeech_ft from {base}; classes:"
        f" {', '.join(f'`{name}`' for name in classes)}.\n\n{results}\n\n"
        'Use: `pipeline("audio-classification", model=THIS_FOLDER)` on 16 kHz audio. Every scored clip and the whole\n'
        "configuration stand in its run.\n"
    )


def score_and_export(
    config: ClassifierConfig,
    clips: Clips,
    built: BuiltModel,
    features: Mapping[Split, FeatureStore | ComputedFeatures],
    accelerator: Accelerator,
) -> list[Summary]:
    """Scores validation and test with the best weights, writes results and model folder, and prints the outcome.

    Returns:
        The summaries; on other processes than the first, none.
    """
    output = Path(config.output_dir)
    if (output / "checkpoints" / BEST).is_dir():
        load_weights(output / "checkpoints" / BEST, built.model)
    summaries: dict[Split, Summary] = {}
    for split, store in features.items():
        if split == "train":
            continue
        found = evaluate_clips(built.model, clips.splits[split], store, clips.classes, accelerator)
        if accelerator.is_main_process:
            summaries[split] = summarize(found, clips.classes, model=str(output / "model"), split=split)
            write_evaluation(output / "eval" / split, found, summaries[split])
            accelerator.print(result_line(summaries[split]))
    if accelerator.is_main_process:
        card = _card(summaries, clips.classes, config)
        save_model(output / "model", built.model, built.extractor, None, layerdrop=config.model.layerdrop, card=card)
        accelerator.print(f"model: {output / 'model'}\nresults: {output / 'eval'}")
    accelerator.wait_for_everyone()
    return list(summaries.values())
