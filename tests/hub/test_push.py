"""`unispeech-ft push` against a Hub on loopback: the round trip, one history, failures, and no token anywhere."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import soundfile
from hub.loopback import LoopbackHub, Repository
from hub.publishing import REPO, TOKEN, snapshot
from running import RECIPE, REPOSITORY
from warm import run_warm

import unispeech_ft
from unispeech_ft.config.reading import read_yaml

Client = Callable[..., subprocess.CompletedProcess[str]]

# The first program of the card has its own test; here it would only take time.
NO_SNIPPET = "import unispeech_ft.hub.push as p; p.run_snippet = lambda *_: None"
NO_SPACE = """
import errno, unispeech_ft.hub.stage as s
def full(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")
s.write_results = full
"""
FRESH = """
import json, sys
heard = {}
for number, program in enumerate(json.loads(sys.argv[1])):
    import builtins
    heard[number] = []
    keep = heard[number].append
    exec(program, {"print": keep})
ours = [name for name in sys.modules if name.startswith("unispeech_ft")]
print(json.dumps({"heard": [str(said[0]) for said in heard.values()], "ours": ours}))
"""


def leaks(folder: Path) -> list[str]:
    """Files below a folder that hold the token."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return [str(path) for path in files if TOKEN.encode() in path.read_bytes() or TOKEN in path.name]


@pytest.mark.long
def test_the_round_trip(client: Client, server: LoopbackHub, online, home, small_run, spoken_corpus, small_config):
    before = snapshot(small_run.output_dir)
    pushed = client("push", small_run.model_dir, REPO, "--sentences", "--onnx")
    assert pushed.returncode == 0, pushed.stderr
    assert f"published: {server.address}/{REPO} (private)" in pushed.stdout
    repository = server.state.repositories[REPO]
    assert repository.private
    assert len(repository.commits) == 2, "the empty one, and one with everything"
    assert set(repository.files) == {
        *("README.md", "config.json", "config.yaml", "environment.json", "training.json", "vocab.json"),
        *("model.safetensors", "preprocessor_config.json", "processor_config.json", "tokenizer_config.json"),
        *(f"eval/{split}/{name}" for split in ("test", "validation") for name in ("summary.json", "hypotheses.jsonl")),
        *("eval/test/sentences.jsonl", "eval/validation/sentences.jsonl", "model.onnx", "onnx.json"),
    }
    sentence = json.loads(repository.files["eval/test/sentences.jsonl"].decode().splitlines()[0])
    assert set(sentence) == {"id", "sentence"}
    assert " " in sentence["sentence"]

    verified = client("verify", REPO, "--config", small_config)
    assert (verified.returncode, verified.stdout) == (0, "true\n"), verified.stderr
    said = plain_transformers(repository.files["README.md"].decode(), online, home, spoken_corpus)
    phones = next(unispeech_ft.transcribe(small_run.model_dir, home / "clip.wav")).phones
    assert said == [" ".join(item.phone for item in phones)] * 2

    again = client("push", small_run.output_dir, REPO, setup=NO_SNIPPET)
    assert again.returncode == 0, again.stderr
    assert len(repository.commits) == 3
    assert not [name for name in repository.files if "sentences" in name or "onnx" in name], "nothing stale stays"
    assert b"onnx" not in repository.files["README.md"]
    assert client("push", small_run.output_dir, REPO, setup=NO_SNIPPET).returncode == 0
    assert len(repository.commits) == 3, "nothing has changed, so there is nothing to commit"
    assert list(server.state.repositories) == [REPO]
    assert len(server.state.blobs) == 2, "weights and graph were sent once"
    assert snapshot(small_run.output_dir) == before
    assert server.state.tokens == {TOKEN}
    assert leaks(home) == []
    assert not any(TOKEN in text for text in (pushed.stdout, pushed.stderr, again.stdout, again.stderr))
    assert not any(TOKEN.encode() in content for content in repository.files.values())


@pytest.mark.long
def test_a_space_shows_the_model(client: Client, server: LoopbackHub, small_run, home, online) -> None:
    pushed = client("push", small_run.model_dir, REPO, "--space", setup=NO_SNIPPET)
    assert pushed.returncode == 0, pushed.stderr
    assert f"{server.address}/spaces/{REPO}" in pushed.stdout
    space = server.state.repositories[f"spaces/{REPO}"]
    assert space.private
    assert set(space.files) == {"README.md", "app.py", "requirements.txt"}
    assert f"models:\n- {REPO}\n" in space.files["README.md"].decode()
    program = space.files["app.py"].decode().replace(").launch()", ")") + "\nimport soundfile, numpy\n"
    program += 'soundfile.write("clip.wav", numpy.random.default_rng(0).normal(scale=0.1, size=16_000), 16_000)\n'
    program += 'print("heard:", phones("clip.wav"))\n'
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=home, env=online, capture_output=True, text=True, check=False
    )
    assert "heard:" in ran.stdout, ran.stderr[-2000:]


