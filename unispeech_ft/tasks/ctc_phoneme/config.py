"""The configuration of a phoneme CTC fine-tuning.

Values are the published 1-hour recipe (UniSpeech, Wang et al. 2021, section 4, and its fine-tuning script) unless a
YAML says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from unispeech_ft.config.labelled import AdapterConfig, AugmentationConfig, ProbeConfig, sounds_are_heard
from unispeech_ft.config.reading import ConfigFile, read_config
from unispeech_ft.config.sections import (
    Check,
    HeadConfig,
    HubConfig,
    NotNegative,
    PhonemesConfig,
    PositiveCount,
    Probability,
    RunConfig,
    Section,
)


class LossConfig(Section):
    """What is added to CTC while the encoder trains. Of all these, `self_conditioned` alone changes the model."""

    intermediate_layers: tuple[PositiveCount, ...] = Field(
        (), strict=False, description="encoder layers, from 1, that the head reads as well, each with a CTC of its own"
    )
    intermediate_weight: Probability = Field(0.3, description="of their mean; CTC of the last layer has the rest")
    self_conditioned: bool = Field(
        False,
        description="what the head says of loss.intermediate_layers goes back onto their hidden states; the model then"
        " loads in Transformers after `import unispeech_ft.models.self_conditioned` alone",
    )
    consistency_weight: NotNegative = Field(
        0.0, description="of what sets two masked views of a clip apart (CR-CTC has 0.2); 0: there is one view"
    )
    entropy_weight: NotNegative = Field(
        0.0, description="of how far the posteriors of each frame are from uniform (label smoothing: 0.05); 0: none"
    )
    features_weight: NotNegative = Field(
        0.0,
        description="of how badly a linear head tells the articulatory features of each frame's phone; 0: no such head",
    )
    later: ClassVar[frozenset[str]] = frozenset({"features_weight"})

    @property
    def conditioned_layers(self) -> tuple[int, ...]:
        """Layers, from 1, after which the model is conditioned on its own head."""
        return self.intermediate_layers if self.self_conditioned else ()

    def checks(self, run: RunConfig, *, probe: bool) -> list[Check]:
        """Faults that only several keys together show."""
        layers = self.intermediate_layers
        return [
            (
                len(set(layers)) < len(layers),
                "loss.intermediate_layers names a layer twice",
                "name each once",
            ),
            (
                not layers and self.intermediate_weight != type(self).model_fields["intermediate_weight"].default,
                "loss.intermediate_weight is given, but loss.intermediate_layers names no layer",
                "name the layers, or leave it out",
            ),
            (
                self.self_conditioned and not layers,
                "loss.self_conditioned is true, but loss.intermediate_layers names no layer",
                "name the layers whose posteriors go back, for example [4, 8]",
            ),
            (
                self.consistency_weight > 0 and not run.mask.hides,
                "loss.consistency_weight is above 0, but nothing is masked, so both views are the same",
                "raise mask.time_prob or mask.feature_prob, or leave it out",
            ),
            (
                probe and bool(layers or self.consistency_weight or self.entropy_weight or self.features_weight),
                "loss.intermediate_layers or a weight of loss is given",
                "leave it out: the encoder of a probe does not train (probe.enabled)",
            ),
        ]


class CtcPhonemeConfig(RunConfig):
    """A whole fine-tuning."""

    adapter: AdapterConfig = AdapterConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    head: HeadConfig = HeadConfig()
    loss: LossConfig = LossConfig()
    phonemes: PhonemesConfig = PhonemesConfig()
    hub: HubConfig = HubConfig()
    probe: ProbeConfig = ProbeConfig()

    def keys_of_one_run(self) -> list[str]:
        return [*super().keys_of_one_run(), *(["hub.push"] if self.hub.push else [])]

    def checks(self) -> list[Check]:
        data, phonemes = self.data, self.phonemes
        return [
            *super().checks(),
            *self.probe.checks(self),
            *self.adapter.checks(self, probe=self.probe.enabled),
            *self.augmentation.checks(),
            sounds_are_heard(self.augmentation),
            (
                self.head.new_phones == "nearest" and (self.model.from_scratch or self.probe.enabled),
                "head.new_phones is nearest, but the head starts at random (model.from_scratch, probe.enabled)",
                "leave it out",
            ),
            *self.loss.checks(self, probe=self.probe.enabled),
            (
                self.probe.enabled and self.hub.push,
                "hub.push is true",
                "leave it out: a probe is a measurement and leaves no model (probe.enabled)",
            ),
            (
                data.root is None and not (self.dry_run and data.splits != "release"),
                "data.root is missing",
                "give the folder, archive or Hub id of the speech, for example --data.root cv-corpus-25.0/ky",
            ),
            (
                data.source == "common_voice" and data.language is None,
                "data.language is missing",
                "give the Common Voice code of the language, for example --data.language ky",
            ),
            (
                data.source == "manifest" and not (data.train or data.validation or data.test),
                "data.train is missing",
                "name the manifest to train on, for example --data.train train.tsv",
            ),
            *phonemes.checks(named=bool(phonemes.language or data.language)),
            (
                phonemes.labels == "published" and data.splits == "release",
                "phonemes.labels is published, but data.splits is release",
                "name the folder of published lists in data.splits, or set phonemes.labels to espeak",
            ),
            (
                data.max_duration_s > self.batch.seconds_per_micro_batch,
                f"data.max_duration_s ({data.max_duration_s}) is above batch.seconds_per_micro_batch"
                f" ({self.batch.seconds_per_micro_batch}), so the longest clips would fit into no batch",
                "lower the first or raise the second",
            ),
            (
                self.hub.push and self.hub.repo is None,
                "hub.repo is missing",
                "hub.push is true: name the repository, for example --hub.repo you/ky-phones",
            ),
            (
                phonemes.map not in ("none", "ipa") and not Path(phonemes.map).is_file(),
                f"phonemes.map: no file {phonemes.map}",
                "use none, ipa, or a file of phone<TAB>phones",
            ),
        ]


FILE = ConfigFile(CtcPhonemeConfig, "configs/ctc_phoneme/demo.yaml", "recipes/ctc_phoneme.py")


def load_config(
    path: Path | str, overrides: Mapping[str, object] | None = None, *, first_seed: bool = False
) -> CtcPhonemeConfig:
    """The configuration in a YAML file, with overrides by dotted key; see `config.reading.read_config`."""
    return read_config(FILE, path, overrides or {}, first_seed=first_seed)
