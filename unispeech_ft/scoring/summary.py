"""The evidence of a PER (`summary.json`) and every utterance behind it (`hypotheses.jsonl`)."""

import hashlib
import json
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from unispeech_ft.errors import UserError
from unispeech_ft.files import parse_json, write_text
from unispeech_ft.scoring.bootstrap import bootstrap_per, interval_text
from unispeech_ft.scoring.feature_distance import feature_errors
from unispeech_ft.scoring.per import UtteranceScore, corpus_per, shuffled_per

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

TEXT_RULE = (
    "Unit-cost edit distance over phones (substitution, deletion and insertion cost 1 each); "
    "PER = sum of errors / sum of reference phones; phones unknown to the model stay in the reference."
)
GREEDY_RULE = (
    "Greedy CTC decoding of each utterance's own frames, padding cut away (argmax, collapse repeats, drop blank and "
    "special labels), no language model. " + TEXT_RULE
)

_FIELD_TYPES: dict[str, tuple[type, ...]] = {
    "id": (str,),
    "reference": (list,),
    "hypothesis": (list,),
    "substitutions": (int,),
    "deletions": (int,),
    "insertions": (int,),
    "duration_s": (int, float, type(None)),
    "speaker": (str, type(None)),
}
# Files of earlier versions lack it.
_LATER_FIELDS = {"speaker": None}
TOO_FEW_UTTERANCES, TOO_FEW_PHONES = 30, 1_000


@dataclass(frozen=True)
class Summary:
    """What `summary.json` holds; None is unknown.

    `per` and `per_shuffled` are fractions; `per_ci95` is [low, high] of 10,000 bootstrap draws by `bootstrap_unit`;
    `per_shuffled` is the PER against other utterances' references; `blank_share` is the share of frames whose best
    label is the blank; `seconds` is wall time; `reference_floor` is the PER of a second labelling against the
    references, below which a model cannot be told from better labels; `normalise` is the rule by which sentences were
    normalised before they became references; `speakers` are those known of the split, `speakers_in_training` of them
    are voices that the model was trained on; `pfer` is a fraction of the references' segments, and `pfer_segments` the
    mean of an utterance, both None where panphon is not there.
    """

    per: float | None
    per_ci95: list[float] | None
    bootstrap_unit: str | None
    utterances: int
    reference_phones: int
    substitutions: int
    deletions: int
    insertions: int
    blank_share: float | None
    reference_sha256: str
    model: str | None
    split: str | None
    seconds: float | None
    per_shuffled: float | None
    synthetic: bool | None
    labels: str | None
    published_split: bool | None
    scoring: str
    reference_floor: float | None = None
    normalise: str | None = None
    speakers: int | None = None
    speakers_in_training: int | None = None
    pfer: float | None = None
    pfer_segments: float | None = None

    def __repr__(self) -> str:
        per = "?" if self.per is None else f"{100 * self.per:.1f} %"
        return f"Summary({self.split or 'no split'}: PER {per} of {self.reference_phones} phones)"

    @property
    def interval(self) -> str | None:
        """The interval in words; None where there is none."""
        return interval_text(self.per_ci95[0], self.per_ci95[1], self.bootstrap_unit) if self.per_ci95 else None

    @property
    def by_features(self) -> str | None:
        """PFER in words; None where there is none."""
        if self.pfer is None:
            return None
        return f"PFER {self.pfer_segments:.2f} segments an utterance (as PRiSM counts), {100 * self.pfer:.2f} %"

    @property
    def too_few(self) -> str | None:
        """That there is too little to rely on the interval; None where there is enough."""
        if self.utterances >= TOO_FEW_UTTERANCES or self.reference_phones >= TOO_FEW_PHONES:
            return None
        return f"too few to rely on the interval: {self.utterances} utterances, {self.reference_phones} phones"


