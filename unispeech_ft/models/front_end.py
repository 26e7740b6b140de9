"""What the frozen front end makes of a clip.

`S` samples, `T` frames, `F` feature channels. Clips pass one by one, on a GPU end to end in a row of sound, so that the
features are those of the clip alone; a padded batch disturbs them where the extractor has a group norm (WavLM Base,
wav2vec 2.0 Base).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from unispeech_ft.data.audio import SAMPLE_RATE_HZ, Waveform, normalise_waveform
from unispeech_ft.kernels.conv import conv_features
from unispeech_ft.models.families import backbone, num_channels, num_frames

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Changes whenever features change by more than rounding to 16 bits.
FORM = 3
# oneDNN compiles each new shape, which takes longer than 80 ms more of sound.
SAMPLES_A_LENGTH = 1280
# Of a row of sound, unless a single clip is longer.
SAMPLES_A_ROW = 80 * SAMPLE_RATE_HZ

Features = npt.NDArray[np.floating]


@dataclass(frozen=True)
class FrontEnd:
    """Waveform → features of one model, its conv extractor or its filter banks.

    Attributes:
        model: the whole model; only its frozen extractor is used.
        normalize: zero mean and unit variance: of the waveform, or of each of a clip's filter banks.
        eps: of the normalisation.
        filter_banks: stock extractor of a model that reads filter banks, else None.
        dtype: precision of the conv extractor.
    """

    model: PreTrainedModel
    normalize: bool
    eps: float
    filter_banks: Any = None
    dtype: torch.dtype = torch.float32

    @property
    def num_channels(self) -> int:
        """`F`."""
        return num_channels(self.model.config)

    def num_frames(self, num_samples: int) -> int:
        return num_frames(self.model.config, num_samples)

    def __call__(self, waveform: Waveform) -> torch.Tensor:
        """`[S]` at 16 kHz → `[T, F]` float32, on the model's device."""
        return self.several([waveform])[0]

    def several(self, waveforms: Sequence[Waveform]) -> list[torch.Tensor]:
        """Clips `[S]` at 16 kHz → `[T, F]` float32 of each, on the model's device; what a clip gives alone."""
        return self.of_samples([self.samples(waveform) for waveform in waveforms])

    def samples(self, waveform: Waveform) -> Waveform:
        """What the extractor reads of a clip `[S]` at 16 kHz."""
        return normalise_waveform(waveform, self.eps) if self.normalize and self.filter_banks is None else waveform

    @torch.no_grad()
    def of_samples(self, samples: Sequence[Waveform]) -> list[torch.Tensor]:
        """`several`, from what `samples` gave of each clip."""
        if self.filter_banks is not None:
            return [self._banks(waveform) for waveform in samples]
        extractor = backbone(self.model).feature_extractor
        if self.model.device.type == "cpu":
            return [self._alone(extractor, clip) for clip in samples]
        rows: list[list[Waveform]] = [[]]
        for clip in samples:
            if rows[-1] and len(clip) + sum(map(len, rows[-1])) > SAMPLES_A_ROW:
                rows.append([])
            rows[-1].append(clip)
        return [features for row in rows if row for features in self._in_a_row(extractor, row)]

    def _banks(self, waveform: Waveform) -> torch.Tensor:
        found = self.filter_banks(
            waveform,
            sampling_rate=SAMPLE_RATE_HZ,
            return_tensors="np",
            do_normalize_per_mel_bins=self.normalize,
        )
        banks = found["input_features"][0]
        # The stock extractor fills an odd last frame up with padding; its own attention mask leaves it out.
        banks = banks[: self.num_frames(len(waveform))]
        return torch.from_numpy(np.ascontiguousarray(banks, dtype=np.float32)).to(self.model.device)

    def _alone(self, extractor: Any, samples: Waveform) -> torch.Tensor:
        features = conv_features(extractor, torch.from_numpy(self._in_few_lengths(samples)), self.dtype)
        return features[: self.num_frames(len(samples))].float()

    def _in_a_row(self, extractor: Any, clips: Sequence[Waveform]) -> list[torch.Tensor]:
        """The sound of clips end to end, each from a multiple of the stride on."""
        stride = math.prod(self.model.config.conv_stride)
        lengths = [len(clip) + -len(clip) % stride for clip in clips]
        firsts = [0, *accumulate(lengths)]
        row = np.zeros(firsts[-1], dtype=np.float32)
        for first, clip in zip(firsts, clips, strict=False):
            row[first : first + len(clip)] = clip
        spans = [(first, len(clip)) for first, clip in zip(firsts, clips, strict=False)]
        features = conv_features(extractor, torch.from_numpy(row).to(self.model.device), self.dtype, spans).float()
        return [features[first // stride :][: self.num_frames(length)] for first, length in spans]

    def _in_few_lengths(self, samples: Waveform) -> Waveform:
        """Silence behind the clip, which no frame of its own sees, unless the extractor normalises over time."""
        if self.model.config.feat_extract_norm == "group":
            return samples
        return np.pad(samples, (0, -len(samples) % SAMPLES_A_LENGTH))

    def key(self) -> str:
        """Identifies the features by the extractor's weights and shape, and by the normalisation."""
        digest = hashlib.sha256(f"{FORM} {self.normalize} {self.eps} {self.model.config.model_type}".encode())
        if self.filter_banks is not None:
            digest.update(str(self.filter_banks).encode())
            return digest.hexdigest()
        config = self.model.config
        shape = (config.conv_kernel, config.conv_stride, config.feat_extract_activation, config.feat_extract_norm)
        digest.update(json.dumps(shape).encode() + str(self.dtype).encode())
        for name, tensor in sorted(backbone(self.model).feature_extractor.state_dict().items()):
            digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()
