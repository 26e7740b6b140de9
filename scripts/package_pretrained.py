"""Put a pre-trained miniature model into the package, as the start of the demo.

python recipes/pretrain.py --config configs/pretrain/demo.yaml
python scripts/package_pretrained.py runs/pretrain/demo demo
"""

from __future__ import annotations

import argparse
from pathlib import Path

from unispeech_ft.config.reading import read_config, to_yaml
from unispeech_ft.errors import UserError, run_command
from unispeech_ft.models.loader import PACKAGED_FOLDER
from unispeech_ft.tasks.pretraining.config import FILE
from unispeech_ft.testing.pretrained import package, provenance

COMMAND = (
    "python scripts/make_demo_corpus.py data/miniature/pretraining --languages en ky --hours 1 --dev-hours 0.06"
    " --test-hours 0.01 --seed 101",
    "python recipes/pretrain.py --config configs/pretrain/{name}.yaml",
    "python scripts/package_pretrained.py runs/pretrain/{name} {name}",
)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run directory of configs/pretrain/NAME.yaml")
    parser.add_argument("name", help="the model's name in `model.base: packaged:NAME`")
    parser.add_argument("--folder", type=Path, default=PACKAGED_FOLDER)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    file = arguments.run / "config.yaml"
    if not file.is_file():
        raise UserError(f"{arguments.run} is no run: it has no config.yaml", remedy="name a run directory")
    config = read_config(FILE, file, {})
    command = "\n".join(line.format(name=arguments.name) for line in COMMAND)
    said = provenance(config, command)
    # The places of this machine are nobody's business; the command's own stand for them.
    places = {
        "output_dir": f"runs/pretrain/{arguments.name}",
        "data": config.data.model_copy(update={"root": "data/miniature/pretraining", "cache_dir": "runs/cache"}),
    }
    size = package(
        arguments.run / "model", to_yaml(config.model_copy(update=places)), said, arguments.folder / arguments.name
    )
    print(f"packaged:{arguments.name}, {size / 1e6:.1f} MB, {said.clips} clips of {len(said.speakers)} voices")


if __name__ == "__main__":
    run_command(main)
