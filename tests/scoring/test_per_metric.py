import json
import os
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unispeech_ft.scoring import corpus_per, metric_path, score

phones = st.lists(st.sampled_from(["t", "a", "tʃ", "aː", "ʃ"]), max_size=10)
corpora = st.lists(st.tuples(phones, phones), min_size=1, max_size=6)


@pytest.fixture(scope="module")
def metric(tmp_path_factory):
    evaluate = pytest.importorskip("evaluate")
    return evaluate.load(metric_path(), cache_dir=str(tmp_path_factory.mktemp("metric")), keep_in_memory=True)


@settings(max_examples=40, deadline=None)
@given(pairs=corpora)
def test_agrees_with_our_score(metric, pairs):
    scores = score({str(i): ref for i, (ref, _) in enumerate(pairs)}, {str(i): hyp for i, (_, hyp) in enumerate(pairs)})
    found = metric.compute(references=[ref for ref, _ in pairs], predictions=[hyp for _, hyp in pairs])
    assert found == {
        "per": corpus_per(scores),
        "substitutions": sum(utterance.substitutions for utterance in scores),
        "deletions": sum(utterance.deletions for utterance in scores),
        "insertions": sum(utterance.insertions for utterance in scores),
        "reference_phones": sum(len(utterance.reference) for utterance in scores),
    }


@pytest.mark.parametrize("wrong", ["t a", "tʃ", None, [None], [1]])
def test_anything_but_lists_of_phones_is_refused_wherever_it_stands(metric, wrong):
    for predictions in ([wrong, ["t"]], [["t"], wrong]):
        with pytest.raises(TypeError, match="list of phones"):
            metric.compute(predictions=predictions, references=[["t"], ["t"]])
    assert metric.compute(predictions=[["t"]], references=[["t"]])["per"] == 0.0


def test_loads_offline_with_its_caches_elsewhere(tmp_path):
    code = (
        "import evaluate, json; from unispeech_ft.scoring import metric_path; "
        "metric = evaluate.load(metric_path()); "
        "print(json.dumps(metric.compute(predictions=[['t']], references=[['tʃ', 'a']])))"
    )
    caches = {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "HF_EVALUATE_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **caches}, check=True, capture_output=True, text=True
    )
    assert json.loads(done.stdout.splitlines()[-1])["per"] == 1.0
