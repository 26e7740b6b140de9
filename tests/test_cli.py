import io
import json
import subprocess
import sys

import pytest

from unispeech_ft import cli
from unispeech_ft.runs.shipped import RECIPES

LINES = ["кыргыз тили", "", "…", "салам\u2028дүйнө", "бир\x0cэки\x85үч"]


@pytest.fixture
def run(capfd, monkeypatch):
    def run_cli(*arguments, stdin=b""):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as ended:
            cli.main([str(argument) for argument in arguments])
        output = capfd.readouterr()
        return ended.value.code, output.out, output.err

    return run_cli


@pytest.mark.parametrize("command", [[], ["doctor"], ["schema"], ["phonemize"], ["score"]])
def test_help(run, command):
    status, out, err = run(*command, "--help")
    assert (status, err) == (0, "")
    assert out.startswith("usage: unispeech-ft")


def test_help_imports_nothing_heavy():
    code = "import sys; from unispeech_ft import cli; cli.build_parser(); print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert not {"numpy", "torch", "pydantic", "yaml", "phonemizer", "transformers"} & set(modules)


@pytest.mark.parametrize(
    "arguments", [[], ["dance"], ["score", "one"], ["phonemize", "ky", "--mop", "x"], ["phonemize", "ky", "--lex", "x"]]
)
def test_usage_errors_end_with_2(run, arguments):
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    assert err.startswith("usage: unispeech-ft")


def test_version(run):
    assert run("--version")[1].startswith("unispeech-ft ")


def test_schema(run):
    status, out, _ = run("schema")
    assert status == 0
    assert json.loads(out)["properties"].keys() >= {"seed", "data", "phonemes", "schedule"}


def test_schema_of_each_recipe(run):
    for recipe in RECIPES:
        schema = json.loads(run("schema", recipe)[1])
        keys = [key for part in (schema, *schema["$defs"].values()) for key in part["properties"].items()]
        assert [name for name, entry in keys if not entry.get("description")] == []
    assert "objective" in json.loads(run("schema", "pretrain")[1])["properties"]
    status, _, err = run("schema", "nope")
    assert status == 2
    assert "name one of ctc_phoneme, pretrain," in err


def test_phonemize_gives_a_line_for_each_line(run, tmp_path):
    text = "\r\n".join(LINES).encode("utf-8")
    status, out, err = run("phonemize", "ky", stdin=text)
    lines = out.split("\n")
    assert status == 0
    assert len(lines) == len(LINES) + 1
    assert lines[-1] == ""
    assert [bool(line) for line in lines[:-1]] == [True, False, False, True, True]
    assert err == "warning: 1 line without phones: no phones in the sentence\n"
    alone = [run("phonemize", "ky", "-", stdin=line.encode("utf-8") + b"\n")[1] for line in LINES]
    assert "".join(alone) == out
    (tmp_path / "text").write_bytes(b"\xef\xbb\xbf" + text)
    assert run("phonemize", "ky", tmp_path / "text")[1] == out


@pytest.mark.parametrize("option", [("--stress",), ("--normalise", "text"), ("--map=none",)])
@pytest.mark.parametrize("place", range(3))
def test_options_may_stand_between_arguments(run, option, place):
    words = ["ky", "-"]
    status, out, err = run("phonemize", *words[:place], *option, *words[place:], stdin="ата".encode())
    assert (status, out.replace("ˈ", ""), err) == (0, "ɑ t[ ɑ\n", "")


@pytest.mark.parametrize("words", [["phonemize", "ky", "-", "more"], ["lexicon", "--language", "ky"], ["compare", "a"]])
def test_arguments_too_many_or_too_few(run, words):
    status, out, err = run(*words)
    assert (status, out) == (2, "")
    assert err.startswith(f"usage: unispeech-ft {words[0]}")


@pytest.mark.parametrize(("text", "lines"), [(b"", 0), (b"\n", 1), (b"\n\n", 2), (b"\r\n", 1), (b"a", 1), (b"a\n", 1)])
def test_phonemize_counts_lines_as_files_do(run, text, lines):
    status, out, _ = run("phonemize", "es", stdin=text)
    assert (status, out.count("\n")) == (0, lines)


def test_phonemize_keeps_the_order_over_batches(run):
    words = ["uno", "dos", "", "tres", "cuatro"]
    _, once, _ = run("phonemize", "es", stdin="\n".join(words).encode())
    _, many, _ = run("phonemize", "es", stdin=("\n".join(words) + "\n").encode() * 500)
    assert many == once * 500


def test_phonemize_is_what_training_sees(run):
    from unispeech_ft.phonemes.g2p import G2P, pronounce

    g2p = G2P("fr-fr", language_flags="drop", stress=True)
    sentences = ["Bonjour, le monde !", "le football", "l'été"]
    expected = [" ".join(item.phones) for item in pronounce(sentences, g2p)]
    arguments = ["phonemize", "fr", "--language-flags", "drop", "--stress"]
    _, out, err = run(*arguments, stdin="\n".join(sentences).encode())
    assert out.splitlines() == expected
    assert expected[1] == ""
    assert err == "warning: 1 line without phones: read in another language (en)\n"


