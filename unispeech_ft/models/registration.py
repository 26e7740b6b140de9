"""Makes `AutoModel.from_pretrained` know our model classes once `unispeech_ft` is imported, in either order.

Transformers takes seconds to import, so it is not imported here. Where its table of configurations stands already, ours
are put into it at once; otherwise this waits, with a finder that stands aside for the one import that makes the table.
The networks follow when a configuration of ours is made (`ils_config`), so users of other models never pay for them.
"""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

TABLE = "transformers.models.auto.configuration_auto"


class _Waiting:
    """A finder of modules that finds none, but adds `register_configurations` to the import of `TABLE`."""

    @classmethod
    def find_spec(cls, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name != TABLE:
            return None
        sys.meta_path.remove(cls)
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def execute_and_register(module: ModuleType) -> None:
            execute(module)
            register_configurations()

        spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return spec


def register_configurations() -> None:
    """Tells `AutoConfig` of our model types; imports Transformers. A second time changes nothing."""
    from transformers import AutoConfig

    from unispeech_ft.models.ils_config import IlsHubertConfig, IlsWavLMConfig

    for config in (IlsHubertConfig, IlsWavLMConfig):
        AutoConfig.register(config.model_type, config, exist_ok=True)


def register_when_needed() -> None:
    """Registers now where Transformers' table stands, else as soon as somebody imports it."""
    if TABLE in sys.modules:
        register_configurations()
    elif _Waiting not in sys.meta_path:
        sys.meta_path.insert(0, _Waiting)
