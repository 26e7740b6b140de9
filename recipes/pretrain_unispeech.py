"""The earlier name of `recipes/pretrain.py`."""

import runpy
from pathlib import Path

if __name__ == "__main__":
    runpy.run_path(str(Path(__file__).with_name("pretrain.py")), run_name="__main__")
