"""Publishes a run: staged apart, checked, then sent in one commit, so that readers never meet half of it.

Tokens are huggingface_hub's affair: it finds them in its own login or in the environment. Nothing here reads, keeps
or prints one but the check that no published text holds it.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from unispeech_ft.config.sections import HubConfig
from unispeech_ft.errors import UserError
from unispeech_ft.files import run_folder
from unispeech_ft.hub.public import without_tokens
from unispeech_ft.hub.space import send_space, space_files
from unispeech_ft.hub.stage import no_room, run_snippet, stage
from unispeech_ft.hub.task_card import TaskCard
from unispeech_ft.hub.task_evidence import check_task_folder, stage_task
from unispeech_ft.hub.verify import check_folder
from unispeech_ft.runs.evidence import Evidence, Fault
from unispeech_ft.tasks.ctc_phoneme.config import CtcPhonemeConfig

if TYPE_CHECKING:
    from huggingface_hub import HfApi

Result = TypeVar("Result")

# What an earlier push may have left and this one does not bring again.
OURS = ("eval/*", "*.onnx", "*.onnx.data", "onnx.json", "*.safetensors", "*.safetensors.index.json")
LOGIN = "log in with `hf auth login`, or set HF_TOKEN to a token that may write"


@dataclass(frozen=True)
class PushOptions:
    """What to publish where; see `push`."""

    repo: str
    private: bool = True
    license_name: str | None = None
    sentences: bool = False
    onnx: bool = False
    space: bool = False


def repeat_command(run: Path, options: PushOptions) -> str:
    """The command that publishes the run again."""
    flags = {
        "--public": not options.private,
        "--onnx": options.onnx,
        "--sentences": options.sentences,
        "--space": options.space,
        f"--license {options.license_name}": options.license_name is not None,
    }
    return " ".join(["unispeech-ft push", str(run), options.repo, *(flag for flag, given in flags.items() if given)])


def check_access(repo: str) -> None:
    """Refuses early what no upload could mend: a name that is none, offline mode, no login.

    Raises:
        UserError: with what to do.
    """
    from huggingface_hub import constants, get_token
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise UserError(
            f"{repo!r} is no name of a repository ({str(error).splitlines()[0]})", remedy="write you/name"
        ) from None
    if constants.HF_HUB_OFFLINE:
        raise UserError("the Hub cannot be reached in offline mode", remedy="unset HF_HUB_OFFLINE, then repeat")
    if not get_token():
        raise UserError("nobody is logged in at the Hub", remedy=LOGIN)


def _answer_behind(error: BaseException) -> BaseException:
    """The fault that carries the Hub's answer, where another was raised from it; else the fault itself."""
    behind: BaseException | None = error
    while behind is not None and getattr(behind, "response", None) is None:
        behind = behind.__cause__
    return error if behind is None else behind


def _status_text(fault: BaseException) -> tuple[str, str]:
    """What happened, and what to do, for an answer of the Hub or the lack of one."""
    error = _answer_behind(fault)
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    said = getattr(error, "server_message", None) or getattr(response, "reason_phrase", None) or ""
    answer = without_tokens(" ".join(f"{status} {said}".split()))[:200]
    if status in (401, 403):
        return f"the Hub refused ({answer})", f"check that your account may write there; {LOGIN}"
    if status == 404:
        return f"the Hub knows no such repository, or hides it ({answer})", LOGIN
    if status in (402, 413, 507):
        return f"the Hub has no room for it ({answer})", "free some of your storage there"
    if status is not None:
        return f"the Hub answered with an error ({answer})", "wait a little"
    if isinstance(error, OSError) and no_room(error):
        return "no space is left on this machine", "free some, or set TMPDIR to a folder with room"
    reason = without_tokens(" ".join(str(error).split()) or type(error).__name__)[:200]
    return f"the upload failed ({type(error).__name__}: {reason})", "check the connection"


def _guarded(
    step: str,
    run: Path,
    options: PushOptions,
    work: Callable[[], Result],
    left: str = "Nothing was published by this push",
) -> Result:
    """Does a part of the push; whatever goes wrong becomes one clear fault, which says what is `left` of it."""
    try:
        return work()
    except UserError as error:
        if not isinstance(error.__cause__, OSError):
            raise
        what, remedy = _status_text(error.__cause__)
    except Exception as error:
        what, remedy = _status_text(error)
    if sys.stderr.isatty():
        print(file=sys.stderr)  # a progress bar may still stand in this line
    raise UserError(
        f"{step} {options.repo}: {what}. {left}, and the run in {run} is as it was",
        remedy=f"{remedy}, then repeat `{repeat_command(run, options)}`",
    )


