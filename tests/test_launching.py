from __future__ import annotations

import subprocess
import sys

from warm import clean_environment

from unispeech_ft.launching import VARIABLES


def test_the_command_sets_what_torch_reads_unless_the_user_has() -> None:
    code = """
import os, sys
from unispeech_ft import cli
try:
    cli.main(["--version"])
except SystemExit:
    print(*(os.environ[name] for name in sys.argv[1:]), "torch" in sys.modules)
"""
    kept = {name: value for name, value in clean_environment().items() if name not in VARIABLES}
    kept["GOMP_SPINCOUNT"] = "7"
    command = [sys.executable, "-c", code, *VARIABLES]
    shown = subprocess.run(command, env=kept, capture_output=True, text=True, check=True).stdout.splitlines()[-1]
    assert shown == "passive 7 1 False"
