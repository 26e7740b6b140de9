"""The voices of the demo corpus: who speaks in train, dev and test.

Test variants of espeak-ng occur in no other split, and neither do the base speeds and pitches of test voices.
Whispering, croaking and robot variants are left out, and those whose samples depend on the C
library's random numbers.
"""

from unispeech_ft.testing.prompts import Split
from unispeech_ft.testing.speech import Voice

_TRAIN_VARIANTS = """m1 f1 m2 f3 m4 Alicia m5 Annie m6 linda m8 belinda Alex aunty Andy steph Denis steph3 Diogo Gene
gustave Mario Michael Mike Nguyen adam boris david edward2 ian marcelo kaukovalta michel norbert pablo quincy rob victor
grandma sandro"""
_DEV_VARIANTS = "benjamin steph2 robert Gene2 iven3"
_TEST_VARIANTS = "m3 f2 m7 f5 Hugo f4 miguel travis Lee max john grandpa"
_WORDS_PER_MINUTE = {
    "train": (150, 170, 135, 185, 160, 145, 178),
    "dev": (155, 172, 140),
    "test": (165, 148, 180, 138, 157),
}
_PITCHES = {"train": (50, 42, 58, 46, 62, 38, 54), "dev": (48, 56, 44), "test": (52, 45, 60, 40, 55)}
_PITCH_RANGES = {"train": (50, 65, 40), "dev": (45, 60), "test": (55, 42, 62)}


def voices(split: Split) -> tuple[Voice, ...]:
    """The voices of a split: 40 in train, 5 in dev, 12 in test."""
    variants = {"train": _TRAIN_VARIANTS, "dev": _DEV_VARIANTS, "test": _TEST_VARIANTS}[split]
    return tuple(
        Voice(
            variant=variant,
            words_per_minute=_WORDS_PER_MINUTE[split][index % len(_WORDS_PER_MINUTE[split])],
            pitch=_PITCHES[split][index % len(_PITCHES[split])],
            pitch_range=_PITCH_RANGES[split][index % len(_PITCH_RANGES[split])],
        )
        for index, variant in enumerate(variants.split())
    )


def client_id(voice: Voice) -> str:
    """The name of a voice in the corpus, such as ``synthetic-m3-165wpm-pitch52``."""
    return f"synthetic-{voice.variant}-{voice.words_per_minute}wpm-pitch{voice.pitch}"