def test_a_public_space_is_refused_before_anything_is_sent(client: Client, server: LoopbackHub, small_run) -> None:
    server.state.repositories[f"spaces/{REPO}"] = public = Repository(private=False)
    refused = client("push", small_run.model_dir, REPO, "--space", setup=NO_SNIPPET)
    assert refused.returncode == 2
    assert f"the Space {REPO} is public already, so nothing was published" in refused.stderr
    assert list(server.state.repositories) == [f"spaces/{REPO}"], "no model is published beside it"
    assert public.files == {}
    assert client("push", small_run.model_dir, REPO, "--space", "--public", setup=NO_SNIPPET).returncode == 0
    assert "app.py" in public.files


def test_the_licence_of_the_base_model_is_looked_up(client: Client, server: LoopbackHub, online) -> None:
    card = b"---\nlicense: cc-by-nc-4.0\n---\n# Encoder\n"
    server.state.repositories["someone/encoder"] = Repository(False, [{"README.md": card}])
    program = "from unispeech_ft.hub.base_license import base_license; print(base_license(f'someone/{name}'))"
    for name, license_name in (("encoder", "cc-by-nc-4.0"), ("none", "None")):
        code = f"name = {name!r}; {program}"
        ran = run_warm(["-c", code], cwd=REPOSITORY, env=online, fresh=["huggingface_hub"])
        assert ran.stdout.strip() == license_name, ran.stderr


def test_a_space_that_fails_leaves_the_model(client: Client, server: LoopbackHub, small_run) -> None:
    server.state.fail["space_commit"] = 500
    pushed = client("push", small_run.model_dir, REPO, "--space", setup=NO_SNIPPET)
    assert pushed.returncode == 2
    assert "making a Space of" in pushed.stderr
    assert "The model is published, its Space is not" in pushed.stderr
    assert "--space`" in pushed.stderr
    assert "model.safetensors" in server.state.repositories[REPO].files


