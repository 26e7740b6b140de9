"""Folders of recordings with a text of the same name beside each: `.txt`, `.lab`, `.TextGrid` or `.eaf`."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from unispeech_ft.config.sections import DataConfig
from unispeech_ft.data.audio import AUDIO_ENDINGS, AV_ENDINGS
from unispeech_ft.data.sources.media import Linked, linked_media
from unispeech_ft.data.sources.tables import read_lines
from unispeech_ft.data.sources.tiers import Said, elan_sentences, textgrid_sentences
from unispeech_ft.data.utterances import FILTERED, Utterance, segment_id
from unispeech_ft.errors import UserError, first_line

TEXT_ENDINGS = (".txt", ".lab", ".textgrid", ".eaf")
PLAIN_ENDINGS = (".txt", ".lab", ".TXT", ".LAB")
ANY_TIER = "*"
NO_TEXT = f"{FILTERED}no text of the same name beside it"
# Start, end and text: Audacity's with tabs, others with spaces, where a sentence of numbers has no decimals.
LABEL_TRACK = re.compile(r"(?:(\d+(?:[.,]\d+)?)\t(\d+(?:[.,]\d+)?)\t|\s*(\d+[.,]\d+)\s+(\d+[.,]\d+)(?:\s+|$))(.*)")
LABEL_FREQUENCIES = "\\\t"
# xwaves: a line of #, then end, colour and label.
XWAVES_LABEL = re.compile(r"\s*\d+\.\d+\s+-?\d+\s+\S+.*")
TIME_OF_DAY = re.compile(r"\s*[\[(<]?\d{1,2}:\d\d(:\d\d)?([.,]\d+)?\b")
HTK_LABEL = re.compile(r"(\d+)\s+(\d+)\s+\S+\s*")
TIMIT_SENTENCE = re.compile(r"0 \d{4,} (\S+ .+)")  # first and last sample of the recording, and what is said in it
# In HTK's unit of 100 ns; numbers below are words of a sentence.
HTK_SHORTEST = 100_000


def list_folder_of_audio(
    folder: Path, root: Path, data: DataConfig, key: str
) -> tuple[list[Utterance], list[tuple[str, str]]]:
    """The utterances of the recordings below a folder, and what has no partner or cannot be read.

    Where recordings lie in folders of their own, and there are several, these are the speakers. Where
    `data.phones_column` is given, the texts are phones.

    Raises:
        UserError: the folder holds no recordings with texts.
    """
    of_phones = data.phones_column is not None
    tier = data.phones_column if of_phones else data.text_column
    tier = None if tier == ANY_TIER else tier
    files = files_below(folder)
    audio, texts, links = _paired(files)
    by_folder = len({path.parent for path in audio}) > 1 and all(path.parent != folder for path in audio)
    found: list[Utterance] = []
    rejected: list[tuple[str, str]] = []
    read: dict[Path, Path] = {}
    for path in audio:
        place = _place(path)
        named = path if path.is_relative_to(root) else texts[place][0]
        name = named.with_suffix("").relative_to(root).as_posix()
        if read.setdefault(place, path) != path:
            reason = f"{FILTERED}another recording of the same name is read: {read[place].name}"
            rejected.append((path.relative_to(root).as_posix(), reason))
            continue
        if place not in texts:
            rejected.append((name, NO_TEXT))
            continue
        text, *others = texts[place]
        reason = f"{FILTERED}another text of the same name is read: {text.name}"
        rejected += [(other.relative_to(root).as_posix(), reason) for other in others]
        if text in links and links[text].others:
            also = ", ".join(other.name for other in links[text].others)
            rejected.append((name, f"{FILTERED}{text.name} links several recordings; read is {path.name}, not {also}"))
        try:
            said = [item for item in _read_text(text, tier, path.stem) if item.text.strip()]
        except ValueError as error:
            rejected.append((name, f"{text.name} cannot be read ({first_line(error)})"))
            continue
        if not said:
            rejected.append((name, f"{FILTERED}{text.name} holds no sentence"))
        rejected += [(name, f"{fault}: {text.name}") for item in said if (fault := _fault_of(item))]
        speaker = path.parent.name if by_folder else None
        found += [_utterance(name, path, item, speaker, of_phones) for item in said if not _fault_of(item)]
    alone = sorted(text for place, beside in texts.items() for text in beside if place not in read)
    if not found:
        faults = [f" ({fault.removeprefix(FILTERED)})" for _, fault in rejected if fault != NO_TEXT]
        faults += [f" ({text.name} has {_no_recording(links.get(text))})" for text in alone]
        raise _nothing_usable(f"{key}: {folder} holds {len(audio)} recordings", faults)
    rejected += [(text.relative_to(root).as_posix(), f"{FILTERED}{_no_recording(links.get(text))}") for text in alone]
    strangers = passed_over(files)
    return found, [*rejected, (folder.name, f"{FILTERED}{strangers}")] if strangers else rejected


def _paired(files: Sequence[Path]) -> tuple[list[Path], dict[Path, list[Path]], dict[Path, Linked]]:
    """The recordings among files, the texts of each place, the one to read first, and what their `.eaf` link."""
    # Of recordings of one name, one that needs no PyAV first.
    audio = sorted(
        _with_ending(files, AUDIO_ENDINGS), key=lambda path: (_place(path), path.suffix.lower() in AV_ENDINGS)
    )
    texts: dict[Path, list[Path]] = {}
    written = sorted(_with_ending(files, TEXT_ENDINGS), key=lambda path: TEXT_ENDINGS.index(path.suffix.lower()))
    links = {path: linked_media(path) for path in written if path.suffix.lower() == ".eaf"}
    places = _recordings_of(written, links, {_place(path) for path in audio})
    for path in written:
        texts.setdefault(places[path], []).append(path)
    linked = {_place(link.recording): link.recording for link in links.values() if link.recording}
    audio += [
        linked[place] for place in dict.fromkeys(places.values()) if place in linked and linked[place] not in audio
    ]
    return audio, texts, links


def _fault_of(item: Said) -> str:
    """Why what is said somewhere is left out; "" where it is not."""
    return item.fault or ("" if _in_time(item) else "a segment begins or ends at no time in seconds")


def _utterance(name: str, recording: Path, item: Said, speaker: str | None, of_phones: bool) -> Utterance:
    phones = tuple(item.text.split()) if of_phones else None
    sentence = None if of_phones else item.text.strip()
    identity = segment_id(name, item.start_s, item.end_s)
    return Utterance(identity, recording, sentence, phones, item.speaker or speaker, item.start_s, item.end_s)


def _nothing_usable(holds: str, faults: Sequence[str]) -> UserError:
    return UserError(
        f"{holds}, none with a text of the same name beside it"
        + "".join(f" that can be used{fault}" for fault in faults[:1]),
        remedy="put a .txt, .lab, .TextGrid or .eaf beside each, or name a manifest",
    )


def _recordings_of(written: Iterable[Path], links: Mapping[Path, Linked], heard: Collection[Path]) -> dict[Path, Path]:
    """The place of the recording of each text: the one that it links, unless that has a text of its own name, or
    several texts link it and this one has another recording of its name; else the one of its name."""
    own = {path: _place(path) for path in written}
    linked = {path: _place(link.recording) for path, link in links.items() if link.recording}
    claims = Counter(place for path, place in linked.items() if place != own[path])
    named = set(own.values())
    return {
        path: linked[path]
        if path in linked and linked[path] not in named and (claims[linked[path]] == 1 or place not in heard)
        else place
        for path, place in own.items()
    }


def _no_recording(link: Linked | None) -> str:
    looked_for = ", ".join(link.missing) if link else ""
    return "no recording of the same name" + (f", and {looked_for}, which it links, is not there" if looked_for else "")


def _place(path: Path) -> Path:
    """A file without its ending; composed and decomposed letters are one."""
    return Path(unicodedata.normalize("NFC", str(path.with_suffix(""))))


def files_below(folder: Path) -> list[Path]:
    """The files below a folder that are not hidden, sorted."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))


