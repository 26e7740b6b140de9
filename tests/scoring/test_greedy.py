import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unispeech_ft.scoring import Segment, blank_share, collapse, collapse_batch, score, segments

BLANK = 3
PHONES = ["t", "a", "tʃ"]
frames = st.lists(st.integers(0, 6), max_size=40)


def test_known_answers():
    assert collapse([0, 5, 5, 0, 5, 7, 7], blank=0) == [5, 5, 7]
    assert collapse([2, 2, 2], blank=0) == [2]
    assert collapse([0, 0], blank=0) == []
    assert collapse([], blank=0) == []
    assert segments([0, 5, 5, 0, 5], blank=0) == [Segment(5, 1, 3), Segment(5, 4, 5)]


def test_special_ids_are_never_emitted():
    assert collapse([1, 4, 1, 5, 2], blank=3, special_ids=(4, 5)) == [1, 1, 2]
    assert segments([4, 4], blank=3, special_ids={4}) == []


@given(frames)
def test_lists_and_arrays_follow_the_definition(ids):
    expected = [i for place, i in enumerate(ids) if (place == 0 or ids[place - 1] != i) and i != BLANK]
    assert collapse(ids, BLANK) == expected
    assert collapse(np.array(ids, dtype=np.int32), BLANK) == expected
    for segment in segments(ids, BLANK):
        assert set(ids[segment.start_frame : segment.end_frame]) == {segment.label}


@given(st.lists(frames, max_size=6), st.sampled_from([-100, BLANK, 0, 6]))
def test_padding_never_reaches_the_labels(utterances, padding):
    width = max(map(len, utterances), default=0)
    batch = np.full((len(utterances), width), padding)
    for row, ids in zip(batch, utterances, strict=True):
        row[: len(ids)] = ids
    assert collapse_batch(batch, [len(ids) for ids in utterances], BLANK) == [
        collapse(ids, BLANK) for ids in utterances
    ]


def test_padded_predictions_cannot_inflate_the_score():
    """The stock example pads predictions with −100, which become one `<unk>` insertion for each shorter utterance."""
    batch = np.array([[0, 1, 2, 0], [1, 3, -100, -100]])
    with pytest.raises(ValueError, match="-100 is padding"):
        collapse(batch[1], BLANK)
    with pytest.raises(ValueError, match="collapse_batch"):
        collapse(batch, BLANK)
    hypotheses = [[PHONES[i] for i in labels] for labels in collapse_batch(batch, [4, 2], BLANK)]
    scores = score({"a": ["t", "a", "tʃ", "t"], "b": ["a"]}, dict(zip("ab", hypotheses, strict=True)))
    assert sum(utterance.errors for utterance in scores) == 0


def test_wrong_shapes_and_types_are_refused():
    with pytest.raises(ValueError, match="integers"):
        collapse([0.1, 0.2], 0)
    with pytest.raises(ValueError, match="num_frames"):
        collapse_batch(np.zeros((1, 3), dtype=int), [4], 0)
    with pytest.raises(ValueError, match=r"\[B, T\]"):
        collapse_batch(np.zeros((2, 3), dtype=int), [3], 0)


def test_blank_share_counts_frames():
    assert blank_share([[0, 1, 0], [0]], blank=0) == 0.75
    assert blank_share([[], []], blank=0) is None
    assert blank_share([], blank=0) is None
