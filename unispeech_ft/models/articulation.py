"""A head beside that of phones, which says the articulatory features of each frame; it is there for training alone.

`N` frames of a row, `C` hidden channels, `V` rows of the head of phones, `A` articulatory features.

Sources: Mortensen et al. 2016, "PanPhon: A Resource for Mapping IPA Segments to Articulatory Feature Vectors"; Glocker
et al. 2023, "Allophant: Cross-lingual Phoneme Recognition with Articulatory Attributes" (phones and their attributes
learnt together).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from unispeech_ft.errors import UserError
from unispeech_ft.extras import optional
from unispeech_ft.models.parts import apply, drop
from unispeech_ft.phonemes.tokenizer import PhoneTokenizer
from unispeech_ft.scoring.ladder import panphon_features, without_diacritics

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Its name in a network and in checkpoints.
ARTICULATION = "articulation"
PHONES_SHOWN = 8
# Of tone and register, the last of panphon's features.
NUM_TONES = 2


class ArticulatoryHead(nn.Module):
    """Hidden states `[N, C]` → logits `[N, A]` of a feature being present.

    Args:
        present, absent: `[V, A]`, the share of a phone's segments that have a feature, and that have it not; of
            unspecified features neither.
    """

    present: Tensor
    absent: Tensor

    def __init__(self, channels: int, present: Tensor, absent: Tensor, generator: torch.Generator) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, present.shape[1])
        nn.init.xavier_uniform_(self.linear.weight, generator=generator)
        nn.init.zeros_(self.linear.bias)
        self.register_buffer("present", present, persistent=False)
        self.register_buffer("absent", absent, persistent=False)

    def forward(self, hidden: Tensor) -> Tensor:
        logits = apply(self.linear, hidden)
        return logits.to(torch.promote_types(logits.dtype, torch.float32))


def feature_tables(tokenizer: PhoneTokenizer) -> tuple[Tensor, Tensor]:
    """Which features each row of a head has, and which it has not, `[V, A]` each; neither of special tokens and of
    marks that stand alone, tones of panphon's apart.

    Raises:
        UserError: panphon is not installed, or knows no features of some phone.
    """
    optional("panphon", "features", "loss.features_weight", "leave it out")
    features = panphon_features()
    vectors = {phone: features(phone) for phone in tokenizer.phones}
    unknown = [phone for phone, found in vectors.items() if not len(found) and without_diacritics(phone)]
    if unknown or not any(map(len, vectors.values())):
        shown = " ".join((unknown or list(vectors))[:PHONES_SHOWN])
        raise UserError(
            f"loss.features_weight is above 0, but panphon knows no features of these labels: {shown}"
            f"{' …' if len(unknown) > PHONES_SHOWN else ''}",
            remedy="write them in IPA (phonemes.map), or leave it out",
        )
    rows = np.zeros((2, len(tokenizer.tokens), next(iter(vectors.values())).shape[1]), dtype=np.float32)
    for phone, found in vectors.items():
        if len(found):
            # panphon has a tone as a segment of its own, of which all but the tone is open.
            is_tone = (found[:, :-NUM_TONES] == 0).all(axis=1)
            for segments, columns in ((found[~is_tone], slice(None)), (found[is_tone], slice(-NUM_TONES, None))):
                if len(segments):
                    said = segments[:, columns]
                    rows[:, tokenizer.ids[phone], columns] = (said > 0).mean(axis=0), (said < 0).mean(axis=0)
    return torch.from_numpy(rows[0]), torch.from_numpy(rows[1])


def add_articulation(network: Any, tokenizer: PhoneTokenizer, seed: int) -> None:
    """Gives a network the head, which starts at random.

    Args:
        network: `…ForCTC`, not yet on its device.
        tokenizer: the rows of its head of phones.

    Raises:
        UserError: as `feature_tables`.
    """
    generator = torch.Generator().manual_seed(seed)
    head = ArticulatoryHead(network.config.hidden_size, *feature_tables(tokenizer), generator)
    network.add_module(ARTICULATION, head)


def remove_articulation(network: nn.Module) -> None:
    """Takes the head off; a network without it stays as it is."""
    if hasattr(network, ARTICULATION):
        delattr(network, ARTICULATION)


def articulation(network: PreTrainedModel, hidden: Tensor) -> Tensor | None:
    """What the head says of hidden states `[N, C]` that the head of phones reads, `[N, A]`; None without it."""
    reader: Any = network
    if not hasattr(reader, ARTICULATION):
        return None
    found: Tensor = reader.articulation(drop(reader.dropout, hidden))
    return found
