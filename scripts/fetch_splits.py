"""Fetches the published 1-hour split lists and checks them.

    python scripts/fetch_splits.py data/unispeech_splits [--languages ky fr …]

The lists belong to microsoft/UniSpeech (CC BY-SA 3.0; Rivière et al. 2020). A folder that already holds complete
lists is left as it is. What is fetched must have the digests of `fetch_splits.sha256`, as far as these are known, and
the published counts. `--source DIR` copies from a checkout of that repository instead of the network.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from unispeech_ft.data.sources.published import PUBLISHED_CLIPS, read_dictionary, read_list
from unispeech_ft.data.utterances import SPLITS
from unispeech_ft.errors import UserError, run_command

COMMIT = "40d322798fba7fbaef8c882e04ac06ae5e784435"
REPOSITORY = f"https://raw.githubusercontent.com/microsoft/UniSpeech/{COMMIT}"
DATA_FOLDER = "src/examples/unispeech/data"
STEMS = ("trainSeqs_1.0_uniform_new_version", "valSeqs_1.0_uniform_new_version", "testSeqs_uniform_new_version")
FILES = ("phonesMatches_reduced.json",) + tuple(
    stem + ending for stem in STEMS for ending in ("_16k.tsv", "_16k.id", ".text")
)
# SHA-256 by language and name (`sha256sum`'s form); nl, ru, sv and most test lists are held by their counts alone.
DIGESTS = {
    name: digest
    for digest, name in (
        line.split(maxsplit=1)
        for line in Path(__file__).with_suffix(".sha256").read_text(encoding="utf-8").splitlines()
    )
}
# Phones of the dictionary and label tokens of the test list.
PUBLISHED_LABELS = {
    "es": (41, 26_045),
    "fr": (42, 24_618),
    "it": (61, 36_454),
    "ky": (39, 30_562),
    "nl": (53, 31_673),
    "ru": (50, 37_344),
    "sv": (41, 24_357),
}


def check_lists(folder: Path, language: str) -> list[str]:
    """What differs from the published counts; nothing where the lists are complete."""
    clips = [read_list(folder, split, with_labels=True) for split in SPLITS]
    phones, tokens = PUBLISHED_LABELS[language]
    found = (
        tuple(len(part) for part in clips),
        len(read_dictionary(folder)),
        sum(len(c.phones or ()) for c in clips[2]),
    )
    expected = (PUBLISHED_CLIPS[language], phones, tokens)
    names = ("clips of train, validation, test", "phones", "test label tokens")
    return [f"{n}: {a}, published {b}" for n, a, b in zip(names, found, expected, strict=True) if a != b]


def _read(language: str, name: str, source: Path | None) -> bytes:
    content = _fetched(language, name, source)
    known = DIGESTS.get(f"{language}/{name}")
    if known and hashlib.sha256(content).hexdigest() != known:
        raise UserError(f"{language}/{name} is not the published file (SHA-256)", remedy="fetch it again, or report it")
    return content


def _fetched(language: str, name: str, source: Path | None) -> bytes:
    if source is not None:
        inside = source / DATA_FOLDER / language / name
        path = inside if inside.is_file() else source / language / name
        try:
            return path.read_bytes()
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror})", remedy="check --source") from None
    url = f"{REPOSITORY}/{DATA_FOLDER}/{language}/{name}"
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:  # nosec B310  # an address of REPOSITORY
            return bytes(answer.read())
    except (urllib.error.URLError, TimeoutError, OSError) as error:
        raise UserError(
            f"{url} cannot be fetched ({error})",
            remedy="check the network, or clone microsoft/UniSpeech elsewhere and give --source DIR",
        ) from None


def fetch(root: Path, language: str, source: Path | None) -> str:
    """Brings one language's lists into `root/language`, whole or not at all; returns what was done."""
    target = root / language
    if target.is_dir():
        faults = check_lists(target, language)
        if not faults:
            return f"{language}: complete in {target}"
        raise UserError(f"{target} holds other lists ({'; '.join(faults)})", remedy="move it away and fetch again")
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root) as scratch:
        partial = Path(scratch) / language
        partial.mkdir()
        for name in FILES:
            (partial / name).write_bytes(_read(language, name, source))
        faults = check_lists(partial, language)
        if faults:
            raise UserError(f"{language}: the fetched lists differ ({'; '.join(faults)})", remedy="report it")
        shutil.move(partial, target)
    return f"{language}: {json.dumps(PUBLISHED_CLIPS[language])} clips in {target}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="folder to write, one folder a language")
    parser.add_argument("--languages", nargs="+", choices=sorted(PUBLISHED_CLIPS), default=sorted(PUBLISHED_CLIPS))
    parser.add_argument("--source", type=Path, help="checkout of microsoft/UniSpeech, or a folder of lists")
    options = parser.parse_args()
    for language in options.languages:
        print(fetch(options.root, language, options.source))


if __name__ == "__main__":
    run_command(main)
