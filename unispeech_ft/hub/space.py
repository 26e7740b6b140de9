"""A demo Space beside a published model: a page on the Hub that writes down the phones of what is said to it."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from unispeech_ft.hub.card import is_conditioned, needs_this_package, templates
from unispeech_ft.runs.evidence import Evidence

if TYPE_CHECKING:
    from huggingface_hub import HfApi

REQUIREMENTS = ("torch", "transformers", "librosa")
# Of the page that was tried; the Hub installs it.
GRADIO = "6.10.0"


def space_files(evidence: Evidence, repo: str) -> dict[str, str]:
    """The files of the Space by name.

    Args:
        evidence: of the run that was published.
        repo: the model on the Hub.
    """
    ours = needs_this_package(evidence)
    packages = [f"{name}=={version(name)}".split("+")[0] for name in REQUIREMENTS] + ["unispeech-ft"] * ours
    front = ["---", f"title: {repo.split('/')[-1]}", "sdk: gradio", f"sdk_version: {GRADIO}", "app_file: app.py"]
    front += ["models:", f"- {repo}", "---", ""]
    said = f"Say something, and [{repo}](/{repo}) writes down its phones. `app.py` is the whole page.\n"
    page = (
        templates().get_template("space.py.jinja").render(model=repo, ours=ours, conditioned=is_conditioned(evidence))
    )
    return {
        "README.md": "\n".join(front) + "\n" + said,
        "requirements.txt": "\n".join(packages) + "\n",
        "app.py": page + "\n",
    }


def send_space(api: HfApi, repo: str, files: dict[str, str], private: bool) -> str:
    """One commit of the Space's files, which is made where there is none; returns its address."""
    from huggingface_hub import CommitOperationAdd

    api.create_repo(repo, repo_type="space", space_sdk="gradio", private=private, exist_ok=True)
    operations = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=text.encode()) for name, text in files.items()]
    api.create_commit(repo, operations, commit_message="Show the model", repo_type="space")
    return f"{api.endpoint}/spaces/{repo}"
