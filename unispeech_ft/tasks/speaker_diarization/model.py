"""Encoder, and a head that says of each frame which local speakers speak and of each what its voice is like.

`B` clips, `N` frames of a row, `T` frames of a clip, `F` feature channels, `C` hidden channels, `P` local speakers, `E`
values of a vector, `K` training speakers, `Z` outputs of a frame: `P`, or the `2^P` sets of speakers, of which set z
holds the speakers whose bits z has.
Sources: s3prl/downstream/diarization (layer sum, LSTM, linear); downstreams/speaker_diarization of microsoft/UniSpeech
and Kinoshita et al. 2021 (speaker vectors and their loss); Plaquet and Bredin 2023 (powerset).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn
from transformers import PreTrainedConfig

from unispeech_ft.config.labelled import ChunkS, NumLayers, Size
from unispeech_ft.config.sections import Positive, Probability
from unispeech_ft.data.row import Layout, Row
from unispeech_ft.kernels.rows import collect, spread
from unispeech_ft.models.build import BuiltModel
from unispeech_ft.models.families import num_channels
from unispeech_ft.models.forward import encode_layers
from unispeech_ft.models.layer_sum import LayerSum
from unispeech_ft.models.masked_norm import ConvUnit, MaskedBatchNorm, with_features
from unispeech_ft.models.padded import frame_mask
from unispeech_ft.models.permutation import all_orders, best_permutation
from unispeech_ft.models.upstream import HeadSettings, build_upstream, load_upstream
from unispeech_ft.tasks.speaker_diarization.config import DiarizationConfig

HEAD = ("head.",)
# Frames that a convolution hears.
KERNEL = 3


class Voices(NamedTuple):
    """What the head says.

    Attributes:
        logits: `[N, Z]`, of speaking.
        vectors: `[N, P, E]`, of unit length.
    """

    logits: Tensor
    vectors: Tensor


class DiarizationSettings(HeadSettings):
    """What a diarization head is made of, and what validation chose."""

    task: Literal["speaker_diarization"] = "speaker_diarization"
    hidden: Size
    layers: NumLayers
    local_speakers: Annotated[int, Field(ge=1, le=4)]
    size: Size
    powerset: bool = False
    features: bool = False
    convolutions: Annotated[int, Field(ge=0, le=32)] = 0
    dropout: Probability = 0.0
    speakers: Annotated[list[str], Field(min_length=1)]
    threshold: Probability | None = None
    median: Size | None = None
    chunk_s: ChunkS | None = None
    apart: Positive | None = None

    @property
    def rows(self) -> list[str]:
        return self.speakers


class DiarizationHead(nn.Module):
    """The weighted sum of all layers, the features beside it where they are asked for, convolutions, recurrent layers
    both ways, and a line for each thing that is said.

    Args:
        num_layers: of the encoder.
        width: of its hidden states.
        num_channels: `F`.
    """

    def __init__(self, num_layers: int, width: int, num_channels: int, settings: DiarizationSettings) -> None:
        super().__init__()
        hidden, self.local_speakers, self.powerset = settings.hidden, settings.local_speakers, settings.powerset
        self.layer_sum = LayerSum(num_layers)
        self.norm = nn.LayerNorm(width)
        self.features_norm = MaskedBatchNorm(num_channels) if settings.features else None
        width += num_channels if settings.features else 0
        self.dropout = nn.Dropout(settings.dropout)
        insides = [width, *[hidden] * settings.convolutions]
        self.convolutions = nn.ModuleList(ConvUnit(inside, hidden, KERNEL) for inside in insides[:-1])
        between = settings.dropout if settings.layers > 1 else 0.0
        self.recurrent = nn.LSTM(
            insides[-1], hidden, settings.layers, batch_first=True, bidirectional=True, dropout=between
        )
        self.speaks = nn.Linear(2 * hidden, 2**self.local_speakers if self.powerset else self.local_speakers)
        self.voice = nn.Linear(2 * hidden, self.local_speakers * settings.size)
        self.speakers = nn.Embedding(len(settings.speakers), settings.size)
        self.sharpness = nn.Parameter(torch.tensor([5.0, 0.0]))

    def forward(self, states: Sequence[Tensor], layout: Layout, features: Tensor) -> Voices:
        """`L + 1` times `[N, C]`, and features `[N, F]` → what is said of each frame."""
        summed = with_features(self.norm(self.layer_sum(states)), features, self.features_norm)
        clips, longest, places = len(layout.num_frames), layout.longest, layout.padded_places
        padded = spread(summed, places, clips * longest).view(clips, longest, -1)
        if self.convolutions:
            mask = frame_mask(layout.starts.diff(), longest)[:, None].to(padded.dtype)
            found = padded.transpose(1, 2)
            for unit in self.convolutions:
                found = self.dropout(unit(found, mask))
            padded = found.transpose(1, 2)
        if min(layout.num_frames) == longest:
            found = self.recurrent(padded)[0]  # on a CPU, the backward pass of packed clips takes twenty times as long
        else:
            packed = nn.utils.rnn.pack_padded_sequence(
                padded, torch.tensor(layout.num_frames), batch_first=True, enforce_sorted=False
            )
            found, _ = nn.utils.rnn.pad_packed_sequence(
                self.recurrent(packed)[0], batch_first=True, total_length=longest
            )
        row = self.dropout(collect(found.flatten(0, 1), places))
        vectors = self.voice(row).view(len(row), self.local_speakers, -1)
        return Voices(self.speaks(row).float(), nn.functional.normalize(vectors.float(), dim=-1))

    def loss(
        self, said: Voices, active: Tensor, speakers: Tensor, num_frames: Sequence[int], speaker_weight: float
    ) -> Tensor:
        """Σ over the clips of the loss of the cheapest order of speakers.

        Args:
            active: `[N, P]`, 1 where a speaker speaks.
            speakers: `[B, P]`, rows of the training speakers, −1 for none.
            speaker_weight: of the loss over training speakers, beside that of speaking.
        """
        speaking = self._sets_loss if self.powerset else self._speakers_loss
        cheapest, order = speaking(said.logits, active, list(num_frames))
        if not speaker_weight:
            return cheapest.sum()
        clips = zip(said.vectors.split(list(num_frames)), active.split(list(num_frames)), order, speakers, strict=True)
        told_apart = [
            self._told_apart(vectors, spoken[:, places], who[places]) for vectors, spoken, places, who in clips
        ]
        return cheapest.sum() + speaker_weight * torch.stack(told_apart).sum()

    def probabilities(self, logits: Tensor) -> Tensor:
        """`[N, Z]` → of each speaker, `[N, P]`; 1 and 0 where the likeliest set says so."""
        if not self.powerset:
            return logits.sigmoid()
        bits = torch.arange(self.local_speakers, device=logits.device)
        return (logits.argmax(dim=-1)[:, None] >> bits & 1).float()

    @staticmethod
    def _speakers_loss(logits: Tensor, active: Tensor, num_frames: list[int]) -> tuple[Tensor, Tensor]:
        """Mean binary cross-entropy of each clip in the cheapest order, `[B]`, and that order, `[B, P]`."""
        pairs = nn.functional.binary_cross_entropy_with_logits(
            logits[:, :, None].expand(-1, -1, active.shape[1]),
            active[:, None, :].expand(-1, logits.shape[1], -1),
            reduction="none",
        )
        costs = torch.stack([clip.mean(dim=0) for clip in pairs.split(num_frames)])
        return best_permutation(costs / active.shape[1])

    @staticmethod
    def _sets_loss(logits: Tensor, active: Tensor, num_frames: list[int]) -> tuple[Tensor, Tensor]:
        """Mean cross-entropy of each clip in the cheapest order, `[B]`, and that order, `[B, P]`."""
        orders = all_orders(active.shape[1], logits.device)
        bits = torch.arange(active.shape[1], device=logits.device)
        sets = (active.long()[:, orders] << bits).sum(dim=-1)
        costs = -logits.log_softmax(dim=-1).gather(1, sets)
        cheapest, place = torch.stack([clip.mean(dim=0) for clip in costs.split(num_frames)]).min(dim=1)
        return cheapest, orders[place]

    def _told_apart(self, vectors: Tensor, spoken: Tensor, who: Tensor) -> Tensor:
        """Mean cross-entropy of the speakers of one clip, told from all training speakers by their mean vectors."""
        there = (who >= 0) & (spoken.sum(dim=0) > 0)
        weights = spoken / spoken.sum(dim=0).clamp(min=1)
        means = nn.functional.normalize((vectors * weights[:, :, None]).sum(dim=0), dim=-1)
        distances = torch.cdist(means[None], nn.functional.normalize(self.speakers.weight)[None])[0].square()
        scores = -(nn.functional.softplus(self.sharpness[0]) * distances + self.sharpness[1])
        losses = nn.functional.cross_entropy(scores, who.clamp(min=0), reduction="none")
        return (losses * there).sum() / there.sum().clamp(min=1)


def make_head(config: PreTrainedConfig, settings: DiarizationSettings) -> DiarizationHead:
    """The head of an encoder's configuration."""
    return DiarizationHead(config.num_hidden_layers, config.hidden_size, num_channels(config), settings)


