import textwrap

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unispeech_ft.config.reading import json_schema, known_keys, read_configs, to_yaml
from unispeech_ft.errors import UserError
from unispeech_ft.tasks.ctc_phoneme.config import FILE, CtcPhonemeConfig

BASE = "model: {base: some/model}\ndata: {root: corpus, language: ky}\n"


@pytest.fixture
def load(tmp_path):
    def load_text(text, *overrides):
        path = tmp_path / "config.yaml"
        path.write_bytes(text if isinstance(text, bytes) else textwrap.dedent(text).encode("utf-8"))
        (config,) = read_configs(FILE, ["--config", str(path), *overrides])
        return config

    return load_text


@pytest.fixture
def faults(load):
    def lines(text, *overrides):
        with pytest.raises(UserError) as caught:
            load(text, *overrides)
        return caught.value.lines

    return lines


def test_defaults_are_the_published_recipe(load):
    config = load(BASE)
    assert (config.optimizer.lr, config.optimizer.betas) == (2e-5, (0.9, 0.98))
    assert (config.schedule.warmup, config.schedule.hold, config.schedule.decay) == (2_000, 8_000, 10_000)
    assert config == load(BASE + "seed: 1337\n")


@pytest.mark.parametrize("word", ["no", "yes", "on", "off", "n", "y", "No"])
def test_only_true_and_false_are_booleans(load, word):
    assert load(f"model: {{base: m}}\ndata: {{root: r, language: {word}}}\n").data.language == word
    assert load(BASE, "--data.language", word).data.language == word


@pytest.mark.parametrize(("text", "value"), [("1e-5", 1e-5), ("2E-5", 2e-5), ("1", 1.0), (".5", 0.5), ("1.", 1.0)])
def test_numbers_as_people_write_them(load, text, value):
    assert load(BASE + f"optimizer: {{lr: {text}}}\n").optimizer.lr == value
    assert load(BASE, "--optimizer.lr", text).optimizer.lr == value


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("optmizer.lr", "optimizer.lr"),
        ("optimizer.learning_rate", None),
        ("lr", "optimizer.lr"),
        ("data.langauge", "data.language"),
        ("sead", "seed"),
        ("qqqq", None),
    ],
)
def test_unknown_keys(faults, key, near):
    (line,) = faults(BASE, f"--{key}", "1")
    assert line.startswith(f"unknown key {key}: ")
    assert near is None or line.endswith(f"did you mean {near}?")


def test_unknown_keys_of_the_file(faults):
    lines = faults(BASE + "optimizer: {lrr: 1}\nsede: 1\n1: 2\n")
    assert lines == [
        "unknown key optimizer.lrr: did you mean optimizer.lr?",
        "unknown key sede: did you mean seed?",
        "unknown key 1: see `unispeech-ft schema RECIPE`, where ctc_phoneme and the like are recipes",
    ]


def test_repeated_keys(faults, tmp_path):
    lines = faults("seed: 1\n" + BASE + "seed: 2\nmask:\n  time_prob: 0.1\n  time_prob: 0.2\n")
    path = tmp_path / "config.yaml"
    assert lines == [
        f"{path}, line 4: key seed stands twice: keep one of the two",
        f"{path}, line 7: key time_prob stands twice: keep one of the two",
    ]
    assert faults(BASE, "--seed", "1", "--seed=2") == ["--seed is given twice: keep one of the two"]
    assert faults(BASE, "--config", "other.yaml") == ["--config is given twice: keep one of the two"]
    assert "a stands twice" in faults(BASE, "--model.config", "{a: 1, a: 2}")[0]


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("seed", "true", "seed is true: it should be a valid integer"),
        ("seed", "1.0", "seed is 1.0: it should be a valid integer"),
        ("seed", '"1"', 'seed is "1": it should be a valid integer'),
        ("seed", "-1", "seed is -1: it should be greater than or equal to 0"),
        ("dry_run", "1", "dry_run is 1: it should be a valid boolean"),
        ("dry_run", "yes", 'dry_run is "yes": it should be a valid boolean'),
        ("output_dir", "null", "output_dir is null: it should be a valid string"),
        ("schedule.updates", "-5", "schedule.updates is -5: it should be greater than or equal to 1"),
        ("optimizer.lr", "true", "optimizer.lr is true: it should be a valid number"),
        ("optimizer.betas", "0.9", "optimizer.betas is 0.9: it should be a valid tuple"),
        (
            "schedule.updates",
            "1000000000",
            "schedule.updates is 1000000000: it should be less than or equal to 10000000",
        ),
        ("mask.time_prob", "1.5", "mask.time_prob is 1.5: it should be less than or equal to 1"),
        ("mask.sampling", "orginal", "mask.sampling is \"orginal\": it should be 'original' or 'independent'"),
        ("tracking.trackers", "wandb", 'tracking.trackers is "wandb": it should be a valid list'),
        ("resume", "null", "resume is null: it should be a valid boolean, or a valid string"),
    ],
)
def test_wrong_types_name_key_value_and_remedy(faults, key, value, line):
    assert faults(BASE, f"--{key}", value) == [line]
    section, _, name = key.rpartition(".")
    assert faults(BASE + (f"{section}: {{{name}: {value}}}\n" if section else f"{name}: {value}\n")) == [line]