def _refuse_public(api: HfApi, options: PushOptions, kind: str | None = None) -> None:
    """Refuses a public repository (or Space) where a private one was asked for; one that is not there is none."""
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        is_private = api.repo_info(options.repo, repo_type=kind).private
    except RepositoryNotFoundError:
        return
    if options.private and not is_private:
        raise UserError(
            f"{'the Space ' if kind else ''}{options.repo} is public already, so nothing was published",
            remedy="add --public (hub.private false), make it private in its settings, or choose another name",
        )


def _open_repository(api: HfApi, options: PushOptions) -> None:
    if options.space:
        _refuse_public(api, options, "space")
    api.create_repo(options.repo, private=options.private, exist_ok=True)
    _refuse_public(api, options)


def _send(api: HfApi, folder: Path, options: PushOptions) -> str:
    """One commit of everything that changed, with what an earlier push left and this one lacks removed."""
    from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete

    files = {file.relative_to(folder).as_posix(): file for file in sorted(folder.rglob("*")) if file.is_file()}
    there = api.list_repo_files(options.repo)
    stale = [name for name in there if name not in files and any(fnmatch(name, pattern) for pattern in OURS)]
    operations: list[CommitOperationAdd | CommitOperationCopy | CommitOperationDelete] = [
        *(CommitOperationDelete(path_in_repo=name) for name in stale),
        *(CommitOperationAdd(path_in_repo=name, path_or_fileobj=file) for name, file in files.items()),
    ]
    api.create_commit(options.repo, operations, commit_message="Publish the model with its evidence")
    return f"{api.endpoint}/{options.repo} ({'private' if api.repo_info(options.repo).private else 'public'})"


def _staged(run: Path, folder: Path, options: PushOptions) -> Evidence:
    evidence = stage(
        run,
        folder,
        repo=options.repo,
        private=options.private,
        license_name=options.license_name,
        sentences=options.sentences,
        onnx=options.onnx,
    )
    _refuse(check_folder(folder).faults)
    return evidence


def _stage_task(run: Path, folder: Path, options: PushOptions, card: TaskCard) -> None:
    if options.onnx or options.sentences or options.space:
        raise UserError("--onnx, --sentences and --space are of phone recognition", remedy="leave them out")
    stage_task(run, folder, card, repo=options.repo, license_name=options.license_name)
    _refuse(check_task_folder(folder, card).faults)


def _refuse(faults: Sequence[Fault]) -> None:
    if faults:
        listed = "; ".join(f"{fault.name}: {fault.found}" for fault in faults)
        raise UserError(
            f"the run contradicts itself, so nothing was published ({listed})",
            remedy="score it again (`unispeech-ft evaluate`)",
        )


def push(run: Path, options: PushOptions, card: TaskCard | None = None) -> str:
    """Publishes a run on the Hub, or what has changed of it.

    Args:
        run: a run directory, or its model folder; it is only read.
        card: of its task; None for phone recognition.
        options: `private` counts for a new repository; an existing public one is refused unless it is False.

    Returns:
        The address of the repository, and who can see it; with `space`, that of the Space too.

    Raises:
        UserError: the run is incomplete or contradicts itself, or the Hub or the disk refuses.
    """
    check_access(options.repo)
    run = run_folder(run)
    if not sys.stderr.isatty():
        from huggingface_hub.utils.tqdm import disable_progress_bars

        disable_progress_bars()
    new_folder = partial(tempfile.TemporaryDirectory, prefix="unispeech-ft-push-")
    with _guarded("staging for", run, options, new_folder) as place:
        folder = Path(place)
        if card is None:
            evidence = _guarded("staging for", run, options, lambda: _staged(run, folder, options))
            _guarded("staging for", run, options, lambda: run_snippet(folder, evidence))
        else:
            _guarded("staging for", run, options, lambda: _stage_task(run, folder, options, card))
        from huggingface_hub import HfApi

        api = HfApi()
        _guarded("creating", run, options, lambda: _open_repository(api, options))
        sent = _guarded("uploading to", run, options, lambda: _send(api, folder, options))
        if card is not None or not options.space:
            return sent
        files = space_files(evidence, options.repo)
        left = "The model is published, its Space is not"
        space = _guarded(
            "making a Space of", run, options, lambda: send_space(api, options.repo, files, options.private), left
        )
        return f"{sent}, {space}"


def options_of(config: CtcPhonemeConfig) -> PushOptions:
    """What `hub` of a configuration asks for."""
    return PushOptions(str(config.hub.repo), config.hub.private, config.hub.license)


def check_hub(hub: HubConfig) -> None:
    """Before a run that will push: whether it could. Raises UserError as `check_access`."""
    if hub.push:
        check_access(str(hub.repo))


def push_if_asked(config: CtcPhonemeConfig, is_main_process: bool) -> None:
    """After a run, everything saved: publishes it where `hub.push` says so, from the main process.

    Raises:
        UserError: as `push`; the run is complete on disk all the same.
    """
    if config.hub.push and is_main_process:
        print(f"published: {push(Path(config.output_dir), options_of(config))}")
