import importlib.util
import json
import os
import re
import subprocess
import sys

import pytest
from packaging.requirements import Requirement
from warm import run_warm

from unispeech_ft.doctor import (
    Check,
    Probe,
    faults,
    format_checks,
    module_of,
    package_probe,
    run_probe,
    version_check,
)
from unispeech_ft.runs.environment import extras, requirements

TORCH_REMEDY = 'python -m pip install "torch>=2.11,<2.13" "torchaudio>=2.11,<2.12"'
with_torchaudio = pytest.mark.skipif(not importlib.util.find_spec("torchaudio"), reason="torchaudio is an extra")
# fmt: off
SHOWN = {
    "python", "platform", "unispeech_ft", "torch", "transformers", "datasets", "accelerate",
    "evaluate", "huggingface_hub", "phonemizer", "espeakng-loader", "rapidfuzz", "librosa",
    "soundfile", "libsndfile", "soxr", "pydantic", "PyYAML", "tensorboard", "numpy", "cores", "memory",
    "device", "espeak-ng", "MP3", "resampling",
}
# fmt: on


def doctor(tmp_path, modules, *arguments):
    """Runs the command with fake modules (name → source) in front of the installed ones."""
    for name, source in modules.items():
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "__init__.py").write_text(source)
    if not modules:
        return run_warm(["-m", "unispeech_ft.cli", "doctor", *arguments], cwd=tmp_path, env=os.environ)
    return subprocess.run(
        [sys.executable, "-m", "unispeech_ft.cli", "doctor", *arguments],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"},
        capture_output=True,
        text=True,
        check=False,
    )


def raising(error):
    def look():
        raise error

    return look


def test_a_healthy_installation(tmp_path):
    ended = doctor(tmp_path, {}, "--json")
    assert ended.returncode == 0, ended.stderr
    checks = {check["name"]: check for check in json.loads(ended.stdout)}
    assert checks.keys() >= SHOWN
    for folder in ("cache folder", "run folder"):
        assert re.search(r"GiB free\).* takes [\d.]+ GiB", checks[folder]["value"])
    assert all(checks[name]["value"] for name in SHOWN)
    assert [check for check in checks.values() if check["fault"]] == []


@pytest.mark.long
@with_torchaudio
def test_a_torchaudio_that_does_not_match(tmp_path):
    error = 'raise OSError("libtorch_cuda.so: cannot open shared object file")'
    ended = doctor(tmp_path, {"torchaudio": error})
    assert ended.returncode == 2, "where it is there, Transformers imports it"
    lines = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert "torchaudio" in lines[0]
    assert "libtorch_cuda.so" in lines[0]
    assert lines[0].endswith(TORCH_REMEDY)
    assert "Traceback" not in ended.stderr + ended.stdout
    (shown,) = [line for line in ended.stdout.splitlines() if line.startswith("torchaudio ")]
    assert "BROKEN" in shown


def test_it_survives_whatever_imports_do(tmp_path):
    fakes = {
        "torch": "raise SystemExit(0)",
        "numpy": "import no_such_module",
        "pydantic": "raise RuntimeError('two\\nlines')",
        "tqdm": "print('noise')\nraise BaseException('odd')",
        "yaml": "1 / 0",
        "packaging": "raise ImportError('gone')",
    }
    ended = doctor(tmp_path, fakes, "--json")
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr
    checks = {check["name"]: check for check in json.loads(ended.stdout)}
    assert all(checks[name]["fault"] for name in ("torch", "numpy", "pydantic", "tqdm", "PyYAML"))
    assert checks["numpy"]["remedy"].startswith("python -m pip install ")


def test_probes_that_fail():
    probe = Probe("soxr", raising(OSError("a\n  b")), "mend", "install")
    (check,) = run_probe(probe, [])
    assert (check.fault, check.remedy, check.needed) == ("OSError: a b", "mend", True)
    (check,) = run_probe(Probe("soxr", raising(ModuleNotFoundError("no soxr")), "mend", "install"), [])
    assert check.remedy == "install"
    (check,) = run_probe(Probe("evaluate", raising(OSError("x")), "mend"), [])
    assert (check.needed, faults([check])) == (False, [])
    with pytest.raises(KeyboardInterrupt):
        run_probe(Probe("soxr", raising(KeyboardInterrupt()), "mend"), [])


def test_one_cause_is_told_once():
    torch = Check("torch", "2.12", "OSError: libx", "mend torch")
    (check,) = run_probe(Probe("accelerate", raising(OSError("libx")), "mend"), [torch])
    assert check.fault is not None
    assert "torch" in check.fault
    assert [error.remedy for error in faults([torch, check])] == ["mend torch"]
    assert run_probe(Probe("MP3", lambda: "works", "mend", after=("torch",)), [torch]) == []


@pytest.mark.parametrize(
    ("version", "ok"),
    [("2.11.0", True), ("2.12.1+cpu", True), ("2.10.0", False), ("2.13.0+cpu", False), ("2.15", False)],
)
def test_versions_outside_what_is_demanded(version, ok):
    check = version_check(Check("torch", version), Requirement("torch>=2.11,<2.13"), TORCH_REMEDY)
    assert (check.fault is None) is ok
    assert ok or version in check.fault
    assert check.remedy == (None if ok else TORCH_REMEDY)


@with_torchaudio
def test_remedies_are_commands_within_what_is_demanded():
    demanded = requirements() | requirements("torchaudio")
    assert demanded.keys() >= {"torch", "torchaudio", "soxr", "pydantic"}
    assert package_probe("torchaudio", "torchaudio", demanded["torchaudio"]).remedy == TORCH_REMEDY
    probe = package_probe("pydantic", "pydantic", Requirement("pydantic<3,>=2.12"))
    assert probe.missing_remedy == 'python -m pip install "pydantic>=2.12,<3"'
    assert probe.remedy == 'python -m pip install --force-reinstall --no-deps "pydantic>=2.12,<3"'
    for text in (demanded["torch"], demanded["torchaudio"]):
        assert all(str(part) in TORCH_REMEDY for part in text.specifier)


def test_the_extras_of_users_are_known_and_those_of_developers_are_not_asked_for():
    assert set(extras()) >= {"app", "av", "beam", "epitran", "features", "onnx", "ray", "torchaudio"}
    assert "dev" not in extras()
    assert requirements("beam").keys() == {"flashlight-text"}
    assert not requirements().keys() & {"pytest", "panphon", "flashlight-text", "torchaudio", "unispeech-ft"}
    assert module_of("PyYAML") == "yaml"


def test_the_table():
    table = format_checks([Check("torch", "2.12.1"), Check("soxr", None, "OSError: x", "mend")])
    assert table.splitlines() == ["torch  2.12.1", "soxr   -  BROKEN: OSError: x"]
