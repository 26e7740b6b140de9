"""Phones ↔ label ids, and the tokenizer folder that plain transformers loads.

`V` phones of the inventory; the head has V + 4 rows in either layout:

- `transformers`: `<pad>` (the CTC blank) 0, `<s>` 1, `</s>` 2, `<unk>` 3, then the phones;
- `original`: the phones 0 … V-1, then `<s>` (the CTC blank), `<pad>`, `</s>`, `<unk>`, as in the published heads.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from unispeech_ft.errors import UserError
from unispeech_ft.files import parse_json

HeadLayout = Literal["transformers", "original"]
SPECIAL_TOKENS = ("<pad>", "<s>", "</s>", "<unk>")
WORD_DELIMITER = "|"
UNUSED = "<unused"
# More rows than any inventory of phones or letters has.
MOST_ROWS = 200_000


def inventory(utterances: Iterable[Sequence[str]]) -> list[str]:
    """The phones that occur, sorted; to be taken from the training split only."""
    return sorted({phone for phones in utterances for phone in phones})


@dataclass(frozen=True)
class PhoneTokenizer:
    """The rows of a CTC head.

    Attributes:
        tokens: token of each row, special ones included.
        blank_token: the token that is the CTC blank.
    """

    tokens: tuple[str, ...]
    blank_token: str

    @classmethod
    def from_inventory(cls, phones: Sequence[str], layout: HeadLayout) -> PhoneTokenizer:
        """The head of an inventory.

        Raises:
            UserError: a phone is named like a special token, holds white space, or stands twice.
        """
        clash = [
            phone
            for phone in phones
            if phone in (*SPECIAL_TOKENS, WORD_DELIMITER) or (phone.split() != [phone] and not phone.startswith(UNUSED))
        ]
        clash += sorted({phone for phone in phones if list(phones).count(phone) > 1})
        if clash:
            raise UserError(
                f"these cannot be phones: {' '.join(repr(phone) for phone in clash)}",
                remedy="rename them (phonemes.map), or mend the labels",
            )
        if layout == "original":
            return cls((*phones, "<s>", "<pad>", "</s>", "<unk>"), "<s>")
        return cls((*SPECIAL_TOKENS, *phones), "<pad>")

    @cached_property
    def ids(self) -> dict[str, int]:
        return {token: row for row, token in enumerate(self.tokens)}

    @property
    def blank_id(self) -> int:
        return self.ids[self.blank_token]

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Rows that never stand for a phone, the blank included."""
        special = {*SPECIAL_TOKENS, self.blank_token, WORD_DELIMITER}
        return frozenset(row for token, row in self.ids.items() if token in special or token.startswith(UNUSED))

    @property
    def phones(self) -> list[str]:
        """The inventory in the order of its rows."""
        return [token for row, token in enumerate(self.tokens) if row not in self.special_ids]

    def encode(self, phones: Sequence[str]) -> list[int]:
        """Label ids of phones, repeats included.

        Raises:
            UserError: a phone is not in the inventory.
        """
        unknown = sorted({phone for phone in phones if phone not in self.ids or self.ids[phone] in self.special_ids})
        if unknown:
            raise UserError(
                f"phones outside the inventory: {' '.join(unknown)}",
                remedy="label training data and inventory by the same rule",
            )
        return [self.ids[phone] for phone in phones]

    def decode(self, ids: Iterable[int]) -> list[str]:
        """Phones of label ids; rows that stand for no phone are left out."""
        return [self.tokens[row] for row in ids if row not in self.special_ids]


def save_tokenizer(tokenizer: PhoneTokenizer, folder: Path) -> None:
    """Writes the tokenizer as a `Wav2Vec2PhonemeCTCTokenizer` that `AutoProcessor` and `pipeline` load.

    Its `pad_token` is the CTC blank, as Transformers' CTC decoding expects; labels decode with `group_tokens=False`.
    """
    from transformers import Wav2Vec2PhonemeCTCTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = folder / "vocab.json"
    vocabulary.write_text(json.dumps(tokenizer.ids, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    marks = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}  # nosec B105  # no passwords
    Wav2Vec2PhonemeCTCTokenizer(
        str(vocabulary),
        do_phonemize=False,
        pad_token=tokenizer.blank_token,
        **marks,
    ).save_pretrained(folder)


def load_tokenizer(folder: Path) -> PhoneTokenizer | None:
    """The rows of a saved model's head, or None where the folder has no tokenizer (a pre-trained model)."""
    vocabulary, settings = folder / "vocab.json", folder / "tokenizer_config.json"
    if not vocabulary.is_file():
        return None
    ids = parse_json(vocabulary.read_text(encoding="utf-8"))
    if not isinstance(ids, dict) or not ids:
        raise ValueError("vocab.json is not a mapping of tokens to rows")
    if any(isinstance(value, dict) for value in ids.values()):
        raise UserError(f"{vocabulary} holds several vocabularies", remedy="choose one language's vocabulary")
    if not all(type(row) is int and 0 <= row < MOST_ROWS for row in ids.values()):
        raise ValueError(f"a row of vocab.json is not a whole number below {MOST_ROWS}")
    blank = parse_json(settings.read_text(encoding="utf-8"))["pad_token"] if settings.is_file() else "<pad>"
    blank = blank["content"] if isinstance(blank, dict) else blank
    size = max(ids.values()) + 1
    tokens = [f"{UNUSED} {row}>" for row in range(size)]
    for token, row in ids.items():
        tokens[row] = token
    if blank not in ids:
        raise UserError(f"{folder}: the pad token {blank!r} is not in vocab.json", remedy="export the tokenizer again")
    if tokens[ids[blank]] != blank:
        raise ValueError(f"two tokens of vocab.json have row {ids[blank]}")
    return PhoneTokenizer(tuple(tokens), blank)