@pytest.mark.parametrize("value", ["", " 5", " [1]", " text"])
def test_sections_are_mappings(faults, value):
    (line,) = faults(f"model: {{base: m}}\ndata:{value}\n")
    assert line.startswith("data is ")
    assert line.endswith("give a section of keys")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n- b\n", "holds a list, not a mapping"),
        ("just text\n", "holds a str, not a mapping"),
        ("a: b: c\n", "line 1 is not YAML"),
        ("seed: 1\n\tx: 2\n", "line 2 is not YAML"),
        ("seed: !!python/name:os.system x\n", "line 1 is not YAML"),
        (BASE + "---\nseed: 1\n", "is not YAML"),
        (b"seed: \xff\n", "is not UTF-8 (byte 6)"),
        ("data: \x00\n", "is not YAML"),
    ],
)
def test_files_that_hold_no_configuration(faults, text, message):
    (line,) = faults(text)
    assert message in line


def test_missing_files(tmp_path):
    for path, message in ((tmp_path / "none.yaml", "no configuration file"), (tmp_path, "is a folder")):
        with pytest.raises(UserError) as caught:
            read_configs(FILE, ["--config", str(path)])
        assert len(caught.value.lines) == 1
        assert message in caught.value.lines[0]
    with pytest.raises(UserError, match="--config is missing"):
        read_configs(FILE, ["--seed", "1"])


def test_an_empty_file_lacks_only_what_has_no_default(faults, load):
    assert [line.split()[0] for line in faults("", "--data.normalize", "true")] == [
        "model.base",
        "data.root",
        "data.language",
        "phonemes.language",
    ]
    assert load("", "--data.root", "corpus", "--data.language", "ky", "--model.base", "some/model") == load(BASE)


@pytest.mark.parametrize("text", ["", "# only a comment\n", "{}"])
def test_an_empty_file_alone_is_one_fault(faults, text):
    (line,) = faults(text, "--seed", "1")
    assert "is empty" in line
    assert "unispeech-ft copy" in line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["seed", "1"], "argument 'seed' is not understood"),
        (["-s", "1"], "argument '-s' is not understood"),
        (["--seed"], "--seed has no value"),
        (["--seed", "--dry_run", "true"], "--seed has no value"),
        (["--model.config.hidden_size", "["], "--model.config.hidden_size [ is not YAML"),
        (["--optimizer.betas", "[0.9,"], "--optimizer.betas [0.9, is not YAML"),
        (["--data", "x"], "unknown key data"),
        (["--data.root.x", "x"], "unknown key data.root.x"),
    ],
)
def test_bad_overrides(faults, words, message):
    assert faults(BASE, *words)[0].startswith(message)


def test_all_faults_come_together(faults):
    text = "seed: x\nseed: 1.5\noptimizer: {lr: fast, beta: 1}\n" + BASE
    lines = faults(text, "--schedule.updates", "-5", "--maks.time_prob", "0.1", "--dry_run")
    for part in (
        "line 2: key seed stands twice",
        "seed is 1.5",
        'optimizer.lr is "fast"',
        "unknown key optimizer.beta: did you mean optimizer.betas?",
        "schedule.updates is -5",
        "unknown key maks.time_prob: did you mean mask.time_prob?",
        "--dry_run has no value",
    ):
        assert sum(part in line for line in lines) == 1, part
    assert len(lines) == 7
    assert all(": " in line and "\n" not in line for line in lines)


def test_an_unreadable_file_hides_no_bad_override(faults):
    lines = faults("- a\n", "--sede", "1", "--schedule.updates", "x")
    assert len(lines) == 3


def test_a_value_that_contains_itself(faults):
    assert "line 1 is not YAML (it holds itself)" in faults("data: &a\n  root: *a\n")[0]


def test_cross_field_faults_come_together(faults):
    lines = faults(
        BASE,
        *("--data.min_duration_s", "30", "--batch.seconds_per_micro_batch", "10", "--hub.push", "true"),
        *("--phonemes.map", "nowhere.tsv", "--model.config", "{hidden_size: 1}"),
    )
    assert len(lines) == 5


def test_the_environment_is_never_read(load, monkeypatch):
    for name in ("SEED", "seed", "DATA__ROOT", "UNISPEECH_FT_SEED"):
        monkeypatch.setenv(name, "77")
    assert load(BASE) == CtcPhonemeConfig.model_validate(
        {"model": {"base": "some/model"}, "data": {"root": "corpus", "language": "ky"}}
    )


