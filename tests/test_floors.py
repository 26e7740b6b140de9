"""Imports go one way, floor by floor: a room imports only rooms below it (CONTRIBUTING.md)."""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "unispeech_ft"
FLOORS = (
    ("errors", "extras", "version", "files", "launching", "randomness"),
    ("config",),
    ("phonemes",),
    ("scoring",),
    ("data",),
    ("kernels",),
    ("models",),
    ("training",),
    ("runs",),
    ("hub", "convert", "audit"),
    ("tasks",),
    ("transcription",),
    ("testing",),
    ("recipes",),
    ("api", "doctor"),
    ("app",),
    ("commands",),
    ("cli", "__init__"),
)
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def room_of(module: str) -> str:
    """The room of a dotted module below the package; the configuration of a task belongs to the floor of `config`."""
    parts = module.split(".")
    if parts[0] == "tasks" and parts[-1] == "config":
        return "config"
    return parts[0]


def imported(file: Path) -> set[str]:
    """The modules of the package that a file imports, wherever it does, but not for its types alone."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    typing = [node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)]
    left_out = {id(inner) for node in typing for inner in ast.walk(node)}
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and id(node) not in left_out and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import) and id(node) not in left_out:
            names = [alias.name for alias in node.names]
        else:
            continue
        known = [name for name in names if name.startswith("unispeech_ft.") and is_module(name)]
        found |= {name.removeprefix("unispeech_ft.") for name in known[-1:]}
    return found


def is_module(name: str) -> bool:
    path = PACKAGE.parent.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def test_a_room_imports_only_rooms_below_it() -> None:
    upwards = []
    for file in sorted(PACKAGE.rglob("*.py")):
        module = ".".join(file.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
        room = room_of(module)
        for other in sorted(imported(file)):
            if FLOOR_OF[room_of(other)] > FLOOR_OF[room]:
                upwards.append(f"{module} imports {other}")
    assert upwards == []


def test_the_engine_knows_no_task() -> None:
    engine = [name for file in (PACKAGE / "training").glob("*.py") for name in imported(file)]
    assert engine
    assert not [name for name in engine if name.startswith(("tasks", "recipes", "runs", "hub"))]


def test_tasks_lie_apart() -> None:
    """A task takes nothing of another but what a phone recogniser's scoring is to pre-training."""
    allowed = {("pretraining", "tasks.ctc_phoneme.evaluate")}
    for file in sorted((PACKAGE / "tasks").rglob("*.py")):
        own = file.relative_to(PACKAGE / "tasks").parts[0]
        for name in imported(file):
            other = name.split(".")[1] if name.startswith("tasks.") else own
            assert other == own or (own, name) in allowed, f"{file.name} of {own} imports {name}"
