"""Makes `AutoModel.from_pretrained` know our model classes once `unispeech_ft` is imported, in either order.

Transformers takes seconds to import, so it is not imported here. Where its table of configurations stands already, ours
are put into it at once; otherwise this waits, with a finder that stands aside for the one import that makes the table.
While that import runs, modules of Transformers are half made, so only placeholders enter the table; the first use of
one imports `models.ils`, which puts the classes themselves in their place.
"""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from unispeech_ft.models.families import ILS_HUBERT, ILS_WAVLM

TABLE = "transformers.models.auto.configuration_auto"
CONFIGURATIONS = {ILS_HUBERT: "IlsHubertConfig", ILS_WAVLM: "IlsWavLMConfig"}


class _Waiting:
    """A finder of modules that finds none, but adds our registration to the import of `TABLE`."""

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
            _register_placeholders(module)

        spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return spec


def _placeholder(name: str) -> type:
    """A class that answers as the configuration `name` of `models.ils`, which is imported when it is first used."""

    def configuration() -> Any:
        from unispeech_ft.models import ils

        return getattr(ils, name)

    def make(_: type, *args: Any, **options: Any) -> Any:
        return configuration()(*args, **options)

    def from_dict(_: type, *args: Any, **options: Any) -> Any:
        return configuration().from_dict(*args, **options)

    return type(name, (), {"__module__": __name__, "__new__": make, "from_dict": classmethod(from_dict)})


def _register_placeholders(table: ModuleType) -> None:
    for model_type, name in CONFIGURATIONS.items():
        table.AutoConfig.register(model_type, _placeholder(name), exist_ok=True)


def register_when_needed() -> None:
    """Registers now where Transformers' table stands, else as soon as somebody imports it."""
    if TABLE in sys.modules:
        _register_placeholders(sys.modules[TABLE])
    elif _Waiting not in sys.meta_path:
        sys.meta_path.insert(0, _Waiting)