def test_overrides_beat_the_file(load):
    config = load(
        BASE + "seed: 1\nevaluation: {max_utterances: 10}\n",
        *("--seed=2", "--evaluation.max_utterances", "null", "--output_dir", "123", "--resume", "true"),
        *("--tracking.trackers", "[wandb, tensorboard]", "--data.train", "null", "--model.revision", "12e4567"),
        *("--optimizer.betas", "[0.8, 0.9]"),
    )
    assert (config.seed, config.evaluation.max_utterances, config.output_dir, config.resume) == (2, None, "123", True)
    assert config.tracking.trackers == ["wandb", "tensorboard"]
    assert (config.data.train, config.model.revision, config.optimizer.betas) == (None, "12e4567", (0.8, 0.9))
    assert load(BASE, "--resume", "runs/x/checkpoints/5").resume == "runs/x/checkpoints/5"


def test_overrides_into_the_inline_model(load):
    text = "model: {from_scratch: true, config: {hidden_size: 8, deep: {a: 1}}}\ndata: {root: r, language: ky}\n"
    overrides = ["--model.config.hidden_size", "16", "--model.config.deep.b", "[1, 2]", "--model.config.act", "gelu"]
    expected = {"hidden_size": 16, "deep": {"a": 1, "b": [1, 2]}, "act": "gelu"}
    assert load(text, *overrides).model.config == expected
    assert load(text, "--model.config", "{x: 1e-5}").model.config == {"x": 1e-5}


def test_written_configurations_read_back(load):
    config = load(BASE, "--model.revision", "12e4567", "--data.language", "no", "--optimizer.lr", "1e-7")
    assert load(to_yaml(config)) == config


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    text=st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1)
    | st.from_regex(r"[-+]?[0-9.e_:xo+-]{1,8}", fullmatch=True)
    | st.sampled_from(["null", "true", "no", "~", ".inf", "=", "<<", "1e5", "0o7", "- a", "# x"]),
    number=st.floats(min_value=1e-300, max_value=1e300),
)
def test_any_text_and_number_reads_back(load, text, number):
    values = {"model": {"base": text}, "data": {"root": text, "language": text}, "optimizer": {"lr": number}}
    config = CtcPhonemeConfig.model_validate(values)
    assert load(to_yaml(config).encode("utf-8")) == config


def test_frozen_and_strict():
    with pytest.raises(ValueError, match="frozen"):
        CtcPhonemeConfig().seed = 1  # type: ignore[misc]
    with pytest.raises(ValueError, match="valid integer"):
        CtcPhonemeConfig.model_validate({"seed": True})


def test_schema_knows_every_key():
    schema = json_schema(CtcPhonemeConfig)
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert schema["additionalProperties"] is False
    for key in known_keys(CtcPhonemeConfig):
        *sections, name = key.split(".")
        owner = schema
        for section in sections:
            owner = schema["$defs"][owner["properties"][section]["$ref"].rpartition("/")[2]]
        assert owner["properties"][name]["description"], key
    assert all(entry["description"] for entry in schema["properties"].values())


def test_a_renamed_key_is_still_read(load, faults, capfd):
    old = load(BASE + "batch: {seconds_per_sub_batch: 31.0}\n")
    assert old.batch.seconds_per_micro_batch == 31.0
    assert capfd.readouterr().err == "note: batch.seconds_per_sub_batch is called batch.seconds_per_micro_batch now\n"
    assert load(BASE, "--batch.seconds_per_sub_batch", "31").batch == old.batch
    assert "--batch.seconds_per_sub_batch is called" in capfd.readouterr().err
    assert load(BASE + "training: {fast_dropout: false}\n", "--training.fast_products", "false") == load(BASE)
    said = capfd.readouterr().err
    assert "training.fast_dropout has no effect any more" in said
    assert "--training.fast_products has no effect any more" in said
    twice = faults(BASE + "batch: {seconds_per_sub_batch: 31.0, seconds_per_micro_batch: 31.0}\n")
    assert "are both given" in twice[0]


def test_a_key_without_its_section_is_proposed_in_full(load):
    with pytest.raises(UserError) as refused:
        load(BASE, "--updates", "5")
    assert "did you mean schedule.updates?" in str(refused.value)


def test_help_of_a_recipe_names_every_key(capsys):
    with pytest.raises(SystemExit) as ended:
        read_configs(FILE, ["--help"])
    out = capsys.readouterr().out
    assert ended.value.code == 0
    assert all(f"--{key} " in out for key in known_keys(CtcPhonemeConfig))


def test_the_configuration_of_an_earlier_run_keeps_its_rule_of_normalisation(load, capfd):
    keys = CtcPhonemeConfig().phonemes.model_dump(exclude={"normalise", "tones", "segment"})
    assert load(BASE + to_yaml_section("phonemes", keys)).phonemes.normalise == "published"
    assert "as in all runs of earlier versions" in capfd.readouterr().err
    assert load(BASE).phonemes.normalise == "text"


def to_yaml_section(name, values):
    return yaml.safe_dump({name: values})