def test_phonemize_options(run, tmp_path):
    assert run("phonemize", "fr", stdin="Bon, là".encode())[1] == "b ɔ̃ l a\n"
    assert "," in run("phonemize", "fr", "--punctuation", stdin="Bon, là".encode())[1]
    assert "d̪" in run("phonemize", "ky", "--map", "ipa", stdin="дүйнө".encode())[1].split()
    (tmp_path / "map").write_text("b\tp p\nɔ̃\t\n", encoding="utf-8")
    assert run("phonemize", "fr", "--map", tmp_path / "map", stdin=b"bon")[1] == "p p\n"


def test_phonemize_with_a_lexicon(run, tmp_path):
    lexicon = tmp_path / "words.tsv"
    lexicon.write_text("ba\tb aː\nTscha\ttʃ a\n", encoding="utf-8")
    text = b"Ba, tscha!\nba xu\nxu ga xu\n\nba"
    status, out, err = run("phonemize", "zz-no-such", "--lexicon", lexicon, stdin=text)
    assert (status, out) == (0, "b aː tʃ a\n\n\n\nb aː\n")
    assert err == "warning: 2 lines without phones: words not in the lexicon\nxu\t3\nga\t1\n"
    status, out, err = run("phonemize", "es", "--lexicon", lexicon, "--lexicon-fallback", stdin=text)
    assert (status, out.count("\n"), err) == (0, 5, "")
    assert out.splitlines()[1].startswith("b aː ")


def test_phonemize_list(run):
    status, out, _ = run("phonemize", "--list")
    assert status == 0
    assert {"ky", "fr-fr", "cmn"} <= set(out.split())


@pytest.mark.parametrize(
    ("arguments", "stdin", "parts"),
    [
        (["ky", "no-such-file"], b"", ["no-such-file cannot be read"]),
        (["klingonese"], b"a\n", ["'klingonese'", "phonemize --list"]),
        ([], b"", ["LANGUAGE is missing", "--list"]),
        (["es"], b"a\nb\n\xff\n", ["line 3 is not UTF-8"]),
        (["es", "/no/such/file"], b"", ["/no/such/file cannot be read"]),
        (["es", "/"], b"", ["/ cannot be read"]),
        (["es", "--lexicon", "/no/such/file"], b"", ["lexicon /no/such/file"]),
        (["es", "--map", "/no/such/file"], b"", ["/no/such/file"]),
        (["es", "--lexicon-fallback"], b"", ["--lexicon"]),
    ],
)
def test_phonemize_faults_are_one_clear_line(run, arguments, stdin, parts):
    status, out, err = run("phonemize", *arguments, stdin=stdin)
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert all(part in err for part in parts)


def test_score(run, tmp_path):
    (tmp_path / "ref").write_text("a\ttʃ a aː\nb\tt\n", encoding="utf-8")
    (tmp_path / "hyp").write_text("b\tt t\na\ttʃ aː\n", encoding="utf-8")
    status, out, _ = run("score", tmp_path / "ref", tmp_path / "hyp")
    assert status == 0
    assert out.startswith("PER 50.00 %")
    status, out, _ = run("score", tmp_path / "ref", tmp_path / "hyp", "--json")
    summary = json.loads(out)
    counts = {"reference_phones": 4, "substitutions": 0, "deletions": 1, "insertions": 1, "utterances": 2}
    assert {name: summary[name] for name in counts} == counts
    assert all(type(summary[name]) is int for name in counts)
    assert (status, summary["per"], summary["model"]) == (0, 0.5, None)


def test_score_faults_are_a_line_each(run, tmp_path):
    status, out, err = run("score", tmp_path / "ref", tmp_path / "hyp")
    assert (status, out, err.count("\n")) == (2, "", 2)
    assert all(line.startswith("error: ") for line in err.splitlines())


def pipe(command, reader, stdin=b""):
    script = f"set -o pipefail; {sys.executable} -m unispeech_ft.cli {command} | {reader}"
    return subprocess.run(["bash", "-c", script], input=stdin, capture_output=True, check=False)


def test_a_reader_that_leaves_is_no_fault():
    many = pipe("phonemize es", "head -n 1", b"uno dos tres\n" * 20_000)
    assert (many.returncode, many.stdout.count(b"\n"), many.stderr) == (0, 1, b"")
    gone = pipe("schema", "sleep 0")
    assert (gone.returncode, gone.stderr) == (0, b"")


def test_a_full_disk_is_told_in_one_line():
    ended = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m unispeech_ft.cli schema > /dev/full"], capture_output=True, check=False
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith(b"error: no space")
    assert ended.stderr.count(b"\n") == 1