def plain_transformers(card: str, online: dict[str, str], home: Path, corpus: Path) -> list[str]:
    """What the programs of a card say in an interpreter that has never heard of this package."""
    clip = next((corpus / "ky" / "clips").glob("*.mp3"))
    soundfile.write(home / "clip.wav", *soundfile.read(clip, dtype="float32"))
    programs = [program for program in re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL) if REPO in program]
    assert len(programs) == 2
    finished = subprocess.run(
        [sys.executable, "-c", FRESH, json.dumps(programs)],
        cwd=home,
        env=online,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr[-3000:]
    said = json.loads(finished.stdout.splitlines()[-1])
    assert said["ours"] == []
    # A model of two updates still emits rows that stand for no phone, which plain transformers write out.
    return [re.sub(r" *<(unk|s|/s)>", "", text).strip() for text in said["heard"]]


@pytest.mark.parametrize(
    ("fail", "reason"),
    [
        ({"put": 500}, "the Hub answered with an error (500"),
        ({"commit": 503}, "the Hub answered with an error (503"),
        ({"create": 403}, "the Hub refused (403"),
        ({"commit": 403}, "the Hub refused (403"),
        ({"preupload": 401}, "the Hub refused (401"),
        ({"put": 507}, "the Hub has no room for it (507"),
        ({"yaml": 500}, "the Hub answered with an error (500"),
    ],
)
def test_a_failed_push_can_be_repeated(fail, reason, client: Client, server, home, small_run):
    before = snapshot(small_run.output_dir)
    server.state.fail = dict(fail)
    failed = client("push", small_run.output_dir, REPO, setup=NO_SNIPPET)
    faults = [line for line in failed.stderr.splitlines() if line.startswith("error: ")]
    assert failed.returncode == 2
    assert "Traceback" not in failed.stderr
    assert len(faults) == 1, failed.stderr
    assert reason in faults[0]
    assert f"the run in {small_run.output_dir} is as it was" in faults[0]
    assert f"repeat `unispeech-ft push {small_run.output_dir} {REPO}`" in faults[0]
    assert TOKEN not in failed.stdout + failed.stderr
    assert leaks(home) == []
    assert snapshot(small_run.output_dir) == before
    repository = server.state.repositories.get(REPO)
    assert repository is None or repository.files == {}, "half a model is never seen"
    if fail in ({"put": 500}, {"commit": 403}):
        server.state.fail = {}
        assert client("push", small_run.output_dir, REPO, setup=NO_SNIPPET).returncode == 0
        assert len(server.state.repositories[REPO].commits) == 2


def test_a_full_disk(client: Client, server, home, small_run):
    before = snapshot(small_run.output_dir)
    failed = client("push", small_run.output_dir, REPO, setup=NO_SPACE)
    assert failed.returncode == 2
    assert "no space is left on this machine" in failed.stderr
    assert f"the run in {small_run.output_dir} is as it was" in failed.stderr
    assert server.state.requests == []
    assert snapshot(small_run.output_dir) == before
    assert list((home / "tmp").iterdir()) == []


def test_refused_before_anything_is_sent(client: Client, server, small_run, tmp_path):
    for words, variables, reason in (
        ((small_run.output_dir, "some/one/else"), {}, "is no name of a repository"),
        ((small_run.output_dir, REPO), {"HF_TOKEN": ""}, "nobody is logged in"),
        ((small_run.output_dir, REPO), {"HF_HUB_OFFLINE": "1"}, "offline mode"),
        ((tmp_path, REPO), {}, "has no model/config.json"),
    ):
        failed = client("push", *words, **variables)
        assert (failed.returncode, failed.stdout) == (2, "")
        assert reason in failed.stderr
        assert "Traceback" not in failed.stderr
    assert server.state.requests == []


def test_nothing_private_goes_into_a_public_repository(client: Client, server, small_run):
    public = client("push", small_run.output_dir, REPO, "--public", "--license", "cc0-1.0", setup=NO_SNIPPET)
    assert public.returncode == 0, public.stderr
    assert "(public)" in public.stdout
    repository = server.state.repositories[REPO]
    assert not repository.private
    assert b"license: cc0-1.0" in repository.files["README.md"]
    refused = client("push", small_run.output_dir, REPO, setup=NO_SNIPPET)
    assert refused.returncode == 2
    assert "is public already, so nothing was published" in refused.stderr
    assert len(repository.commits) == 2


def recipe(config: Path, online: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    """The recipe, logged in at the loopback Hub; a failing Hub is not waited for."""
    program = (
        "import sys, runpy; import huggingface_hub.utils._http as h; h.time.sleep = lambda s: None;"
        f" {NO_SNIPPET};"
        " sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    arguments = ["-c", program, RECIPE, "--config", config, *words]
    return run_warm(arguments, cwd=REPOSITORY, env=online, fresh=["huggingface_hub"])


def test_a_run_that_publishes_itself(client: Client, server, online, home, small_config, small_run):
    """Everything that the run and its push write is searched for the token; a failed push loses nothing."""
    overrides: dict[str, Any] = {
        "output_dir": home / "run",
        "data.cache_dir": home / "cache",
        "schedule.updates": 1,
        "tracking.trackers": "[tensorboard]",
        "hub.push": "true",
        "hub.repo": REPO,
    }
    words = [word for key, value in overrides.items() for word in (f"--{key}", str(value))]
    server.state.fail = {"commit": 500}
    failed = recipe(small_config, online, *words)
    assert failed.returncode == 2, failed.stderr[-3000:]
    assert f"repeat `unispeech-ft push {home / 'run'} {REPO}`" in failed.stderr
    assert "test PER" in failed.stdout
    for name in ("model/model.safetensors", "model/README.md", "training.json", "eval/test/summary.json"):
        assert (home / "run" / name).is_file(), name
    server.state.fail = {}
    repeated = client("push", home / "run", REPO, setup=NO_SNIPPET)
    assert repeated.returncode == 0, repeated.stderr
    repository = server.state.repositories[REPO]
    assert repository.private

    assert leaks(home) == []
    for said in (failed, repeated):
        assert TOKEN not in said.stdout + said.stderr
    published = b"".join(repository.files.values())
    for secret in (TOKEN, str(home), str(small_config), str(REPOSITORY)):
        assert secret.encode() not in published
    (home / "config.yaml").write_bytes(repository.files["config.yaml"])
    values, _ = read_yaml(home / "config.yaml")
    assert values["hub"] == {"push": False, "repo": REPO, "private": True, "license": None, "base_license": None}
    assert "recipes/ctc_phoneme.py --config small.yaml" in repository.files["README.md"].decode()


def test_a_run_that_could_not_publish_does_not_start(online, home, small_config):
    words = ("--output_dir", str(home / "run"), "--hub.push", "true", "--hub.repo", REPO)
    failed = recipe(small_config, {**online, "HF_TOKEN": ""}, *words)
    assert failed.returncode == 2
    assert "nobody is logged in" in failed.stderr
    assert not (home / "run").exists()


def test_training_from_python_publishes_too(small_config, tmp_path, monkeypatch):
    import unispeech_ft.hub.push as hub_push

    pushed = []
    monkeypatch.setattr(hub_push, "check_access", lambda repo: None)
    monkeypatch.setattr(hub_push, "push", lambda run, options: pushed.append((run, options)) or "there")
    overrides = {"output_dir": str(tmp_path / "run"), "schedule.updates": 1, "hub.push": True, "hub.repo": REPO}
    unispeech_ft.train(small_config, overrides)
    assert pushed == [(tmp_path / "run", hub_push.PushOptions(REPO, private=True))]


def test_a_model_that_plain_transformers_cannot_use(client: Client, server, small_run, tmp_path):
    run = Path(shutil.copytree(small_run.output_dir, tmp_path / "broken"))
    (run / "model" / "vocab.json").unlink()
    failed = client("push", run, REPO)
    assert failed.returncode == 2
    assert "plain transformers cannot use the model, so nothing was published" in failed.stderr
    assert server.state.requests == []


def test_a_run_that_contradicts_itself(client: Client, server, small_run, tmp_path):
    run = Path(shutil.copytree(small_run.output_dir, tmp_path / "bent"))
    shutil.copy(run / "eval" / "validation" / "summary.json", run / "eval" / "test" / "summary.json")
    failed = client("push", run, REPO, setup=NO_SNIPPET)
    assert failed.returncode == 2
    assert "the run contradicts itself, so nothing was published (split:" in failed.stderr
    assert server.state.requests == []
