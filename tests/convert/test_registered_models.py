"""ILS-SSL Large through AutoModel: `models.ils` registers at any time, `unispeech_ft` after Transformers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from originals import pretrained, save
from warm import clean_environment

from unispeech_ft.convert.convert import convert

LOAD = """
for folder in sys.argv[1:]:
    encoder = AutoModel.from_pretrained(folder)
    encoder.save_pretrained(folder + "-again")
    again = AutoModel.from_pretrained(folder + "-again")
    assert type(again) is type(encoder) and type(encoder).__module__ == "unispeech_ft.models.ils", type(encoder)
"""


@pytest.fixture
def converted(tmp_path: Path) -> list[Path]:
    """Both of our classes, Hubert's and WavLM's."""
    for relative in (False, True):
        content = pretrained("ils_hubert", relative_position_embedding=relative, max_distance=20)
        if relative:
            content["model"]["encoder.layers.0.self_attn.relative_attention_bias.weight"] = torch.randn(8, 2)
        convert(save(content, tmp_path / f"{relative}.pt"), tmp_path / str(relative))
    return [tmp_path / "False", tmp_path / "True"]


def _python(code: str, *folders: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "import sys\n" + code, *map(str, folders)]
    return subprocess.run(command, capture_output=True, text=True, env=clean_environment(), timeout=120, check=False)


@pytest.mark.long
@pytest.mark.parametrize(
    "imports",
    [
        "import unispeech_ft.models.ils\nfrom transformers import AutoModel",
        "from transformers import AutoModel\nimport unispeech_ft",
        "import transformers, unispeech_ft\nfrom transformers import AutoModel",
        "import unispeech_ft\nfrom transformers import AutoModel\nimport unispeech_ft.models.ils",
        "import transformers.models.hubert.modeling_hubert, unispeech_ft\nfrom transformers import AutoModel",
    ],
)
def test_imports_in_any_order_register(imports: str, converted: list[Path]) -> None:
    finished = _python(f"{imports}\n{LOAD}", *converted)
    assert finished.returncode == 0, finished.stderr


def test_without_the_import_the_message_names_it(converted: list[Path]) -> None:
    code = """
from transformers import AutoModel
for folder in sys.argv[1:]:
    try:
        AutoModel.from_pretrained(folder)
    except ValueError as error:
        print("(import unispeech_ft)" in str(error))
"""
    finished = _python(code, *converted)
    assert finished.stdout == "True\nTrue\n", finished.stderr


def test_the_import_leaves_its_host_as_it_is() -> None:
    code = "import os; host = dict(os.environ), list(sys.meta_path), list(sys.path_hooks); import unispeech_ft"
    finished = _python(f"{code}; print(host == (dict(os.environ), sys.meta_path, sys.path_hooks))")
    assert finished.stdout == "True\n", finished.stderr


def test_our_own_loaders_register(converted: list[Path]) -> None:
    code = "from pathlib import Path\nfrom unispeech_ft.hub.rebuild import model_config\n"
    finished = _python(f"{code}print(*(model_config(Path(name)).model_type for name in sys.argv[1:]))", *converted)
    assert finished.stdout.count("(import unispeech_ft)") == 2, finished.stderr


def test_the_import_stays_light() -> None:
    finished = _python("import unispeech_ft; print({'torch', 'transformers'} & set(sys.modules))")
    assert finished.stdout == "set()\n"
