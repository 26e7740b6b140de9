"""Encoder, and a head that says of each speaker how much of a mixture's spectrogram is theirs.

`B` clips of one length, `P` speakers, `S` samples, `T` frames of the encoder, `C` hidden channels, `K` frames of the
spectrogram, `F` frequencies.
Source: s3prl/downstream/separation_stft2 (layer sum, recurrent layers, masks, non-negative phase-sensitive targets);
the spectrogram as a second input as in the models for LibriCSS.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from transformers import PreTrainedConfig

from unispeech_ft.config.labelled import ChunkS, NumLayers, Size
from unispeech_ft.config.sections import NotNegative, Probability
from unispeech_ft.data.audio import SAMPLE_RATE_HZ
from unispeech_ft.data.row import Row
from unispeech_ft.models.build import BuiltModel
from unispeech_ft.models.families import frame_grid
from unispeech_ft.models.forward import encode_layers
from unispeech_ft.models.layer_sum import LayerSum
from unispeech_ft.models.permutation import best_permutation
from unispeech_ft.models.upstream import HeadSettings, build_upstream, load_upstream
from unispeech_ft.tasks.speech_separation.bodies import Convolutional, Recurrent
from unispeech_ft.tasks.speech_separation.config import SeparationConfig

HEAD = ("head.",)
# Of a spectrogram of sound of unit power; what is softer says nothing.
FLOOR = 1e-4


def spectra(sounds: Tensor, window: int, hop: int) -> Tensor:
    """Sounds `[…, S]` → complex `[…, K, F]`; silence fills the last hop up."""
    flat = nn.functional.pad(sounds.reshape(-1, sounds.shape[-1]), (0, -sounds.shape[-1] % hop))
    hann = torch.hann_window(window, device=sounds.device)
    found = torch.stft(flat, window, hop, window=hann, pad_mode="constant", return_complex=True)
    return found.transpose(1, 2).reshape(*sounds.shape[:-1], *found.shape[:0:-1])


def sounds_of(found: Tensor, window: int, hop: int, num_samples: int) -> Tensor:
    """The inverse of `spectra`."""
    flat = found.reshape(-1, *found.shape[-2:]).transpose(1, 2)
    hann = torch.hann_window(window, device=found.device)
    return torch.istft(flat, window, hop, window=hann, length=num_samples).view(*found.shape[:-2], num_samples)


def to_unit_power(sounds: Tensor) -> tuple[Tensor, Tensor]:
    """`[B, 1 + P, S]`, of which the first, the mixture, then has a mean square of 1; and the factors `[B, 1, 1]`."""
    factors = sounds[:, :1].square().mean(dim=-1, keepdim=True).clamp(min=1e-10).rsqrt()
    return sounds * factors, factors


class SeparationSettings(HeadSettings):
    """What a separation head is made of, and how long recordings are taken apart."""

    task: Literal["speech_separation"] = "speech_separation"
    body: Literal["recurrent", "convolutional"] = "recurrent"
    hidden: Size
    layers: NumLayers
    dropout: Probability
    speakers: Annotated[int, Field(ge=2, le=4)]
    window: Annotated[int, Field(ge=16, le=65_536)]
    hop: Size
    chunk_s: ChunkS
    overlap_s: NotNegative

    @model_validator(mode="after")
    def _overlap(self) -> SeparationSettings:
        if self.hop > self.window or self.overlap_s > self.chunk_s / 2:
            raise ValueError("windows or chunks do not overlap")
        return self


class SeparationHead(nn.Module):
    """The weighted sum of all layers beside the log spectrogram, a body, and masks.

    Args:
        centres: of the encoder's frames, samples from the beginning: the first, and from one to the next.
    """

    def __init__(self, num_layers: int, width: int, centres: tuple[float, float], settings: SeparationSettings) -> None:
        super().__init__()
        self.speakers = settings.speakers
        self.window, self.hop, self.centres = settings.window, settings.hop, centres
        bins = self.window // 2 + 1
        self.layer_sum = LayerSum(num_layers)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(settings.dropout)
        bodies: dict[str, type[Recurrent | Convolutional]] = {"recurrent": Recurrent, "convolutional": Convolutional}
        made = bodies[settings.body](width + bins, settings.hidden, settings.layers, settings.dropout)
        self.body = made
        self.masks = nn.Linear(made.width, self.speakers * bins)

    def forward(self, states: Sequence[Tensor], magnitudes: Tensor) -> Tensor:
        """`L + 1` times `[B · T, C]`, magnitudes `[B, K, F]` of mixtures of unit power → masks `[B, P, K, F]`."""
        clips, frames, bins = magnitudes.shape
        summed = self.norm(self.layer_sum(states)).view(clips, -1, states[0].shape[-1])
        first, step = self.centres
        places = torch.arange(frames, device=summed.device) * self.hop
        nearest = ((places - first) / step).round().long().clamp(0, summed.shape[1] - 1)
        logs = (magnitudes + FLOOR).log()
        logs = (logs - logs.mean(dim=(1, 2), keepdim=True)) / (logs.std(dim=(1, 2), keepdim=True) + FLOOR)
        found = self.body(self.dropout(torch.cat([summed[:, nearest], logs.to(summed.dtype)], dim=-1)))
        masks: Tensor = self.masks(found).float().sigmoid()
        return masks.view(clips, frames, self.speakers, bins).transpose(1, 2)


def separation_loss(masks: Tensor, mixtures: Tensor, sources: Tensor, *, logs: bool) -> Tensor:
    """Σ over the clips of the squared error of the cheapest order of speakers, as a share of the mixture's square.

    A target is what of a source has the mixture's phase, no less than nothing.

    Args:
        masks: `[B, P, K, F]`.
        mixtures: complex `[B, K, F]`, of unit power.
        sources: complex `[B, P, K, F]`.
        logs: what is compared is log(1 + magnitude), not the magnitude.
    """
    mixed = mixtures.abs()
    targets = (sources * (mixtures / mixed.clamp(min=FLOOR))[:, None].conj()).real.clamp(min=0)
    found = masks * mixed[:, None]
    if logs:
        mixed, targets, found = mixed.log1p(), targets.log1p(), found.log1p()
    wrong = [(found[:, [speaker]] - targets).square().sum(dim=(2, 3)) for speaker in range(masks.shape[1])]
    costs = torch.stack(wrong, dim=1) / mixed.square().sum(dim=(1, 2))[:, None, None].clamp(min=FLOOR)
    return best_permutation(costs / masks.shape[1])[0].sum()


def waveform_loss(found: Tensor, sources: Tensor) -> Tensor:
    """Σ over the clips of the negative SI-SDR in dB, of the best order of speakers.

    Args:
        found: `[B, P, S]`.
        sources: `[B, P, S]`.
    """
    found, sources = (sounds - sounds.mean(dim=-1, keepdim=True) for sounds in (found, sources))
    found, sources = found[:, :, None], sources[:, None]
    scale = (found * sources).sum(dim=-1, keepdim=True) / sources.square().sum(dim=-1, keepdim=True).clamp(min=FLOOR)
    kept = scale * sources
    ratios = kept.square().sum(dim=-1).clamp(min=FLOOR) / (found - kept).square().sum(dim=-1).clamp(min=FLOOR)
    return best_permutation(-10 * ratios.log10() / sources.shape[2])[0].sum()


def make_head(config: PreTrainedConfig, settings: SeparationSettings) -> SeparationHead:
    """The head of an encoder's configuration."""
    grid = frame_grid(config)
    centres = SAMPLE_RATE_HZ * (grid.offset_s + grid.step_s / 2), SAMPLE_RATE_HZ * grid.step_s
    return SeparationHead(config.num_hidden_layers, config.hidden_size, centres, settings)


