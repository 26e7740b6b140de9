"""What the frozen front end makes of a clip.

`S` samples, `T` frames, `F` feature channels. Clips pass one by one and unpadded, so that the features are those of
the clip alone; a padded batch disturbs them where the extractor has a group norm (WavLM Base, wav2vec 2.0 Base).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from unispeech_ft.data.audio import SAMPLE_RATE_HZ, Waveform, normalise_waveform
from unispeech_ft.kernels.conv import conv_features
from unispeech_ft.models.families import backbone, num_frames, reads_waveforms

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Changes whenever features change by more than rounding to 16 bits.
FORM = 3
# oneDNN compiles each new shape, which takes longer than 80 ms more of sound.
SAMPLES_A_LENGTH = 1280

Features = npt.NDArray[np.floating]


@dataclass(frozen=True)
class FrontEnd:
    """Waveform → features of one model, its conv extractor or its filter banks.

    Attributes:
        model: the whole model; only its frozen extractor is used.
        normalize: zero mean and unit variance first.
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
        config = self.model.config
        return config.conv_dim[-1] if reads_waveforms(config) else config.feature_projection_input_dim

    def num_frames(self, num_samples: int) -> int:
        return num_frames(self.model.config, num_samples)

    @torch.no_grad()
    def __call__(self, waveform: Waveform) -> torch.Tensor:
        """`[S]` at 16 kHz → `[T, F]` float32, on the model's device."""
        device = self.model.device
        samples = normalise_waveform(waveform, self.eps) if self.normalize else waveform
        if self.filter_banks is not None:
            banks = self.filter_banks(waveform, sampling_rate=SAMPLE_RATE_HZ, return_tensors="np")["input_features"][0]
            # The stock extractor fills an odd last frame up with padding; its own attention mask leaves it out.
            banks = banks[: self.num_frames(len(waveform))]
            return torch.from_numpy(np.ascontiguousarray(banks, dtype=np.float32)).to(device)
        extractor = backbone(self.model).feature_extractor
        if device.type == "cpu":
            features = conv_features(extractor, torch.from_numpy(self._in_few_lengths(samples)), self.dtype)
            return features[: self.num_frames(len(samples))].float()
        with torch.autocast(device.type, self.dtype, enabled=self.dtype != torch.float32):
            return extractor(torch.from_numpy(samples)[None].to(device))[0].T.float().contiguous()

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
