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
encoder = AutoModel.from_pretrained(sys.argv[1])
encoder.save_pretrained(sys.argv[1] + "-again")
again = AutoModel.from_pretrained(sys.argv[1] + "-again")
assert type(again) is type(encoder) and type(encoder).__module__ == "unispeech_ft.models.ils", type(encoder)
"""


@pytest.fixture(params=[False, True], ids=["hubert", "wavlm"])
def converted_large(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    content = pretrained("ils_hubert", relative_position_embedding=request.param, max_distance=20)
    if request.param:
        content["model"]["encoder.layers.0.self_attn.relative_attention_bias.weight"] = torch.randn(8, 2)
    convert(save(content, tmp_path / "checkpoint.pt"), tmp_path / "out")
    return tmp_path / "out"


def _python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "import sys\n" + code, str(folder)]
    return subprocess.run(command, capture_output=True, text=True, env=clean_environment(), timeout=120, check=False)


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
def test_imports_in_any_order_register(imports: str, converted_large: Path) -> None:
    finished = _python(f"{imports}\n{LOAD}", converted_large)
    assert finished.returncode == 0, finished.stderr


def test_without_the_import_the_message_names_it(converted_large: Path) -> None:
    finished = _python("from transformers import AutoModel\nAutoModel.from_pretrained(sys.argv[1])", converted_large)
    assert finished.returncode == 1
    assert "(import unispeech_ft)" in finished.stderr


def test_the_import_leaves_its_host_as_it_is() -> None:
    code = "import os; host = dict(os.environ), list(sys.meta_path), list(sys.path_hooks); import unispeech_ft"
    finished = _python(f"{code}; print(host == (dict(os.environ), sys.meta_path, sys.path_hooks))", Path())
    assert finished.stdout == "True\n", finished.stderr


def test_our_own_loaders_register(converted_large: Path) -> None:
    code = "from pathlib import Path\nfrom unispeech_ft.hub.rebuild import model_config\n"
    finished = _python(f"{code}print(model_config(Path(sys.argv[1])).model_type)", converted_large)
    assert finished.stdout.endswith("(import unispeech_ft)\n"), finished.stderr


def test_the_import_stays_light() -> None:
    finished = _python("import unispeech_ft; print({'torch', 'transformers'} & set(sys.modules))", Path())
    assert finished.stdout == "set()\n"
