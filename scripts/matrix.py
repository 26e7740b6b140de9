"""Fresh environments from wheels, each with versions of its own, and the quick tests in them.

    python scripts/matrix.py "torch==2.11.0 huggingface_hub==2.0.0" "torch==2.14.1"

Every argument is an environment: what pip is to install beside the wheel of this checkout, which is built first. The
tests run from a copy without the package's source, so that they can only find what was installed. Each environment is
removed afterwards; with torch's CUDA packages one takes some 6 GB.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
COPIED = ("tests", "scripts", "recipes", "configs", "docs", "README.md", "mkdocs.yml", "pyproject.toml", "setup.cfg")
FOR_TESTS = ("pytest>=8", "hypothesis>=6", "jiwer>=4,<5", "praatio>=6.2,<7")
QUICK = (
    "tests/test_api.py",
    "tests/test_doctor.py",
    "tests/models",
    "tests/kernels",
    "tests/training/test_passes.py",
    "tests/transcription/test_alignment.py",
    "tests/hub/test_push.py",
)
SHOWN = ("torch", "transformers", "huggingface_hub", "numpy", "librosa")
VERSIONS = f"""
import json, platform
from importlib.metadata import version
print(json.dumps({{"python": platform.python_version()}} | {{name: version(name) for name in {SHOWN!r}}}))
"""


@dataclass(frozen=True)
class Outcome:
    """What an environment showed.

    Attributes:
        versions: by name, Python's among them; empty where it could not be made.
        said: pytest's last line, or why there is none.
        passed: whether every test that ran did.
    """

    versions: dict[str, str]
    said: str
    passed: bool

    def row(self, date: str) -> str:
        """A row of the table in docs/installing.md."""
        return (
            "| " + " | ".join([date, *(self.versions.get(name, "?") for name in ("python", *SHOWN)), self.said]) + " |"
        )


def clean_environment() -> dict[str, str]:
    """This process's environment without what would let a program find another package than the installed one."""
    return {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}


def run(*words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A program with its output kept, errors among it."""
    return subprocess.run(
        list(map(str, words)),
        cwd=cwd,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def build_wheel(folder: Path) -> Path:
    """The wheel of this checkout, built into `folder`.

    Raises:
        SystemExit: pip cannot build it.
    """
    built = run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", folder, REPOSITORY, cwd=folder)
    wheels = sorted(folder.glob("unispeech_ft-*.whl"))
    if built.returncode or not wheels:
        raise SystemExit(f"the wheel could not be built:\n{built.stdout[-2000:]}")
    return wheels[-1]


def copy_tests(folder: Path) -> Path:
    """The checkout without the package's source."""
    for name in COPIED:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    return folder


def last_line(output: str) -> tuple[str, bool]:
    """Pytest's count of results, and whether all is well."""
    counts = [line for line in output.splitlines() if re.search(r"\d+ (passed|failed|error)", line)]
    if not counts:
        return "no test ran", False
    said = ", ".join(re.findall(r"\d+ (?:failed|passed|skipped|errors?)", counts[-1]))
    return said, "failed" not in said and "error" not in said


def try_environment(python: str, wheel: Path, pins: list[str], checkout: Path, tests: list[str], log: Path) -> Outcome:
    """Makes an environment, runs the tests in it, and removes it."""
    with tempfile.TemporaryDirectory(prefix="unispeech-ft-matrix-") as place:
        home = Path(place) / "venv"
        made = run(python, "-m", "venv", home, cwd=checkout)
        if made.returncode:
            return Outcome({}, f"no environment: {made.stdout.strip().splitlines()[-1:]}", False)
        bin_folder = home / "bin"
        install = (bin_folder / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        run(*install, "--upgrade", "pip", cwd=checkout)
        done = run(*install, wheel, *pins, *FOR_TESTS, cwd=checkout)
        log.write_text(done.stdout, encoding="utf-8")
        if done.returncode:
            faults = [line for line in done.stdout.splitlines() if line.startswith("ERROR")]
            return Outcome({}, f"pip: {' '.join((faults or ['failed'])[0].split())}", False)
        versions: dict[str, str] = json.loads(run(bin_folder / "python", "-c", VERSIONS, cwd=checkout).stdout)
        chosen = ("-p", "no:cacheprovider", "-m", "not long and not slow and not gpu", *tests)
        tested = run(bin_folder / "pytest", *chosen, cwd=checkout)
        log.write_text(done.stdout + tested.stdout, encoding="utf-8")
        return Outcome(versions, *last_line(tested.stdout))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("environments", nargs="+", metavar="PINS", help='such as "torch==2.14.1 transformers==5.24.0"')
    parser.add_argument("--python", default=sys.executable, help="the interpreter of the environments (this one)")
    parser.add_argument("--tests", nargs="+", default=list(QUICK), metavar="FILE", help="instead of the quick ones")
    parser.add_argument("--logs", type=Path, default=Path("build/matrix"), help="folder of what pip and pytest say")
    options = parser.parse_args()
    options.logs.mkdir(parents=True, exist_ok=True)
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="unispeech-ft-wheel-") as folder:
        wheel = build_wheel(Path(folder))
        checkout = copy_tests(Path(folder) / "checkout")
        for number, pins in enumerate(options.environments):
            log = (options.logs / f"{number}.log").resolve()
            outcome = try_environment(options.python, wheel, pins.split(), checkout, options.tests, log)
            outcomes.append(outcome)
            print(outcome.row(datetime.date.today().isoformat()), flush=True)
            if not outcome.passed:
                print(f"see {log}", file=sys.stderr, flush=True)
    sys.exit(not all(outcome.passed for outcome in outcomes))


if __name__ == "__main__":
    main()
