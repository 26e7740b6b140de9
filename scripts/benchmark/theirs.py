"""The other side: `transformers.Trainer` with a padding collator, set up as well as its users can.

Clips are normalised once and kept as arrays; batches come from the best of the Trainer's sampling strategies; SDPA
where the model has it; fused AdamW; the same precision, dropouts, masks and layer drop as ours.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoModelForCTC, Trainer, TrainerCallback, TrainingArguments, Wav2Vec2Processor, pipeline

from benchmark.measure import Block, now
from benchmark.setting import Setting, stock_model
from unispeech_ft.tasks.ctc_phoneme.config import CtcPhonemeConfig

if TYPE_CHECKING:
    from datasets import Dataset

IGNORED = -100
PIPELINE_BATCHES = {"cpu": (1, 4), "cuda": (8, 32)}


@dataclass
class PaddingCollator:
    """Pads inputs and labels to the longest of a batch, as the examples of Transformers do."""

    processor: Wav2Vec2Processor

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        inputs = [{"input_values": row["input_values"]} for row in rows]
        batch = self.processor.feature_extractor.pad(
            inputs, padding=True, return_attention_mask=True, return_tensors="pt"
        )
        labels = [torch.tensor(row["labels"]) for row in rows]
        batch["labels"] = torch.nn.utils.rnn.pad_sequence(labels, batch_first=True, padding_value=IGNORED)
        return dict(batch)


class MeasuredTrainer(Trainer):
    """The Trainer, remembering the batches that it was given."""

    batches: list[dict[str, torch.Tensor]]

    def training_step(self, model: Any, inputs: dict[str, torch.Tensor], *arguments: Any, **options: Any) -> Any:
        self.batches.append(inputs)
        return super().training_step(model, inputs, *arguments, **options)


@dataclass
class Stopwatch(TrainerCallback):
    """When each update ended."""

    device: str
    clock: Callable[[], float] = time.perf_counter
    ends: list[float] = field(default_factory=list)

    def on_step_end(self, *arguments: Any, **options: Any) -> None:
        self.ends.append(self.clock())

    def on_train_end(self, *arguments: Any, **options: Any) -> None:
        now(self.device)
        self.ends[-1] = self.clock()


def prepared_dataset(setting: Setting) -> Dataset:
    """Normalised clips and labels, made once and kept on disk, read as arrays."""
    from datasets import Dataset, load_from_disk

    folder = setting.folder / "trainer"
    if not folder.is_dir():
        processor = Wav2Vec2Processor.from_pretrained(setting.model_folder)
        extract = processor.feature_extractor
        values = [extract(clip, sampling_rate=16_000)["input_values"][0] for clip in setting.waveforms]
        labels = [setting.tokenizer.encode(phones) for phones in setting.phones]
        rows = {"input_values": values, "labels": labels, "length": [len(clip) for clip in values]}
        Dataset.from_dict(rows).save_to_disk(str(folder))
    return load_from_disk(str(folder)).with_format("numpy")


class Theirs:
    """Model, clips and Trainer; `choose` settles how it samples."""

    def __init__(self, setting: Setting, *, sampling: str = "group_by_length", workers: int = 0) -> None:
        self.setting, self.sampling, self.workers = setting, sampling, workers
        self.config: CtcPhonemeConfig = setting.config()
        self.model = stock_model(setting)
        self.clips = prepared_dataset(setting)
        self.collator = PaddingCollator(Wav2Vec2Processor.from_pretrained(setting.model_folder))
        self.seed, self.accumulation = 0, 1

    def fit(self) -> None:
        """Accumulates over the fewest batches that the memory of the device holds."""
        while True:
            try:
                self.train(1)
                return
            except torch.OutOfMemoryError:
                if self.accumulation >= self.setting.clips_per_update:
                    raise
            self.accumulation *= 2
            torch.cuda.empty_cache()

    def arguments(self, updates: int) -> dict[str, Any]:
        """What the Trainer is told; all else is its default."""
        optimizer, precision = self.config.optimizer, self.setting.precision
        return {
            "output_dir": str(self.setting.folder / "trainer-run"),
            "max_steps": updates,
            "per_device_train_batch_size": max(1, self.setting.clips_per_update // self.accumulation),
            "gradient_accumulation_steps": self.accumulation,
            "train_sampling_strategy": self.sampling,
            "dataloader_num_workers": self.workers,
            "remove_unused_columns": False,
            "learning_rate": optimizer.lr,
            "adam_beta1": optimizer.betas[0],
            "adam_beta2": optimizer.betas[1],
            "max_grad_norm": optimizer.max_grad_norm,
            "lr_scheduler_type": "constant",
            "optim": "adamw_torch_fused",
            "bf16": precision == "bf16",
            "fp16": precision == "fp16",
            "use_cpu": self.setting.device == "cpu",
            "seed": self.seed,
            "logging_strategy": "no",
            "save_strategy": "no",
            "report_to": [],
            "disable_tqdm": True,
        }

    def trainer(self, updates: int) -> MeasuredTrainer:
        self.seed += 1
        trainer = MeasuredTrainer(
            model=self.model,
            args=TrainingArguments(**self.arguments(updates)),
            data_collator=self.collator,
            train_dataset=self.clips,
        )
        trainer.batches = []
        trainer.remove_callback(_printer())
        return trainer

    def train(self, count: int, *, frozen: bool = False) -> tuple[Block, Block]:
        """So many updates after one that warms up, by the Trainer and by a bare loop over the same batches."""
        trainable = {name for name, parameter in self.model.named_parameters() if parameter.requires_grad}
        if frozen:
            self.model.freeze_base_model()
        trainer = self.trainer(count + 1)
        stopwatch = Stopwatch(self.setting.device)
        trainer.add_callback(stopwatch)
        trainer.train()
        batches = trainer.batches[self.accumulation :]
        samples = sum(int(batch["attention_mask"].sum()) for batch in batches)
        padded = sum(batch["attention_mask"].numel() for batch in batches)
        audio_s, padding = samples / 16_000, 1 - samples / padded
        measured = Block(stopwatch.ends[-1] - stopwatch.ends[0], count, audio_s, padding)
        bare = Block(self._bare_loop(trainer, batches), count, audio_s, padding)
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad = name in trainable
        return measured, bare

    def _bare_loop(self, trainer: Trainer, batches: Sequence[dict[str, torch.Tensor]]) -> float:
        """Seconds of the plainest loop over batches that lie ready on the device."""
        optimizer: Any = trainer.optimizer
        parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.model.train()
        ready = [{name: tensor.to(self.setting.device) for name, tensor in batch.items()} for batch in batches]
        started = now(self.setting.device)
        for batch in ready:
            with trainer.accelerator.autocast():
                loss = self.model(**batch).loss
            trainer.accelerator.backward(loss)
            torch.nn.utils.clip_grad_norm_(parameters, self.config.optimizer.max_grad_norm)
            optimizer.step()
            optimizer.zero_grad()
        return now(self.setting.device) - started

    def choose(self, updates: int) -> dict[str, float]:
        """Settles on the fastest sampling strategy and number of workers; returns the audio rates that were seen."""
        rates: dict[tuple[str, int], float] = {}
        for sampling in ("random", "group_by_length"):
            rates[sampling, 0] = self._try(sampling, 0, updates)
        best = max(rates, key=lambda choice: rates[choice])[0]
        rates[best, 2] = self._try(best, 2, updates)
        self.sampling, self.workers = max(rates, key=lambda choice: rates[choice])
        return {f"{sampling}, {workers} workers": rate for (sampling, workers), rate in rates.items()}

    def _try(self, sampling: str, workers: int, updates: int) -> float:
        self.sampling, self.workers = sampling, workers
        return self.train(updates)[0].audio_rate

    @cached_property
    def recogniser(self) -> Any:
        """The stock pipeline."""
        model = AutoModelForCTC.from_pretrained(self.setting.model_folder, dtype=torch.float32)
        processor = Wav2Vec2Processor.from_pretrained(self.setting.model_folder)
        return pipeline(
            "automatic-speech-recognition",
            model=model.eval(),
            feature_extractor=processor.feature_extractor,
            tokenizer=processor.tokenizer,
            device=self.setting.device,
        )

    def evaluate(self, batch_size: int, clips: int | None = None) -> Block:
        """Recognises clips with the pipeline; no error rate is computed on this side."""
        waveforms = self.setting.waveforms[:clips]
        inputs = [{"raw": waveform, "sampling_rate": 16_000} for waveform in waveforms]
        enabled = self.setting.precision != "no"
        dtype = torch.float16 if self.setting.precision == "fp16" else torch.bfloat16
        started = now(self.setting.device)
        with torch.autocast(self.setting.device, dtype, enabled=enabled):
            self.recogniser(inputs, batch_size=batch_size)
        elapsed = now(self.setting.device) - started
        return Block(elapsed, len(inputs), sum(map(len, waveforms)) / 16_000)

    def best_pipeline_batch(self, clips: int) -> int:
        """The batch size at which the pipeline is fastest on the first clips."""
        sizes = PIPELINE_BATCHES[self.setting.device]
        self.evaluate(sizes[0], clips)
        return max(sizes, key=lambda size: self.evaluate(size, clips).rate)


def _printer() -> type[TrainerCallback]:
    from transformers.trainer_callback import PrinterCallback

    return PrinterCallback
