"""The YAMLs that come with the package, and which recipe reads a YAML."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from unispeech_ft.config.reading import read_yaml
from unispeech_ft.errors import UserError
from unispeech_ft.files import run_folder

FOLDER = Path(__file__).resolve().parents[1] / "configs"
RECIPES = (
    "ctc_phoneme",
    "pretrain",
    "audio_classification",
    "speaker_verification",
    "speaker_diarization",
    "speech_separation",
)
# First lines that say how and where it runs, not what it is.
CIRCUMSTANCE = re.compile(r"\s*(accelerate|python|unispeech-ft|make|--|or:|Hardware:|Read by)")


@dataclass(frozen=True)
class Shipped:
    """A YAML of the package.

    Attributes:
        name: `ctc_phoneme/ky_1h`.
        said: its first line that says what it is.
    """

    name: str
    path: Path
    said: str

    @property
    def recipe(self) -> str:
        return recipe_of(self.path)


def shipped() -> list[Shipped]:
    """All of them, by recipe."""
    found = []
    for recipe in RECIPES:
        for path in sorted((FOLDER / recipe).glob("*.yaml")):
            comments = [line[1:] for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
            told = [line.strip() for line in comments if not CIRCUMSTANCE.match(line) and line.strip()]
            found.append(Shipped(f"{recipe}/{path.stem}", path, told[0] if told else ""))
    return found


def find_shipped(name: str) -> Shipped:
    """The YAML of a name, with or without its recipe; of several the first, phone recognition's.

    Raises:
        UserError: there is none.
    """
    known = shipped()
    wanted = name.removesuffix(".yaml").removeprefix("configs/")
    for item in known:
        if wanted in (item.name, item.path.stem):
            return item
    stem = wanted.rsplit("/", 1)[-1]
    near = [item.name for item in known if item.path.stem in get_close_matches(stem, [k.path.stem for k in known])]
    remedy = f"for example {', '.join(near[:4])}" if near else "`unispeech-ft recipes` lists them"
    raise UserError(f"no YAML {name} comes with the package", remedy=remedy)


def config_file(name: str | Path) -> Path:
    """What commands read that take a configuration: a YAML on the disk, a run's, or one of the package by its name.

    Raises:
        UserError: there is none of these.
    """
    path = Path(name).expanduser()
    of_run = run_folder(path) / "config.yaml"
    if of_run.is_file():
        return of_run
    if path.is_file():
        return path
    if path.suffix in (".yaml", ".yml") and len(path.parts) > 1 and path.parts[0] != "configs":
        raise UserError(f"no file {name}", remedy="`unispeech-ft recipes` lists those of the package")
    try:
        return find_shipped(str(name)).path
    except UserError as error:
        if path.is_dir():
            remedy = "name a YAML file, a run, or one of the package: manifest takes a folder of speech (--data.train)"
            raise UserError(f"{path} is a folder, but no run", remedy=remedy) from None
        raise error


def recipe_of(file: Path) -> str:
    """The recipe that reads a YAML: whose section it has, that its comments name first, or in whose folder it lies.

    Raises:
        UserError: it cannot be read.
    """
    sections, _ = read_yaml(file)
    if "objective" in sections or "unlabelled" in sections:
        return "pretrain"
    of_sections = [name for name in RECIPES if name in sections]
    named = re.findall(rf"^#.*?recipes/({'|'.join(RECIPES)})\.py", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
    folder = [name for name in RECIPES if name == file.resolve().parent.name]
    return next(iter([*of_sections, *named, *folder]), "ctc_phoneme")
