"""torchaudio is an extra: without it a model trains, transcribes and aligns."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from running import REPOSITORY
from warm import clean_environment

HIDDEN = """
import sys
sys.modules["torchaudio"] = None
from unispeech_ft.cli import main
import unispeech_ft
config, clip, speech, classes = sys.argv[1:]
def run(*words):
    try:
        main([str(word) for word in words])
    except SystemExit as ended:
        print("status", ended.code, flush=True)
run_of = unispeech_ft.train(config, {"schedule.updates": 2})
run("transcribe", run_of.model_dir, clip, "--json")
first = next(unispeech_ft.transcribe(run_of.model_dir, clip)).phones[:3]
run("align", run_of.model_dir, clip, "--json", "--phones", " ".join(item.phone for item in first))
run("evaluate", run_of.model_dir, "--config", config, "--split", "test", "--output", classes + ".eval")
run("targets", speech, "--out", classes)
assert "torchaudio" not in {name.partition(".")[0] for name, module in sys.modules.items() if module}
"""


@pytest.mark.long
def test_it_trains_transcribes_and_aligns(small_config, spoken_corpus, tmp_path):
    clip = next((spoken_corpus / "ky" / "clips").iterdir())
    words = [small_config, clip, spoken_corpus / "ky" / "clips", tmp_path / "classes"]
    environment = clean_environment()
    ended = subprocess.run(
        [sys.executable, "-c", HIDDEN, *words], cwd=REPOSITORY, env=environment, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    assert [line for line in ended.stdout.splitlines() if line.startswith("status")] == ["status 0"] * 3 + ["status 2"]
    said = [json.loads(line) for line in ended.stdout.splitlines() if line.startswith('{"path"')]
    assert [len(item["phones"]) > 0 for item in said] == [True, True], ended.stdout
    (fault,) = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert fault.startswith("error: a target of MFCC needs torchaudio"), fault
    assert fault.endswith("pip install 'unispeech-ft[torchaudio]'"), fault
