"""Measures how many words of a lexicon `unispeech-ft transcribe --lexicon` finds without a text, where they are known.

espeak-ng speaks sentences of the demo's test templates in voices that training never heard. The lexicon has their words
and those of training sentences, and, in the second line, lacks every fifth word.

    python scripts/word_errors.py runs/demo/model ky [--clips 120] [--more 2000]
"""

from __future__ import annotations

import argparse

from unispeech_ft.errors import run_command


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", metavar="MODEL", help="model folder of a run on synthetic speech")
    parser.add_argument("language", metavar="LANGUAGE", choices=("ky", "fr", "es", "it"), help="ky, fr, es or it")
    parser.add_argument("--clips", type=int, default=120, help="default: 120")
    parser.add_argument("--more", type=int, default=2000, help="training sentences for the lexicon; default: 2000")
    options = parser.parse_args()

    from unispeech_ft.models.saved import load_saved
    from unispeech_ft.testing.word_errors import measure, spoken_words

    saved = load_saved(options.model)
    clips, lexicon = spoken_words(options.language, options.clips, options.more)
    lacking = set(sorted({word for word, _ in lexicon})[::5])
    fewer = [item for item in lexicon if item[0] not in lacking]
    for name, entries in (("all words", lexicon), ("a fifth lacks", fewer)):
        found = measure(saved, clips, entries)
        rates = {"words": found.words, "phones": found.phones, "phones without lexicon": found.greedy}
        shown = ", ".join(f"{what} {wrong / max(1, count):.1%} of {count:,}" for what, (wrong, count) in rates.items())
        print(f"{name:<15}{found.entries:,} entries; errors: {shown}")


if __name__ == "__main__":
    run_command(main)