def build_diarization(config: DiarizationConfig, speakers: Sequence[str]) -> BuiltModel:
    """The model for conversations of the training speakers.

    Raises:
        UserError: the base model cannot be found or loaded.
    """
    own = config.speaker_diarization
    settings = DiarizationSettings(
        hidden=own.hidden,
        layers=own.layers,
        local_speakers=config.simulation.speakers[1],
        size=own.size,
        powerset=own.powerset,
        features=own.features,
        convolutions=own.convolutions,
        dropout=own.dropout,
        speakers=list(speakers),
    )
    return build_upstream(config.model, config.mask, config.data, make_head, settings, config.seed)


def load_diarization(name: str) -> Any:
    """The network of a model folder of this task.

    Raises:
        UserError: it is none.
    """
    return load_upstream(name, make_head, DiarizationSettings)


def hear(network: Any, row: Row, *, encoder_trains: bool = False) -> Voices:
    """A row of features → what is said of its frames.

    Args:
        encoder_trains: whether the encoder is in training mode and keeps what its backward pass needs.
    """
    network.upstream.train(encoder_trains)
    with torch.set_grad_enabled(encoder_trains and torch.is_grad_enabled()):
        states = encode_layers(network.upstream, row)
    voices: Voices = network.head(states, row.layout, row.features)
    return voices
