"""Makes the pictures and terminal captures of docs/looks.md, from a run of seconds on synthetic speech.

    python scripts/pictures.py [--captures]

The captures stand in the page behind `<!-- capture: NAME -->`; `tests/test_pictures.py` compares them with what the
program prints. The pictures are those that the page's tests take in Chromium, in fewer colours.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from unispeech_ft.app.training import last_states
from unispeech_ft.testing.corpus import make_corpus

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.append(str(REPOSITORY / "tests"))

from terminal import on_terminal  # noqa: E402
from warm import clean_environment  # noqa: E402

PAGE = REPOSITORY / "docs" / "looks.md"
PICTURES = REPOSITORY / "docs" / "pictures"
# As the page's tests name them.
TAKEN = ("page-1-1280", "stopped-1280", "stopped-390", "waveform-1280", "waveform-390", "report-1280")
COLOURS, MAX_BYTES = 96, 150_000
CAPTURE = re.compile(r"(<!-- capture: (\S+) -->\n```text\n)(.*?)(```\n)", re.DOTALL)
KEYS = "--schedule.updates 200 --evaluation.every_updates 50"
CLIP = "data/demo/ky/clips/synthetic_ky_200000.mp3"
# By name: columns, and the words behind `unispeech-ft`; in this order, since the first trains what the others read.
COMMANDS = {
    "train-80": (80, f"train demo {KEYS}"),
    "train-120": (120, f"train demo {KEYS} --output_dir runs/wide"),
    "audit-80": (80, "audit runs/demo/config.yaml"),
    "transcribe-80": (80, f"transcribe runs/demo/model {CLIP}"),
    "fault-80": (80, "train demo --schedule.updats 30 --optimizer.lr fast"),
}


def speak(folder: Path) -> None:
    """Makes the speech that the commands find in `folder`."""
    make_corpus(folder / "data" / "demo", ["ky"], train_hours=0.02, dev_hours=0.004, test_hours=0.004)


def capture(name: str, folder: Path) -> str:
    """What a terminal shows of one of `COMMANDS`, its command above."""
    columns, words = COMMANDS[name]
    environment = clean_environment() | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    program = [sys.executable, "-m", "unispeech_ft.cli", *words.split()]
    _, written = on_terminal(program, columns, cwd=folder, env=environment)
    return f"$ unispeech-ft {words}\n" + "\n".join(last_states(written)).rstrip() + "\n"


def captures_in(text: str) -> dict[str, str]:
    """The captures of a page, by name."""
    return {name: shown for _, name, shown, _ in CAPTURE.findall(text)}


def with_captures(text: str, captures: Mapping[str, str]) -> str:
    """The page with fresh captures."""
    return CAPTURE.sub(lambda found: found[1] + captures[found[2]] + found[4], text)


def take_pictures(folder: Path) -> None:
    """Runs the tests of the page, and keeps what they saw."""
    words = ["-m", "pytest", "-p", "no:xdist", f"--basetemp={folder / 'unispeech_ft'}", "tests/app/test_page.py"]
    environment = dict(os.environ) | {"UNISPEECH_FT_SCREENSHOTS": str(folder), "PYTHONPATH": str(REPOSITORY)}
    subprocess.run([sys.executable, *words, "-k", "browser or waveform"], cwd=REPOSITORY, env=environment, check=True)
    PICTURES.mkdir(exist_ok=True)
    for name in TAKEN:
        with Image.open(folder / f"{name}.png") as picture:
            picture.convert("RGB").quantize(COLOURS).save(PICTURES / f"{name}.png", optimize=True)
        size = (PICTURES / f"{name}.png").stat().st_size
        print(f"{name}: {size / 1000:.0f} kB{' TOO LARGE' if size > MAX_BYTES else ''}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captures", action="store_true", help="leave the pictures as they are")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        speak(Path(folder))
        captures = {name: capture(name, Path(folder)) for name in COMMANDS}
        PAGE.write_text(with_captures(PAGE.read_text(encoding="utf-8"), captures), encoding="utf-8")
        if not options.captures:
            take_pictures(Path(folder))


if __name__ == "__main__":
    main()