def build_separation(config: SeparationConfig) -> BuiltModel:
    """The model.

    Raises:
        UserError: the base model cannot be found or loaded.
    """
    own = config.speech_separation
    kept = own.model_dump(include={"body", "hidden", "layers", "dropout", "window", "hop", "chunk_s", "overlap_s"})
    settings = SeparationSettings(speakers=config.simulation.speakers[1], **kept)
    return build_upstream(config.model, config.mask, config.data, make_head, settings, config.seed)


def load_separation(name: str) -> Any:
    """The network of a model folder of this task.

    Raises:
        UserError: it is none.
    """
    return load_upstream(name, make_head, SeparationSettings)


def masks_of(network: Any, row: Row, magnitudes: Tensor, *, encoder_trains: bool = False) -> Tensor:
    """A row of features and the magnitudes `[B, K, F]` of its mixtures of unit power → masks `[B, P, K, F]`.

    Args:
        encoder_trains: whether the encoder is in training mode and keeps what its backward pass needs.
    """
    network.upstream.train(encoder_trains)
    with torch.set_grad_enabled(encoder_trains and torch.is_grad_enabled()):
        states = encode_layers(network.upstream, row)
    masks: Tensor = network.head(states, magnitudes)
    return masks


@torch.no_grad()
def separated(network: Any, row: Row, mixtures: Tensor) -> Tensor:
    """Mixtures `[B, S]` and the row of their features → each speaker alone, as loud as there: `[B, P, S]`."""
    settings = network.config.head
    scaled, factors = to_unit_power(mixtures[:, None])
    found = spectra(scaled, settings["window"], settings["hop"])
    masks = masks_of(network, row, found[:, 0].abs())
    return sounds_of(masks * found, settings["window"], settings["hop"], mixtures.shape[-1]) / factors
