"""An encoder of the families with a head of ours beside it, in one folder.

Plain Transformers loads the encoder from such a folder (`AutoModel`); what the head is stands in `config.json` below
`head`, as the task that made it wrote it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import nn
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel

from unispeech_ft.config.sections import DataConfig, MaskConfig, ModelConfig, Section
from unispeech_ft.errors import UserError
from unispeech_ft.models.build import BuiltModel, base_folder, make_front_end, read_model_config, regularise
from unispeech_ft.models.families import backbone, check_plain, reads_waveforms
from unispeech_ft.models.filter_bank import start_as_filter_bank
from unispeech_ft.models.loader import check_finite, load_network, packaged, read_config, small_files

# What of a head's settings may differ where its tensors are taken over, and the tensor with a row for each speaker.
OF_TRAINING, SPEAKERS = {"speakers", "loss", "scale", "dropout"}, "speakers.weight"


class HeadSettings(Section):
    """What a head is made of again, in plain JSON; a folder's are checked before anything is made."""

    task: str

    @property
    def rows(self) -> list[str]:
        """The training speakers that have a row of the head each."""
        return []


Settings = TypeVar("Settings", bound=HeadSettings)
MakeHead = Callable[[PreTrainedConfig, Settings], nn.Module]


class UpstreamWithHead(PreTrainedModel):
    """The encoder under the name that its family has in Transformers, and `head`.

    Args:
        upstream: the encoder.
        make_head: makes the head from the encoder's configuration and the settings.
    """

    _supports_sdpa = _supports_flash_attn = _supports_flex_attn = True  # as the encoder says itself
    config_class = PreTrainedConfig

    def __init__(self, upstream: PreTrainedModel, make_head: MakeHead[Settings], settings: Settings) -> None:
        super().__init__(upstream.config)
        self.base_model_prefix = type(upstream).base_model_prefix
        self.add_module(self.base_model_prefix, upstream)
        self.config.head = settings.model_dump(mode="json", exclude_none=True)
        self.head = make_head(upstream.config, settings)

    @property
    def upstream(self) -> Any:
        """The encoder."""
        return backbone(self)

    def save_pretrained(self, folder: str | Path, **_: Any) -> None:  # type: ignore[override]
        """Writes `config.json` and `model.safetensors`."""
        self.config.architectures = [type(self.upstream).__name__]
        self.config.save_pretrained(folder)
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}
        save_file(tensors, str(Path(folder) / "model.safetensors"), metadata={"format": "pt"})


def build_upstream(
    model: ModelConfig,
    mask: MaskConfig,
    data: DataConfig,
    make_head: MakeHead[Settings],
    settings: Settings,
    seed: int,
) -> BuiltModel:
    """A pre-trained encoder, or one from random weights, with a head that starts at random.

    A base model with a head of the same shape keeps it, and the rows of training speakers by their names.

    Raises:
        UserError: the base model cannot be found or loaded.
    """
    config = read_model_config(model)
    check_plain(config, str(model.base))
    regularise(config, model, mask)
    before = read_settings(config, type(settings), str(model.base))
    torch.manual_seed(seed)
    if model.from_scratch:
        upstream = AutoModel.from_config(config).float()
        if reads_waveforms(config):
            start_as_filter_bank(upstream.feature_extractor)
    else:
        upstream, _ = load_network(AutoModel, str(model.base), config, heads=(), revision=model.revision)
    torch.manual_seed(seed)
    network = UpstreamWithHead(upstream, make_head, settings)
    folder = base_folder(model)
    kept = not model.from_scratch and before is not None and _same_body(before, settings)
    if kept and before is not None:
        _load_head(network, str(model.base), before.rows, settings.rows, model.revision)
    network.config.layerdrop = 0.0
    if model.gradient_checkpointing:
        upstream.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    if reads_waveforms(config):
        upstream.feature_extractor._freeze_parameters()
    rows = len(list(network.head.parameters()))
    return BuiltModel(network, make_front_end(network, data, folder), rows if kept else 0, 0 if kept else rows)


def read_settings(config: PreTrainedConfig, schema: type[Settings], name: str) -> Settings | None:
    """The settings of the head that a configuration speaks of; None where it has none of this task.

    Args:
        name: of the model, for people.

    Raises:
        UserError: a value is of a wrong type or size.
    """
    said = getattr(config, "head", None)
    if not isinstance(said, dict) or said.get("task") != schema.model_fields["task"].default:
        return None
    try:
        return schema.model_validate(said)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, ("head", *first["loc"])))[:80]
        raise UserError(f"{name}: config.json: {key}: {first['msg'][:200]}", remedy="download it again") from None


def _same_body(before: HeadSettings, now: HeadSettings) -> bool:
    """Whether two heads differ in nothing but their loss, their training speakers, and what was chosen after it."""
    said = now.model_dump(exclude=OF_TRAINING, exclude_none=True)
    return said == before.model_dump(include=set(said))


def _load_head(
    network: UpstreamWithHead,
    name: str,
    speakers: Sequence[str],
    own_rows: Sequence[str],
    revision: str | None = None,
) -> None:
    """Takes over the head of a model folder or Hub id, and the rows of training speakers that have the same name.

    Args:
        speakers: the names of the folder's rows.
        own_rows: of the network's.
    """
    from safetensors.torch import load_file
    from transformers.utils.hub import cached_file

    file = cached_file(
        packaged(name), "model.safetensors", revision=revision, _raise_exceptions_for_missing_entries=False
    )
    found = load_file(file) if file else {}
    head = {key.removeprefix("head."): value for key, value in found.items() if key.startswith("head.")}
    rows = head.pop(SPEAKERS, None)
    check_finite(head, name)
    try:
        missing, unexpected = network.head.load_state_dict(head, strict=False)
    except RuntimeError as error:
        raise UserError(f"{name}: its head cannot be loaded ({error})", remedy="download it again") from None
    wrong = [key for key in (*missing, *unexpected) if key != SPEAKERS]
    if wrong:
        raise UserError(f"{name}: its head lacks {wrong[0]}, or has it too many", remedy="download it again")
    if rows is None or not own_rows:
        return
    own = network.head.get_parameter(SPEAKERS)
    if rows.shape != (len(speakers), own.shape[1]):
        raise UserError(
            f"{name}: its head has {len(rows)} rows for {len(speakers)} speakers", remedy="download it again"
        )
    places = {speaker: place for place, speaker in enumerate(speakers)}
    with torch.no_grad():
        for row, speaker in enumerate(own_rows):
            if speaker in places:
                own[row] = rows[places[speaker]]


def load_upstream(name: str, make_head: MakeHead[Settings], schema: type[Settings]) -> Any:
    """The network of a model folder that a task wrote, in evaluation mode.

    Args:
        schema: of the task's settings.

    Raises:
        UserError: there is no such folder, or it holds another task's model.
    """
    folder = small_files(name)
    config = read_config(folder, name)
    settings = read_settings(config, schema, name)
    if settings is None:
        task = schema.model_fields["task"].default
        raise UserError(f"{name} is no model of {task}", remedy=f"name a folder that recipes/{task}.py wrote")
    upstream, _ = load_network(AutoModel, name, config, heads=())
    network = UpstreamWithHead(upstream, make_head, settings)
    _load_head(network, name, settings.rows, settings.rows)
    return network.eval()
