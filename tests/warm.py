"""Programs in processes of their own, without the seconds that importing torch and Transformers takes each time.

A server imports the libraries once and forks a process for each program, which gets arguments, folder, environment and
files for its output as a new interpreter would, and ends as one. What the libraries read while they are imported is
the server's: the environment of `clean_environment`. Where another one matters, `fresh` names the libraries
that the program is to import anew, and with them ours.
"""

from __future__ import annotations

import atexit
import functools
import gc
import importlib
import importlib.util
import io
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

LIBRARIES = (
    "torch.distributed.run",
    "transformers.models.unispeech.modeling_unispeech",
    "transformers.models.wavlm.modeling_wavlm",
    "transformers.models.hubert.modeling_hubert",
    "accelerate",
    "datasets",
    "scipy.stats",
    "soundfile",
    "soxr",
    "jinja2",
    "unispeech_ft.recipes.ctc_phoneme",
    *(name for name in ("torchaudio", "panphon") if importlib.util.find_spec(name)),  # extras
)


def clean_environment() -> dict[str, str]:
    """This process's environment without launchers' leftovers, offline."""
    foreign = ("ACCELERATE_", "RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_", "OMP_NUM_THREADS")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
    return kept | {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "TOKENIZERS_PARALLELISM": "false"}


def run_warm(
    words: Sequence[object],
    *,
    cwd: Path,
    env: Mapping[str, str],
    processes: int = 1,
    fresh: Sequence[str] = (),
    timeout_s: float = 300,
) -> subprocess.CompletedProcess[str]:
    """Runs `python WORDS`: `-c CODE …`, `-m MODULE …` or `SCRIPT …`; in several processes as torchrun starts them."""
    words = [str(word) for word in words]
    with tempfile.TemporaryDirectory() as folder:
        said = [Path(folder) / name for name in ("stdout", "stderr")]
        ranks = [dict(env) | variables for variables in _ranks(processes)]
        request = {"words": words, "fresh": fresh, "cwd": str(cwd), "ranks": ranks, "said": list(map(str, said))}
        code = _server().ask(request | {"timeout_s": timeout_s})
        out, err = (file.read_text(encoding="utf-8", errors="replace") for file in said)
    return subprocess.CompletedProcess(words, code, out, err)


def run_script(*words: object) -> subprocess.CompletedProcess[str]:
    """Runs `SCRIPT WORDS` in this process; the Python programs that it starts are forked."""
    command = [str(word) for word in words]

    def run(started: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
        assert started[0] == sys.executable
        env = options.get("env") or clean_environment()
        done = run_warm(started[1:], cwd=Path(options.get("cwd") or os.getcwd()), env=env)
        if not options.get("capture_output"):
            (options.get("stdout") or sys.stdout).write(done.stdout + done.stderr)
        return done

    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", command)
        patch.setattr(subprocess, "run", run)
        try:
            runpy.run_path(command[0], run_name="__main__")
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
    return subprocess.CompletedProcess(command, code, out.getvalue(), err.getvalue())


def _ranks(processes: int) -> list[dict[str, str]]:
    if processes == 1:
        return [{}]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes), "OMP_NUM_THREADS": "1"}
    shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return [shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(processes)]


class _Server:
    def __init__(self) -> None:
        from unispeech_ft.launching import VARIABLES

        self.process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=VARIABLES | clean_environment(),
        )
        atexit.register(self.process.terminate)

    def ask(self, request: Mapping[str, object]) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


@functools.cache
def _server() -> _Server:
    return _Server()


def _serve() -> None:
    """Answers requests; in a forked process, runs the program instead."""
    for name in LIBRARIES:
        importlib.import_module(name)
    if "panphon" in LIBRARIES:
        from unispeech_ft.phonemes.articulatory import feature_table

        feature_table()
    gc.collect()
    gc.freeze()
    requests, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in requests:
        request = json.loads(line)
        children = [_fork(request, environment) for environment in request["ranks"]]
        answers.write(f"{_wait(children, request['timeout_s'])}\n")
        answers.flush()


def _fork(request: Mapping[str, Any], environment: Mapping[str, str]) -> int:
    child = os.fork()
    if not child:
        try:
            _become(request, environment)
        except BaseException as error:
            _end(error)
        _end(None)
    return child


def _wait(children: list[int], timeout_s: float) -> int:
    """The exit status; once one has failed or the time is over, the others are killed, as torchrun does."""
    several, failed, ends = len(children) > 1, 0, time.monotonic() + timeout_s
    while children:
        for child in list(children):
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                children.remove(child)
                failed = failed or os.waitstatus_to_exitcode(status)
        if children and (failed or time.monotonic() > ends):
            failed = failed or -signal.SIGKILL
            for child in children:
                os.killpg(child, signal.SIGKILL)
        time.sleep(0.005)
    return 1 if several and failed else failed


def _become(request: Mapping[str, Any], environment: Mapping[str, str]) -> None:
    os.setpgid(0, 0)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(str(request["cwd"]))
    for library in ("multiprocessing", "multiprocess"):  # where a relative script's own processes look for it
        importlib.import_module(f"{library}.process").__dict__["ORIGINAL_DIR"] = os.getcwd()
    for number, name in enumerate(request["said"], start=1):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdin = os.fdopen(0, closefd=False)
    if "OMP_NUM_THREADS" in environment:
        import torch

        torch.set_num_threads(int(environment["OMP_NUM_THREADS"]))
    fresh = {*request["fresh"], "unispeech_ft"} if request["fresh"] else ()
    for name in [name for name in sys.modules if name.partition(".")[0] in fresh]:
        del sys.modules[name]
    paths = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    sys.path[1:1] = [path for path in paths if path not in sys.path]
    kind, *rest = request["words"]
    sys.path[0] = "" if kind in ("-c", "-m") else str(Path(kind).resolve().parent)
    if kind == "-c":
        sys.argv = ["-c", *rest[1:]]
        exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})
    elif kind == "-m":
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = [kind, *rest]
        runpy.run_path(kind, run_name="__main__")


def _end(error: BaseException | None) -> None:
    """Ends as an interpreter does, but leaves freeing its memory to the system, which takes seconds less."""
    code = 0
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
    elif error is not None:
        traceback.print_exception(error)
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    _serve()
