"""Text files of phones: one utterance a line, `id<TAB>phones separated by spaces`, UTF-8."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from unispeech_ft.errors import UserError, raise_all
from unispeech_ft.phonemes.notation import PhoneMap
from unispeech_ft.scoring.floor import reference_floor
from unispeech_ft.scoring.ladder import folding
from unispeech_ft.scoring.per import UtteranceScore, score
from unispeech_ft.scoring.summary import TEXT_RULE, Summary, summarize

LINE_FORM = "write each line as: id, one tab, phones separated by spaces"
FAULTS_SHOWN = 20
WORD_MARK = "|"
HEADER = re.compile(
    r"(id|utterance|utt|utterance_id|utt_id|path|file|filename|file_name|clip|audio|name)\t"
    r"(phones|phonemes|reference|references|hypothesis|hypotheses|ref|hyp|labels|text|transcript|transcription|ipa)",
    re.IGNORECASE,
)


def read_phone_file(path: str | os.PathLike[str]) -> dict[str, list[str]]:
    """Read one file: id → phones, in the order of the file.

    A byte order mark, CRLF, blank lines and a header (`id`, `phones`) do no harm; word marks `|` are no phones.
    A line with only an id is an utterance without phones.

    Raises:
        UserError: the file cannot be read, is not UTF-8, holds no utterance, or a line is wrong
            (several faults: UserErrors).
    """
    utterances, faults = _read(Path(path))
    raise_all(faults)
    return utterances


def score_files(
    reference: str | os.PathLike[str],
    hypothesis: str | os.PathLike[str],
    floor: str | os.PathLike[str] | None = None,
    fold: str | None = None,
) -> tuple[list[UtteranceScore], Summary]:
    """Score a file of hypotheses against a file of references; what files cannot tell is None in the summary.

    Args:
        floor: file of a second labelling of the same utterances, for the reference floor.
        fold: what counts as one phone on all sides, see `scoring.ladder.folding`; None for phones as they stand.

    Raises:
        UserError: there is no such folding, a fault of either file, or their ids differ (several faults, of both files:
            UserErrors).
    """
    references, reference_faults = _read(Path(reference))
    hypotheses, hypothesis_faults = _read(Path(hypothesis))
    raise_all([*reference_faults, *hypothesis_faults])
    seconds = None if floor is None else read_phone_file(floor)
    scoring = TEXT_RULE
    if fold is not None:
        mapping, scoring = folding(fold), f"{TEXT_RULE} Phones of both sides folded first: {fold}."
        references, hypotheses = _folded(references, mapping), _folded(hypotheses, mapping)
        seconds = None if seconds is None else _folded(seconds, mapping)
    scores = score(references, hypotheses)
    second = None if seconds is None else reference_floor(references, seconds).per
    summary = summarize(scores, reference_floor=second, scoring=scoring)
    if fold == "class":  # names of classes have no features
        summary = replace(summary, pfer=None, pfer_segments=None)
    return scores, summary


def _folded(utterances: Mapping[str, Sequence[str]], mapping: PhoneMap) -> dict[str, list[str]]:
    return {name: [target for phone in phones for target in mapping(phone)] for name, phones in utterances.items()}


def format_summary(summary: Summary) -> str:
    """One readable block: PER in % with its interval, then counts and evidence."""
    if summary.per is None:
        headline = "PER unknown: there are no reference phones"
    else:
        headline = f"PER {100 * summary.per:.2f} %"
        if summary.interval:
            headline += f" (95 % interval {summary.interval})"
    rows = [
        ("interval", summary.too_few),
        ("utterances", f"{summary.utterances:,}"),
        ("reference phones", f"{summary.reference_phones:,}"),
        ("substitutions", f"{summary.substitutions:,}"),
        ("deletions", f"{summary.deletions:,}"),
        ("insertions", f"{summary.insertions:,}"),
        ("reference floor", _percent(summary.reference_floor)),
        ("PER when shuffled", _percent(summary.per_shuffled)),
        ("blank frames", _percent(summary.blank_share)),
        ("model", summary.model),
        ("split", summary.split),
        ("labels", summary.labels),
        ("sentences by rule", summary.normalise),
        ("speech", "synthetic" if summary.synthetic else None),
        ("reference SHA-256", summary.reference_sha256),
    ]
    return "\n".join([headline, *(f"  {name:<18} {value}" for name, value in rows if value is not None)])


def metric_path() -> str:
    """Path of the PER metric for `evaluate.load(metric_path())`; loading it needs no network."""
    return str(Path(__file__).with_name("per_metric.py"))


def _percent(fraction: float | None) -> str | None:
    return None if fraction is None else f"{100 * fraction:.2f} %"


def _read(path: Path) -> tuple[dict[str, list[str]], list[UserError]]:
    try:
        data = path.read_bytes()
    except IsADirectoryError:
        return {}, [UserError(f"{path}: is a folder", remedy="name the file of phones inside it")]
    except OSError as error:
        fault = UserError(f"{path}: cannot be read ({error.strerror})", remedy="check the path and its permissions")
        return {}, [fault]
    utterances, faults = _parse(data, str(path))
    if not utterances and not faults:
        faults = [UserError(f"{path}: holds no utterance", remedy=LINE_FORM)]
    if len(faults) > FAULTS_SHOWN:
        more = UserError(f"{path}: {len(faults) - FAULTS_SHOWN} more lines are wrong", remedy="mend these first")
        faults = [*faults[:FAULTS_SHOWN], more]
    return utterances, faults


def _parse(data: bytes, name: str) -> tuple[dict[str, list[str]], list[UserError]]:
    try:
        lines = data.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        number = data[: error.start].count(b"\n") + 1
        return {}, [UserError(f"{name}:{number}: not UTF-8", remedy="save the file as UTF-8 text")]
    utterances: dict[str, list[str]] = {}
    faults = []
    first_line: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        if not first_line and HEADER.fullmatch(line.strip()):
            continue
        id_, phones, fault = _parse_line(line.removesuffix("\r"))
        if fault:
            faults.append(UserError(f"{name}:{number}: {fault}", remedy=LINE_FORM))
        elif id_ in first_line:
            what = f"{name}:{number}: the id {id_!r} was already given in line {first_line[id_]}"
            faults.append(UserError(what, remedy="keep one line for each id"))
        else:
            first_line[id_] = number
            utterances[id_] = phones
    return utterances, faults


def _parse_line(line: str) -> tuple[str, list[str], str | None]:
    """Id, phones, and what is wrong with the line, if anything is."""
    id_, tab, text = line.partition("\t")
    id_ = id_.strip()
    phones = [phone for phone in text.split(" ") if phone not in ("", WORD_MARK)]
    if not id_:
        return "", [], "there is no id before the tab"
    if not tab and len(id_.split()) > 1:
        return id_, [], "there is no tab between the id and the phones"
    if "\t" in text:
        return id_, [], "there is more than one tab"
    split_inside = [phone for phone in phones if phone.split() != [phone]]
    if split_inside:
        return id_, [], f"{split_inside[0]!r} holds white space other than a plain space"
    return id_, phones, None
