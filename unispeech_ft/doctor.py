"""`unispeech-ft doctor`: what is installed, what is broken, and the command that mends it.

Every probe is a function that returns what to show, or raises anything at all; `run_probe` turns it into a `Check`,
so a library that cannot even be imported is reported like everything else.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.metadata
import io
import os
import platform
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from unispeech_ft.errors import UserError
from unispeech_ft.launching import available_cores
from unispeech_ft.runs.environment import DISTRIBUTION, extras, installed_version, requirements
from unispeech_ft.version import VERSION

if TYPE_CHECKING:
    from packaging.requirements import Requirement

INSTALL = "python -m pip install"
# Without --no-deps pip would also replace torch by one that torchaudio does not match.
REINSTALL = f"{INSTALL} --force-reinstall --no-deps"
OWN_REMEDY = f"{INSTALL} -e .  (in the folder of unispeech_ft)"
TOGETHER = ("torch", "torchaudio")  # each release of one goes with a release of the other, where both are wanted
NOT_NEEDED_TO_TRAIN = frozenset({"evaluate", "librosa", "numba", "CUDA of torch"})


@dataclass(frozen=True)
class Check:
    """One line of the report.

    Attributes:
        name: what was looked at.
        value: version or finding; None where it could not be found out.
        fault: what is wrong; None if nothing is.
        remedy: the command to run; None where the fault is the consequence of another check's.
        needed: without it the toolkit cannot train.
    """

    name: str
    value: str | None = None
    fault: str | None = None
    remedy: str | None = None
    needed: bool = True


@dataclass(frozen=True)
class Probe:
    """How to make a check.

    Attributes:
        name: of the check.
        look: returns what to show, or raises.
        remedy: the command that mends a fault.
        missing_remedy: the command where a module is missing altogether; None: the same.
        after: checks of which none may have a fault, or this one is left out.
    """

    name: str
    look: Callable[[], str]
    remedy: str
    missing_remedy: str | None = None
    after: tuple[str, ...] = ()


def run_probe(probe: Probe, earlier: Sequence[Check]) -> list[Check]:
    """The check of a probe, whatever it raises; none if what it builds on is broken.

    Args:
        probe: is looked at once.
        earlier: checks already made; the same error again is put down to them.
    """
    broken = {check.name: check.fault for check in earlier if check.fault}
    if broken.keys() & set(probe.after):
        return []
    needed = probe.name not in NOT_NEEDED_TO_TRAIN
    try:
        return [Check(probe.name, probe.look(), needed=needed)]
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        fault = " ".join(f"{type(error).__name__}: {error}".split())
        missing = isinstance(error, ModuleNotFoundError)
    value = installed_version(probe.name)
    cause = next((name for name, known in broken.items() if known in fault), None)
    if cause:
        return [Check(probe.name, value, f"broken because {cause} is: {fault}", None, needed)]
    remedy = probe.missing_remedy if missing and probe.missing_remedy else probe.remedy
    return [Check(probe.name, value, fault, remedy, needed)]


def version_check(check: Check, requirement: Requirement | None, remedy: str) -> Check:
    """The same check, faulty if its version is outside what is demanded."""
    if check.fault or check.value is None or requirement is None:
        return check
    if requirement.specifier.contains(check.value, prereleases=True):
        return check
    return replace(check, fault=f"{check.value} is outside {requirement.specifier}", remedy=remedy)


def package_probe(distribution: str, module: str, requirement: Requirement | None) -> Probe:
    """Whether a package can be imported, and the pip commands that install what is demanded."""

    def look() -> str:
        imported = importlib.import_module(module)
        return installed_version(distribution) or str(getattr(imported, "__version__", "unknown"))

    if distribution in TOGETHER:
        return Probe(distribution, look, _torch_remedy())
    wanted = _wanted(distribution, requirement)
    return Probe(distribution, look, f"{REINSTALL} {wanted}", f"{INSTALL} {wanted}")


def _wanted(distribution: str, requirement: Requirement | None) -> str:
    bounds = sorted(map(str, requirement.specifier), reverse=True) if requirement else []
    return f'"{distribution}{",".join(bounds)}"'


def _torch_remedy() -> str:
    demanded = _demanded()
    return " ".join([INSTALL, *(_wanted(name, demanded.get(name)) for name in TOGETHER if name in demanded)])


def _demanded() -> dict[str, Requirement | None]:
    """What has to work: requirements, and torchaudio where it is there, since Transformers then imports it."""
    found: dict[str, Requirement | None] = {}
    for name, requirement in requirements().items():
        found[name] = requirement
        if name == "torch" and _is_there("torchaudio"):  # whose extra holds torch down as well
            found |= requirements("torchaudio")
    return found


def _is_there(distribution: str) -> bool:
    return installed_version(distribution) is not None


@functools.cache
def _owners() -> Mapping[str, list[str]]:
    """Module → the distributions that hold it; finding out reads the lists of all that is installed."""
    return importlib.metadata.packages_distributions()


def module_of(distribution: str) -> str:
    """The module of a distribution, which may have another name (`PyYAML`: `yaml`)."""
    plain = distribution.replace("-", "_")
    owned = [module for module, owners in _owners().items() if distribution in owners]
    public = [module for module in owned if not module.startswith("_")]
    return plain if plain in owned or not public else public[0]


def _own_version() -> str:
    if installed_version(DISTRIBUTION) is None:
        raise UserError("it runs, but is not installed", remedy="without that its requirements are unknown")
    return VERSION


def _memory() -> str:
    return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB"


def _device() -> str:
    import torch

    if not torch.cuda.is_available():
        return "CPU"
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return f"CUDA {torch.version.cuda}: {', '.join(names)}"


def _cuda() -> str:
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "all")
    if torch.cuda.is_available() or visible in ("", "-1") or not shutil.which("nvidia-smi"):
        return str(torch.version.cuda)
    raise RuntimeError("there is an NVIDIA driver, but torch finds no device")


def _speech_classes() -> str:
    transformers = importlib.import_module("transformers")
    return ", ".join(getattr(transformers, name).__name__ for name in ("UniSpeechForCTC", "Wav2Vec2Processor"))


def _espeak() -> str:
    from unispeech_ft.phonemes.espeak import espeak_phones, espeak_version

    if not espeak_phones(["test"], "en-us")[0]:
        raise RuntimeError("espeak-ng gives no phones for a test word")
    return espeak_version()


def _mp3() -> str:
    import numpy
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, numpy.zeros(1600, dtype=numpy.float32), 16_000, format="MP3")
    file.seek(0)
    samples, rate = soundfile.read(file)
    if not len(samples) or rate != 16_000:
        raise RuntimeError("a 0.1 s MP3 does not come back")
    return "written and read"


def _resampling() -> str:
    import numpy
    import soxr

    samples = len(soxr.resample(numpy.zeros(4800, dtype=numpy.float32), 48_000, 16_000))
    if samples != 1600:
        raise RuntimeError(f"0.1 s at 48 kHz become {samples} samples at 16 kHz, not 1600")
    return "48 to 16 kHz"


def _writable(folder: str) -> str:
    existing = Path(folder).expanduser().absolute()
    while not existing.exists():
        existing = existing.parent
    with tempfile.TemporaryFile(dir=existing):
        return f"{folder} ({shutil.disk_usage(existing).free / 2**30:.0f} GiB free)"


def _cache_folder() -> str:
    from transformers import UniSpeechConfig

    from unispeech_ft.config.sections import DataConfig
    from unispeech_ft.runs.room import cache_bytes

    hour = sum(cache_bytes(UniSpeechConfig(), [10 * 16_000] * 360, 4)) / 2**30
    return f"{_writable(DataConfig().cache_dir)}; an hour of speech takes {hour:.1f} GiB, in 16 bits less"


def _run_folder() -> str:
    from unispeech_ft.config.sections import CheckpointingConfig, RunConfig
    from unispeech_ft.runs.room import run_bytes

    sizes = [run_bytes(count, CheckpointingConfig().keep_last) / 2**30 for count in (95_000_000, 316_000_000)]
    return f"{_writable(RunConfig().output_dir)}; a run takes {sizes[0]:.0f} GiB (Base) or {sizes[1]:.0f} GiB (Large)"


def _functions() -> list[Probe]:
    """Probes of what the libraries can do together."""
    sound, torch, cache = f"{REINSTALL} soundfile", _torch_remedy(), "set data.cache_dir to a folder you may write to"
    labels, libsndfile = f"{REINSTALL} phonemizer espeakng-loader", "__libsndfile_version__"
    return [
        Probe("speech classes", _speech_classes, f"{REINSTALL} transformers", after=("transformers", *TOGETHER)),
        Probe("espeak-ng", _espeak, labels, after=("phonemizer", "espeakng-loader", "pydantic")),
        Probe("libsndfile", lambda: getattr(sys.modules["soundfile"], libsndfile), sound, after=("soundfile",)),
        Probe("MP3", _mp3, sound, after=("soundfile", "numpy")),
        Probe("resampling", _resampling, f"{REINSTALL} soxr", after=("soxr", "numpy")),
        Probe("device", _device, torch, after=("torch",)),
        Probe("CUDA of torch", _cuda, f"update the NVIDIA driver, or {torch}", after=("torch",)),
        Probe("cache folder", _cache_folder, cache, after=("pydantic", "transformers", *TOGETHER)),
        Probe("run folder", _run_folder, "set output_dir to a folder you may write to", after=("pydantic", *TOGETHER)),
        Probe("temporary folder", lambda: _writable(tempfile.gettempdir()), "export TMPDIR=A_FOLDER_YOU_MAY_WRITE_TO"),
    ]


def examine() -> list[Check]:
    """Every check, in the order of the report; what the libraries print meanwhile goes to stderr."""
    checks = [Check("python", platform.python_version()), Check("platform", platform.platform())]
    with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        own = Probe("unispeech_ft", _own_version, OWN_REMEDY)
        for probe in (own, Probe("cores", lambda: str(available_cores()), ""), Probe("memory", _memory, "")):
            checks += run_probe(probe, checks)
        for distribution, requirement in _demanded().items():
            checks += _package_checks(distribution, requirement, checks)
        for extra in extras() if not faults(checks) else ():  # what is optional, once the rest is whole
            for distribution, requirement in requirements(extra).items():
                if _is_there(distribution) and distribution not in TOGETHER:
                    found = _package_checks(distribution, requirement, checks)
                    checks += [replace(check, needed=False) for check in found]
        for probe in _functions():
            checks += run_probe(probe, checks)
    return checks


def _package_checks(distribution: str, requirement: Requirement | None, earlier: Sequence[Check]) -> list[Check]:
    probe = package_probe(distribution, module_of(distribution), requirement)
    remedy = probe.missing_remedy or probe.remedy
    return [version_check(check, requirement, remedy) for check in run_probe(probe, earlier)]


def faults(checks: Sequence[Check]) -> list[UserError]:
    """The faults that keep the toolkit from training, each with its remedy."""
    return [
        UserError(f"{check.name}: {check.fault}", remedy=check.remedy)
        for check in checks
        if check.needed and check.fault and check.remedy
    ]


def format_checks(checks: Sequence[Check]) -> str:
    """A table for people: name, version or finding, and the fault."""
    width = max(len(check.name) for check in checks)
    return "\n".join(
        f"{check.name:<{width}}  {check.value or '-'}" + (f"  BROKEN: {check.fault}" if check.fault else "")
        for check in checks
    )
