"""Serves the page on this machine alone."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from unispeech_ft.app.workspace import Workspace
from unispeech_ft.errors import UserError
from unispeech_ft.extras import optional

# Read when gradio is imported: nothing is reported, and nothing is fetched.
QUIET = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1"}


def serve(folder: Path, port: int | None = None, *, in_browser: bool = False) -> None:
    """Answers 127.0.0.1 until Ctrl-C or SIGTERM; a training that runs is stopped then, and saved.

    Args:
        folder: of the page; made where it is missing.
        port: None for the first that is free from 7860.

    Raises:
        UserError: gradio is not installed, the folder cannot be written, or the port is taken.
    """
    root = folder.expanduser().resolve()
    os.environ.update(QUIET | {"GRADIO_TEMP_DIR": str(root / "uploads")})
    optional("gradio", "app", "the page")
    try:
        (root / "uploads").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror})", remedy="name another folder") from None
    from unispeech_ft.app.page import build, look
    from unispeech_ft.app.training import Trainings

    # Started in the background, a process ignores SIGINT, and so would the trainings that it starts.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    trainings = Trainings(Workspace(root))
    page = build(trainings.workspace, trainings).queue(default_concurrency_limit=1)
    try:
        _, address, _ = page.launch(
            server_name="127.0.0.1",
            server_port=port,
            inbrowser=in_browser,
            share=False,
            quiet=True,
            prevent_thread_lock=True,
            allowed_paths=[str(root)],
            show_error=True,
            footer_links=[],
            **look(),
        )
    except OSError as error:
        raise UserError(f"no page at port {port or 7860} ({error})", remedy="name another with --port") from None
    print(f"{address}  (folder: {folder}; Ctrl-C ends it)", flush=True)
    try:
        page.block_thread()
    finally:
        if trainings.running():
            trainings.stop()
