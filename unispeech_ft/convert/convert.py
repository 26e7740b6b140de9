"""An original checkpoint → a Transformers folder that `from_pretrained`, the recipes and our commands load."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from unispeech_ft.convert.card import conversion_card
from unispeech_ft.convert.configuration import model_config
from unispeech_ft.convert.dictionary import head_tokenizer
from unispeech_ft.convert.reading import OriginalFile, open_original
from unispeech_ft.convert.recognise import Target, choose_target, recognise_family
from unispeech_ft.convert.renaming import BACKBONE, CTC_HEAD, POSITION_BIAS, Renamed, bare, rename_all
from unispeech_ft.convert.settings import read_settings
from unispeech_ft.convert.shapes import facts_of, settle
from unispeech_ft.convert.speaker import apart, is_speaker_file
from unispeech_ft.convert.weights import Array, check, expected_shapes, filled_in, write_safetensors
from unispeech_ft.errors import UserError
from unispeech_ft.files import atomic_folder
from unispeech_ft.models.saving import save_processor, waveform_extractor
from unispeech_ft.phonemes.tokenizer import PhoneTokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

# torch's layer_norm over the clip, as fairseq applies it.
ORIGINAL_EPS = 1e-5


@dataclass(frozen=True)
class Plan:
    """Everything about a conversion but the numbers.

    Attributes:
        original: the opened file.
        target: the class that it becomes.
        config: of that class.
        normalize: whether the model reads normalised waveforms.
        tokenizer: rows of its CTC head, where they are known.
        renamed: what becomes of the tensors.
        filled: tensors that the original has not, with values at which they change nothing.
        random: names that the class will start at random.
        notes: what was decided on the way: disagreements, defaults, unknowns.
        head: tensors of a speaker head beside the encoder, its names → `whole`'s.
        whole: the file with the head, where there is one.
    """

    original: OriginalFile
    target: Target
    config: PreTrainedConfig
    normalize: bool
    tokenizer: PhoneTokenizer | None
    renamed: Renamed
    filled: Mapping[str, Array]
    random: Sequence[str]
    notes: Sequence[str]
    head: Mapping[str, str]
    whole: OriginalFile

    @property
    def added(self) -> dict[str, str]:
        """Tensors of the class that the original has not → where their values come from."""
        filled = dict.fromkeys(self.filled, "not in the original, at values that change nothing")
        return filled | dict.fromkeys(self.random, "not in the file, so they start at random")


def _normalises(said: bool | None, config: PreTrainedConfig, notes: list[str]) -> bool:
    if said is not None:
        return said
    normalize = bool(config.feat_extract_norm == "layer")
    kind = "layer-normed" if normalize else "group-normed"
    notes.append(
        f"the configuration does not say whether waveforms were normalised; they are {'' if normalize else 'not '}for"
        f" all published models with a {kind} extractor, so normalize is {normalize}"
    )
    return normalize


def plan_conversion(checkpoint: Path, dictionary: Path | None = None, upstream: Path | None = None) -> Plan:
    """Recognises an original file and settles what it becomes; writes nothing.

    Args:
        checkpoint: original file of any supported family.
        dictionary: of its phones, where the file holds none.
        upstream: checkpoint that a speaker head's encoder began from, where the file does not say what it is.

    Raises:
        UserError: it is unreadable, hostile, of no supported family, incomplete, or does not fit the dictionary.
    """
    whole = original = open_original(checkpoint)
    notes: list[str] = []
    head: dict[str, str] = {}
    head_settings = None
    if is_speaker_file(whole.content):
        original, head, head_settings = apart(whole, upstream)
    try:
        settings = read_settings(original.content)
        tensors = original.content["model"]
        shapes = {name: tensor.shape for name, tensor in tensors.items()}
        dtypes = {tensor.storage.dtype for tensor in tensors.values()} - {"float32"}
        if dtypes:
            notes.append(f"tensors in {', '.join(sorted(dtypes))} became float32")
        family = recognise_family(settings, shapes, notes)
        settled = settle(settings.model, facts_of(shapes), notes)
        target = choose_target(family, settings, shapes, bool(settled["layer_norm_first"]))
        rows = shapes[CTC_HEAD + "weight"][0] if CTC_HEAD + "weight" in shapes and target.ctc_head else None
        tokenizer = head_tokenizer(original.content, dictionary, family, rows, notes)
        config = model_config(settings, settled, target, shapes, tokenizer, notes)
        backbone = (*BACKBONE, *POSITION_BIAS)
        renamed = rename_all(shapes, backbone, target.heads, target.ctc_head, target.prefix, target.unused)
        expected = expected_shapes(config, target.class_name)
        missing = [name for name in expected if name not in renamed.names]
        filled = filled_in(target, missing, expected, {bare(name): shape for name, shape in shapes.items()})
        random = check(target, renamed, filled, expected, shapes)
        normalize = _normalises(settings.normalize, config, notes)
        if head_settings is not None:
            config.head = head_settings
    except UserError as error:
        named = str(checkpoint) in error.what
        raise UserError(error.what if named else f"{checkpoint}: {error.what}", remedy=error.remedy) from None
    return Plan(original, target, config, normalize, tokenizer, renamed, filled, random, notes, head, whole)


def _write(plan: Plan, folder: Path) -> None:
    tensors = plan.original.content["model"]
    originals = {name: tensors[old].shape for name, old in plan.renamed.names.items()}
    of_head = {name: plan.whole.content["model"][old] for name, old in plan.head.items()}
    originals |= {name: tensor.shape for name, tensor in of_head.items()}
    shapes = originals | {name: array.shape for name, array in plan.filled.items()}

    def read(name: str) -> Array:
        if name in plan.filled:
            return plan.filled[name]
        if name in of_head:
            return plan.whole.read(of_head[name])
        return plan.original.read(tensors[plan.renamed.names[name]])

    sha256 = plan.original.sha256()
    write_safetensors(folder / "model.safetensors", shapes, read)
    plan.config.save_pretrained(folder)
    extractor = waveform_extractor(plan.config, plan.normalize, ORIGINAL_EPS)
    save_processor(folder, plan.config, extractor, plan.tokenizer)
    source = plan.original.path.name
    card = conversion_card(plan.target, source, sha256, plan.normalize, plan.notes, plan.renamed.unused, plan.added)
    (folder / "README.md").write_text(card, encoding="utf-8")


def write_folder(plan: Plan, out: Path) -> None:
    """Writes a planned conversion; `out` appears whole or not at all.

    Raises:
        UserError: `out` exists or cannot be made, or the original ends too early.
    """
    try:
        _refuse_existing(out)
        with atomic_folder(out) as partial:
            _write(plan, partial)
            _refuse_existing(out)
    except OSError as error:
        raise UserError(f"{out} cannot be written ({error.strerror})", remedy="name another folder") from None


def _refuse_existing(out: Path) -> None:
    if out.exists() or out.is_symlink():
        raise UserError(f"{out} exists already", remedy="name a new folder, or remove it first")


def convert(checkpoint: Path, out: Path, dictionary: Path | None = None, upstream: Path | None = None) -> Plan:
    """Converts an original checkpoint.

    Args:
        checkpoint: original file of UniSpeech, UniSpeech-SAT, WavLM, ILS-SSL, HuBERT or wav2vec 2.0, or one of the
            released speaker verifications.
        out: folder that does not exist yet.
        dictionary: of the phones of its CTC head, where the file holds none.
        upstream: see `plan_conversion`.

    Returns:
        What was recognised and decided.

    Raises:
        UserError: see `plan_conversion` and `write_folder`.
    """
    _refuse_existing(out)
    plan = plan_conversion(checkpoint, dictionary, upstream)
    write_folder(plan, out)
    return plan