def _with_ending(files: Iterable[Path], endings: tuple[str, ...]) -> list[Path]:
    return [path for path in files if path.suffix.lower() in endings]


def passed_over(files: Sequence[Path]) -> str:
    """A line on the files that lie among recordings and are, by their endings, neither recordings nor texts; or ""."""
    among = {path.parent for path in _with_ending(files, AUDIO_ENDINGS)}
    known = {*AUDIO_ENDINGS, *TEXT_ENDINGS}
    others = Counter(ending for path in files if path.parent in among and (ending := path.suffix.lower()) not in known)
    shown = ", ".join(f"{count} × {ending or 'without any'}" for ending, count in others.most_common(5))
    return f"files whose endings are of no recording and no text ({shown})" if others else ""


def text_beside(recording: Path) -> str | None:
    """The text in a `.txt` or `.lab` of a recording's name; None where there is none.

    Raises:
        UserError: it is not UTF-8 or UTF-16.
    """
    path = next((file for ending in PLAIN_ENDINGS if (file := recording.with_suffix(ending)).is_file()), None)
    if path is None:
        return None
    try:
        return " ".join(said.text.strip() for said in _read_text(path, None)).strip() or None
    except ValueError as error:
        raise UserError(f"{path} cannot be read ({error})", remedy="save the sentence alone, as UTF-8") from None