def summarize(
    scores: Sequence[UtteranceScore],
    *,
    blank_share: float | None = None,
    model: str | None = None,
    split: str | None = None,
    seconds: float | None = None,
    synthetic: bool | None = None,
    labels: str | None = None,
    published_split: bool | None = None,
    scoring: str = TEXT_RULE,
    reference_floor: float | None = None,
    normalise: str | None = None,
    trained_speakers: Collection[str] | None = None,
) -> Summary:
    """Corpus PER with its interval, counts and hashes; the keywords are what only the caller can know.

    Pass `scoring=GREEDY_RULE` for hypotheses decoded by `greedy`, and in `trained_speakers` those whom the model heard.
    """
    interval = bootstrap_per(scores)
    speakers = {utterance.speaker for utterance in scores if utterance.speaker}
    known = trained_speakers is not None and len(trained_speakers) > 0 and len(speakers) > 0
    by_features = feature_errors(scores)
    return Summary(
        per=corpus_per(scores),
        per_ci95=[interval.low, interval.high] if interval else None,
        bootstrap_unit=interval.unit if interval else None,
        utterances=len(scores),
        reference_phones=sum(len(utterance.reference) for utterance in scores),
        substitutions=sum(utterance.substitutions for utterance in scores),
        deletions=sum(utterance.deletions for utterance in scores),
        insertions=sum(utterance.insertions for utterance in scores),
        blank_share=blank_share,
        reference_sha256=reference_sha256({utterance.id: utterance.reference for utterance in scores}),
        model=model,
        split=split,
        seconds=seconds,
        per_shuffled=shuffled_per(scores),
        synthetic=synthetic,
        labels=labels,
        published_split=published_split,
        scoring=scoring,
        reference_floor=reference_floor,
        normalise=normalise,
        speakers=len(speakers) or None,
        speakers_in_training=len(speakers.intersection(trained_speakers or ())) if known else None,
        pfer=by_features and by_features.rate,
        pfer_segments=by_features and by_features.per_utterance,
    )


def reference_sha256(references: Mapping[str, Sequence[str]]) -> str:
    """SHA-256 of the UTF-8 lines `id<TAB>phones<LF>` sorted by id, phones joined by one space."""
    lines = (f"{id_}\t{' '.join(references[id_])}\n" for id_ in sorted(references))
    return hashlib.sha256("".join(lines).encode("utf-8")).hexdigest()


def write_results(
    folder: str | os.PathLike[str], scores: Iterable[UtteranceScore], summary: "DataclassInstance"
) -> None:
    """Write `hypotheses.jsonl` and then `summary.json`, each whole or not at all; the folder is made if missing.

    Raises:
        UserError: the folder cannot be made or written.
    """
    lines = (json.dumps({name: getattr(u, name) for name in _FIELD_TYPES}, ensure_ascii=False) for u in scores)
    hypotheses = "".join(f"{line}\n" for line in lines)
    summary_text = json.dumps(asdict(summary), ensure_ascii=False, indent=2, allow_nan=False) + "\n"
    target = Path(folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
        write_text(target / "hypotheses.jsonl", hypotheses)
        write_text(target / "summary.json", summary_text)
    except OSError as error:
        raise UserError(
            f"{target}: the results cannot be written ({error.strerror})",
            remedy="choose a folder you may write to, on a disk with room",
        ) from error


def read_hypotheses(path: str | os.PathLike[str]) -> list[UtteranceScore]:
    """Read `hypotheses.jsonl` back; where it does not hold the speakers, they are None.

    Raises:
        UserError: the file cannot be read, or a line is not one of `write_results`.
    """
    try:
        lines = Path(path).read_bytes().split(b"\n")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})", remedy="give a hypotheses.jsonl") from error
    return [_utterance(line, f"{path}:{number}") for number, line in enumerate(lines, 1) if line.strip()]


def _utterance(line: bytes, place: str) -> UtteranceScore:
    remedy = "score again; the fields are " + ", ".join(_FIELD_TYPES)
    try:
        fields = parse_json(line)
    except ValueError as error:
        raise UserError(f"{place}: not a JSON line ({error})", remedy=remedy) from error
    if isinstance(fields, dict):
        fields = _LATER_FIELDS | fields
    if not isinstance(fields, dict) or fields.keys() != _FIELD_TYPES.keys():
        raise UserError(f"{place}: not the fields of a scored utterance", remedy=remedy)
    wrong = [name for name, types in _FIELD_TYPES.items() if not isinstance(fields[name], types)]
    wrong += [name for name in ("reference", "hypothesis") if not all(isinstance(p, str) for p in fields[name] or [])]
    if wrong:
        raise UserError(f"{place}: wrong type of {', '.join(wrong)}", remedy=remedy)
    return UtteranceScore(**fields)
