"""The phones that the rows of an original CTC head stand for, from the file itself or from a dictionary beside it.

`V` phones. UniSpeech's dictionaries hold the phones at 0 … V-1 and then `<s>` (the CTC blank), `<pad>`, `</s>`,
`<unk>`; those of stock fairseq hold the four first. Source: fairseq/data/dictionary.py of either repository.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unispeech_ft.convert.pickles import StandIn
from unispeech_ft.convert.recognise import Family
from unispeech_ft.convert.settings import as_mapping
from unispeech_ft.errors import UserError
from unispeech_ft.phonemes.tokenizer import UNUSED, PhoneTokenizer

SPECIALS = ("<s>", "<pad>", "</s>", "<unk>")
BLANK = "<s>"
# fairseq fills up dictionaries with these.
FILLER = re.compile(r"madeupword\d{4}|\s*")
LARGEST_DICTIONARY_BYTES = 16 * 2**20
DICTIONARY_REMEDY = "give the dictionary that the model was trained with"


def _tokenizer(symbols: Sequence[str], blank: str, source: str) -> PhoneTokenizer:
    tokens = [f"{UNUSED} {row}>" if FILLER.fullmatch(symbol) else symbol for row, symbol in enumerate(symbols)]
    wrong = sorted({token for token in tokens if tokens.count(token) > 1})
    wrong += [token for token in tokens if not token.startswith(UNUSED) and token.split() != [token]]
    if wrong:
        shown = " ".join(map(repr, wrong[:5]))
        raise UserError(f"{source}: these cannot be phones: {shown}", remedy=DICTIONARY_REMEDY)
    if blank not in tokens:
        raise UserError(f"{source} has no {blank}, the CTC blank", remedy=DICTIONARY_REMEDY)
    return PhoneTokenizer(tuple(tokens), blank)


def dictionary_in(content: Mapping[str, Any]) -> PhoneTokenizer | None:
    """The dictionary that fairseq pickled into a checkpoint, or None.

    Args:
        content: of the opened file.

    Raises:
        UserError: it is not one of a CTC head.
    """
    task_state = as_mapping(content.get("task_state"))
    found = task_state.get("target_dictionary")
    if not isinstance(found, StandIn) or not found.name.endswith(".Dictionary"):
        return None
    state = as_mapping(found)
    symbols = state.get("symbols")
    if not isinstance(symbols, list) or not symbols or not all(isinstance(symbol, str) for symbol in symbols):
        raise UserError("the checkpoint's dictionary is damaged", remedy="download it again")
    blank = state.get("bos_word", BLANK)
    return _tokenizer(symbols, blank if isinstance(blank, str) else BLANK, "the checkpoint's dictionary")


def _symbols_of_json(text: str, path: Path) -> list[str]:
    ids = json.loads(text)
    rows = list(ids.values()) if isinstance(ids, dict) else []
    if not rows or any(type(row) is not int for row in rows) or sorted(rows) != list(range(len(rows))):
        raise UserError(f"{path} does not give phones the ids 0, 1, 2 …", remedy=DICTIONARY_REMEDY)
    return sorted(ids, key=lambda symbol: ids[symbol])


def _symbols_of_lines(text: str, path: Path) -> list[str]:
    """Lines of `symbol count`, as fairseq writes them."""
    symbols = []
    for number, line in enumerate(text.removesuffix("\n").split("\n"), start=1):
        symbol, _, count = line.rstrip().removesuffix(" #fairseq:overwrite").rpartition(" ")
        if not re.fullmatch(r"\d+", count):
            raise UserError(f"{path}, line {number} is not `phone count`", remedy=DICTIONARY_REMEDY)
        symbols.append(symbol)
    return symbols


def read_dictionary(path: Path, family: Family) -> PhoneTokenizer:
    """A dictionary file → the rows of a head.

    Args:
        path: fairseq's `dict.….txt`, lines of `phone count`; or JSON, phone → id.
        family: says where the special tokens stand that a file leaves out.

    Raises:
        UserError: it cannot be read or is malformed.
    """
    try:
        if path.stat().st_size > LARGEST_DICTIONARY_BYTES:
            raise UserError(f"--dictionary: {path} is too large for a dictionary", remedy=DICTIONARY_REMEDY)
        text = path.read_text(encoding="utf-8-sig")
        symbols = _symbols_of_json(text, path) if text.lstrip().startswith("{") else _symbols_of_lines(text, path)
    except OSError as error:
        raise UserError(f"--dictionary: {path} cannot be read ({error.strerror})", remedy="name a file") from None
    except (ValueError, RecursionError):
        raise UserError(f"--dictionary: {path} is neither text nor JSON", remedy=DICTIONARY_REMEDY) from None
    lacking = [token for token in SPECIALS if token not in symbols]
    symbols = [*symbols, *lacking] if family == "UniSpeech" else [*lacking, *symbols]
    return _tokenizer(symbols, BLANK, str(path))


def head_tokenizer(
    content: Mapping[str, Any], given: Path | None, family: Family, num_rows: int | None, notes: list[str]
) -> PhoneTokenizer | None:
    """What the rows of a CTC head stand for; None where there is no head, or nothing says.

    Args:
        content: of the opened file.
        given: the user's dictionary file.
        num_rows: of the head; None without one.
        notes: takes what is not known.

    Raises:
        UserError: dictionary and head, or both dictionaries, do not fit each other.
    """
    if num_rows is None:
        if given is not None:
            raise UserError("--dictionary is given, but the checkpoint has no CTC head", remedy="leave it out")
        return None
    inside = dictionary_in(content)
    found = inside if given is None else read_dictionary(given, family)
    if found is None:
        notes.append(
            "nothing says which phones the rows of its CTC head are, nor its blank: no tokenizer is written;"
            " give --dictionary FILE"
        )
        return None
    if inside is not None and found.tokens != inside.tokens:
        raise UserError(f"{given} and the checkpoint's own dictionary differ", remedy="leave --dictionary out")
    if len(found.tokens) != num_rows:
        what = f"the dictionary has {len(found.tokens)} entries with its special tokens, the CTC head {num_rows} rows"
        raise UserError(what, remedy=DICTIONARY_REMEDY)
    return found
