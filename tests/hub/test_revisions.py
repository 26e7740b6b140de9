"""Everything that is read from the Hub is read at the revision that was asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import pytest

from unispeech_ft.cli import main
from unispeech_ft.config.sections import DataConfig
from unispeech_ft.data.sources.hub import HubReader
from unispeech_ft.errors import UserError

NAME, REVISION = "someone/something", "1a2b3c4"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The revisions that were asked for; nothing is reached."""
    revisions: list[Any] = []

    def unreachable(*_: Any, revision: str | None = None, **__: Any) -> None:
        revisions.append(revision)
        raise OSError("no network")

    for module, function in (
        (huggingface_hub, "snapshot_download"),
        (huggingface_hub.HfApi, "dataset_info"),
        (datasets, "load_dataset"),
        (datasets, "get_dataset_split_names"),
    ):
        monkeypatch.setattr(module, function, unreachable)
    return revisions


@pytest.mark.parametrize(
    "words",
    [("transcribe", NAME, "a.wav"), ("align", NAME, "a.wav", "--phones", "a"), ("verify", NAME)],
    ids=lambda w: w[0],
)
def test_commands(words: tuple[str, ...], asked: list[Any]) -> None:
    for given in (REVISION, None):
        with pytest.raises(SystemExit) as ended:
            main([*words, *(("--revision", given) if given else ())])
        assert ended.value.code == 2
    assert asked == [REVISION, None]


@pytest.mark.parametrize("command", ["evaluate", "ngram"])
def test_commands_with_a_configuration(command: str, asked: list[Any], tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text("data: {root: here, language: ky}\n", encoding="utf-8")
    own = ["--split", "test"] if command == "evaluate" else [str(tmp_path / "out")]
    with pytest.raises(SystemExit) as ended:
        main([command, NAME, *own, "--config", str(config), "--revision", REVISION])
    assert ended.value.code == 2
    assert asked == [REVISION]


@pytest.mark.parametrize(
    "read", [lambda r: r.stream("train"), lambda r: r.has("train"), lambda r: r.key()], ids=["stream", "has", "key"]
)
def test_speech(read: Callable[[HubReader], Any], asked: list[Any]) -> None:
    with pytest.raises(UserError, match="cannot be opened"):
        read(HubReader(DataConfig(source="hub", root=NAME, revision=REVISION)))
    assert asked == [REVISION]
