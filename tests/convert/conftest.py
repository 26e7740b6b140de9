from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from golden import GOLDEN, Golden, golden_folders

from unispeech_ft.convert.convert import convert

Measured = list[tuple[str, str, float]]
MEASURED = pytest.StashKey[Measured]()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that asks for `golden` runs once for every golden folder there is."""
    if "golden" in metafunc.fixturenames:
        folders = golden_folders()
        absent = [pytest.param(None, marks=pytest.mark.skip(reason=f"no golden folders in {GOLDEN}"), id="absent")]
        metafunc.parametrize("golden", folders or absent, ids=[item.folder.name for item in folders] or None)


@pytest.fixture(scope="session")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Golden], Path]:
    """Converts a golden checkpoint, once a session."""
    done: dict[Path, Path] = {}

    def convert_once(golden: Golden) -> Path:
        if golden.folder not in done:
            out = tmp_path_factory.mktemp("converted") / golden.folder.name
            convert(golden.checkpoint, out)
            done[golden.folder] = out
        return done[golden.folder]

    return convert_once


@pytest.fixture
def measured(pytestconfig: pytest.Config) -> Measured:
    """Rows of the parity table: folder, tensor, greatest difference."""
    return pytestconfig.stash.setdefault(MEASURED, [])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    rows = config.stash.get(MEASURED, [])
    if rows:
        terminalreporter.section("parity with the original code")
        terminalreporter.write_line(f"{'folder':<32}{'tensor':<28}greatest difference")
        for folder, tensor, difference in rows:
            terminalreporter.write_line(f"{folder:<32}{tensor:<28}{difference:.1e}")