def _read_text(path: Path, tier: str | None, recording: str | None = None) -> list[Said]:
    if path.suffix.lower() == ".eaf":
        return elan_sentences(path, tier, recording)
    if path.suffix.lower() == ".textgrid":
        return textgrid_sentences(path, tier)
    found = [line for _, line in read_lines(path.read_bytes())]
    lines = [line for line in found if line is not None]
    if len(lines) < len(found):
        raise ValueError("not UTF-8")
    if _is_htk(lines):
        raise ValueError("HTK labels with times, not a sentence")
    if _is_xwaves(lines):
        raise ValueError("xwaves labels with times, not a sentence")
    if len(lines) > 1 and all(TIME_OF_DAY.match(line) for line in lines):
        raise ValueError("lines that begin with times, not a sentence: write seconds<TAB>seconds<TAB>sentence")
    if len(lines) == 1 and (whole := TIMIT_SENTENCE.fullmatch(lines[0].strip())):
        return [Said(whole[1])]
    return _label_track(lines) or [Said(" ".join(line.strip() for line in lines))]


def _in_time(item: Said) -> bool:
    return all(second is None or 0 <= second < math.inf for second in (item.start_s, item.end_s))


def _is_htk(lines: list[str]) -> bool:
    found = [HTK_LABEL.fullmatch(line) for line in lines]
    return bool(found) and all(found) and max(int(label[2]) for label in found if label) >= HTK_SHORTEST


def _is_xwaves(lines: list[str]) -> bool:
    place = next((place for place, line in enumerate(lines) if line.strip() == "#"), len(lines))
    labels = lines[place + 1 :]
    return bool(labels) and all(XWAVES_LABEL.fullmatch(line) for line in labels)


def _label_track(lines: list[str]) -> list[Said]:
    """The segments of a label track; none where a line is anything else."""
    found = [LABEL_TRACK.fullmatch(line) for line in lines if not line.startswith(LABEL_FREQUENCIES)]
    labels = [label for label in found if label]
    if len(labels) < len(found):
        return []
    return [Said(label[5], _seconds(label[1] or label[3]), _seconds(label[2] or label[4])) for label in labels]


def _seconds(number: str) -> float:
    return float(number.replace(",", "."))
