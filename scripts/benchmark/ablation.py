"""What each part brings: our side against itself with one part switched off."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from benchmark.measure import Figure, alternate, ratio
from benchmark.ours import Ours, quiet_accelerator
from benchmark.run import Effort
from benchmark.setting import Setting, write_model
from unispeech_ft.config.overrides import parse_overrides
from unispeech_ft.errors import raise_all

# Name → the overrides that switch a part off.
SWITCHES = {
    "feature cache": ["--training.cache_features", "false"],
    "fused optimizer": ["--training.fused_optimizer", "false"],
}


def ablate(setting: Setting, effort: Effort) -> dict[str, tuple[Figure, Figure]]:
    """Speed of training and of the frozen phase without each part, as a share of the speed with all of them."""
    write_model(setting)
    accelerator = quiet_accelerator(setting)
    whole = Ours(setting, accelerator)
    found = {}
    for name, words in SWITCHES.items():
        overrides, _, faults = parse_overrides(words)
        raise_all(faults)
        without = Ours(replace(setting, overrides=(*setting.overrides, *overrides.items())), accelerator)
        shares = []
        for frozen in (False, True):
            for side in (whole, without):
                side.train(2, frozen=frozen)
            sides = {
                side_name: partial(side.train, effort.updates, frozen=frozen)
                for side_name, side in (("whole", whole), ("without", without))
            }
            blocks = alternate(sides, effort.rounds)
            shares.append(ratio(blocks["without"], blocks["whole"]))
        found[name] = (shares[0], shares[1])
    return found
