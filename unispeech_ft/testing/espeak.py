"""espeak-ng through ctypes: private copies of the library that ``espeakng_loader`` ships.

No system package is needed. The structures follow ``speak_lib.h`` of espeak-ng 1.52.
"""

from __future__ import annotations

import _ctypes
import ctypes
import shutil
import tempfile
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import espeakng_loader
import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE_HZ = 22_050

PARAMETER_RATE = 1
PARAMETER_PITCH = 3
PARAMETER_RANGE = 4

_AUDIO_OUTPUT_SYNCHRONOUS = 0x02
_INITIALIZE_PHONEME_EVENTS_AS_IPA = 0x0003
_INITIALIZE_DONT_EXIT = 0x8000
_CHARS_UTF8 = 0x01
_POSITION_CHARACTER = 1
_EVENT_LIST_TERMINATED = 0
_EVENT_PHONEME = 7
_KEEP_SPEAKING = 0
_NOISE_SEED = 1


class _EventId(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Voice(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("priority_and_language", ctypes.c_char_p),
        ("identifier", ctypes.c_char_p),
        ("gender", ctypes.c_ubyte),
        ("age", ctypes.c_ubyte),
        ("variant", ctypes.c_ubyte),
        ("unused", ctypes.c_ubyte),
        ("score", ctypes.c_int),
        ("spare", ctypes.c_void_p),
    ]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position_ms", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    ]


_SynthCallback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class Library:
    """A private copy of espeak-ng, unloaded and deleted by ``close`` or with the object."""

    def __init__(self) -> None:
        self._library, folder = _load_private_copy()
        self._close = weakref.finalize(self, _unload, self._library, folder)
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(_NOISE_SEED))

    @property
    def is_open(self) -> bool:
        return self._close.alive

    def close(self) -> None:
        """Free the copy; harmless when called again."""
        self._close()

    def voice_identifier(self, language: str) -> str | None:
        """The identifier of a language's voice, such as ``roa/fr`` for ``fr-fr`` and for ``fr``."""
        listed = self._library.espeak_ListVoices(None)
        index = 0
        identifiers: list[str] = []
        while listed[index]:
            voice = listed[index].contents
            identifier = str(voice.identifier, "utf-8")
            if voice.priority_and_language[1:].decode("utf-8") == language:
                return identifier
            identifiers.append(identifier)
            index += 1
        return next((name for name in identifiers if name.rpartition("/")[2] == language), None)

    def set_voice(self, name: str) -> None:
        """Choose a voice by identifier, with ``+variant`` if wanted; an unknown variant is ignored."""
        self._library.espeak_SetVoiceByName(name.encode("utf-8"))

    def set_parameter(self, parameter: int, value: int) -> None:
        """Set one of the ``PARAMETER_…`` values; they return to defaults with ``set_voice``."""
        self._library.espeak_SetParameter(parameter, value, 0)

    def synthesize(self, text: str) -> tuple[NDArray[np.int16], list[tuple[str, int]]]:
        """Samples ``[S]`` of a text, and its phonemes, each with the sample at which it starts."""
        chunks: list[NDArray[np.int16]] = []
        phonemes: list[tuple[str, int]] = []
        callback = _collector(chunks, phonemes)
        self._library.espeak_SetSynthCallback(callback)
        encoded = text.encode("utf-8") + b"\0"
        self._library.espeak_Synth(encoded, len(encoded), 0, _POSITION_CHARACTER, 0, _CHARS_UTF8, None, None)
        return np.concatenate([np.zeros(0, np.int16), *chunks]), phonemes


def variants() -> tuple[str, ...]:
    """Names of the voice variants that espeak-ng ships, sorted."""
    folder = Path(espeakng_loader.get_data_path()) / "voices" / "!v"
    return tuple(sorted(path.name for path in folder.iterdir()))


def _collector(chunks: list[NDArray[np.int16]], phonemes: list[tuple[str, int]]) -> Any:
    def receive(samples: Any, count: int, events: Any) -> int:
        if samples and count > 0:
            chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        index = 0
        while events[index].type != _EVENT_LIST_TERMINATED:
            event = events[index]
            if event.type == _EVENT_PHONEME:
                phonemes.append((event.id.string.decode("utf-8", errors="replace"), event.sample))
            index += 1
        return _KEEP_SPEAKING

    return _SynthCallback(receive)


def _load_private_copy() -> tuple[ctypes.CDLL, str]:
    folder = tempfile.mkdtemp(prefix="unispeech_ft_espeak_")
    library = ctypes.CDLL(shutil.copy(espeakng_loader.get_library_path(), folder))
    library.espeak_Synth.argtypes = [
        ctypes.c_char_p,
        ctypes.c_size_t,
        ctypes.c_uint,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.c_uint,
        ctypes.c_void_p,
        ctypes.c_void_p,
    ]
    library.espeak_ListVoices.argtypes = [ctypes.c_void_p]
    library.espeak_ListVoices.restype = ctypes.POINTER(ctypes.POINTER(_Voice))
    library.espeak_Initialize(
        _AUDIO_OUTPUT_SYNCHRONOUS,
        0,
        str(espeakng_loader.get_data_path()).encode("utf-8"),
        _INITIALIZE_PHONEME_EVENTS_AS_IPA | _INITIALIZE_DONT_EXIT,
    )
    return library, folder


def _unload(library: ctypes.CDLL, folder: str) -> None:
    library.espeak_Terminate()
    unload: Callable[[int], None] = getattr(_ctypes, "dlclose", None) or vars(_ctypes)["FreeLibrary"]
    unload(library._handle)
    shutil.rmtree(folder, ignore_errors=True)
