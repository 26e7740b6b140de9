"""The speaker heads against the original's outputs, and what padding and company may not change."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from unispeech_ft.convert.convert import convert
from unispeech_ft.data.row import lay_out, row_of
from unispeech_ft.errors import UserError
from unispeech_ft.models.front_end import FrontEnd
from unispeech_ft.models.masked_norm import MaskedBatchNorm, noted_statistics, num_statistics, take_statistics
from unispeech_ft.tasks.speaker_verification.heads import SpeakerHead, SpeakerHeadSettings
from unispeech_ft.tasks.speaker_verification.loss import MarginSoftmax, margin_at
from unispeech_ft.tasks.speaker_verification.model import load_speaker_model, speaker_vectors

SHARED = Path(os.environ.get("UNISPEECH_FT_SHARED", Path(__file__).parents[4] / "shared"))
GOLDEN = Path(os.environ.get("UNISPEECH_FT_GOLDEN_TASKS", SHARED / "golden_tasks"))
FOLDERS = sorted(path.name for path in GOLDEN.glob("*ecapa*") if path.is_dir())
golden = pytest.mark.skipif(not FOLDERS, reason=f"no original outputs in {GOLDEN}")


@pytest.fixture(params=FOLDERS)
def original(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Path]:
    """The folder of the original's outputs, and its checkpoint converted."""
    folder, out = GOLDEN / request.param, tmp_path / "converted"
    convert(folder / "checkpoint.pt", out, upstream=folder / "upstream_config.pt")
    return folder, out


@golden
@torch.no_grad()
def test_vectors_from_the_recorded_states_are_the_originals(original: tuple[Path, Path]) -> None:
    folder, converted = original
    recorded = load_file(folder / "embeddings.safetensors")
    head = load_speaker_model(str(converted)).head
    pair, single = recorded["pair.hidden_states"], recorded["single.hidden_states"]
    # One row of three clips, the shorter in the middle: padding and company change nothing.
    states = [torch.cat([both[0], one[0], both[1]]) for both, one in zip(pair, single, strict=True)]
    vectors = head(states, lay_out([pair.shape[2], single.shape[2], pair.shape[2]]), torch.empty(0))
    expected = torch.stack(
        [recorded["pair.embedding"][0], recorded["single.embedding"][0], recorded["pair.embedding"][1]]
    )
    torch.testing.assert_close(vectors, expected, rtol=0, atol=1e-5)
    unit = nn.functional.normalize(vectors)
    assert float(unit[0] @ unit[2]) == pytest.approx(float(recorded["cosine_first_second"]), abs=1e-5)
    assert float(unit[0] @ unit[1]) == pytest.approx(float(recorded["cosine_first_single"]), abs=1e-5)


@golden
@torch.no_grad()
def test_vectors_from_the_waveforms_are_the_originals(original: tuple[Path, Path]) -> None:
    folder, converted = original
    recorded = load_file(folder / "embeddings.safetensors")
    network = load_speaker_model(str(converted))
    normalize = json.loads((converted / "preprocessor_config.json").read_text())["do_normalize"]
    assert normalize == json.loads((folder / "meta.json").read_text())["normalize"]
    clips = [recorded["pair.waveform"][0], recorded["single.waveform"][0], recorded["pair.waveform"][1]]
    features = FrontEnd(network, normalize, 1e-5).several([clip.numpy() for clip in clips])
    vectors = speaker_vectors(network, row_of([clip.numpy() for clip in features]))
    alone = recorded["pair.embedding_one_by_one"]
    expected = torch.stack([alone[0], recorded["single.embedding"][0], alone[1]])
    torch.testing.assert_close(vectors, expected, rtol=0, atol=5e-5)


@golden
def test_a_released_file_needs_the_encoders_configuration(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not the configuration of its encoder") as fault:
        convert(GOLDEN / FOLDERS[0] / "checkpoint.pt", tmp_path / "out")
    assert "--upstream" in fault.value.remedy
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("body", ["ecapa", "xvector"])
@pytest.mark.parametrize("features", [False, True])
def test_company_and_padding_change_nothing(body: str, features: bool) -> None:
    torch.manual_seed(0)
    settings = SpeakerHeadSettings(body=body, channels=16, pooled=24, size=8, features=features)
    head = SpeakerHead(2, 12, 20, settings).eval()
    lengths = (30, 17, 44)
    clips = [[torch.randn(length, 12) for _ in range(3)] for length in lengths]
    bands = [torch.randn(length, 20) for length in lengths]
    states = [torch.cat([clip[layer] for clip in clips]) for layer in range(3)]
    together = head(states, lay_out(lengths), torch.cat(bands))
    alone = [head(clip, lay_out([len(own)]), own)[0] for clip, own in zip(clips, bands, strict=True)]
    torch.testing.assert_close(together, torch.stack(alone), rtol=1e-5, atol=1e-6)
    other = head(states, lay_out(lengths), torch.cat(bands) + 1)
    assert torch.equal(other, together) is not features


def test_masked_norm_is_batch_norm_of_the_frames_that_exist() -> None:
    torch.manual_seed(1)
    ours, stock = MaskedBatchNorm(5), nn.BatchNorm1d(5)
    for module in (ours, stock):
        nn.init.uniform_(module.weight, generator=torch.Generator().manual_seed(2))
    mask = torch.ones(3, 1, 9)
    mask[1, :, 4:] = 0
    hidden = torch.randn(3, 5, 9)
    frames = hidden.transpose(1, 2)[mask[:, 0] > 0]
    places = mask.transpose(1, 2).expand(-1, -1, 5) > 0
    found, expected = ours(hidden, mask), stock(frames)
    torch.testing.assert_close(found.transpose(1, 2)[places].view(-1, 5), expected)
    assert not found[1, :, 4:].any()
    take_statistics(ours, noted_statistics(ours))
    torch.testing.assert_close(ours.running_mean, stock.running_mean)
    torch.testing.assert_close(ours.running_var, stock.running_var)
    torch.testing.assert_close(ours.eval()(hidden, mask).transpose(1, 2)[places].view(-1, 5), stock.eval()(frames))


def test_running_statistics_take_the_mean_of_an_update_and_nothing_that_is_not_finite() -> None:
    norm = MaskedBatchNorm(2)
    for value in (1.0, 3.0):
        norm(torch.full((1, 2, 4), value), torch.ones(1, 1, 4))
    sums = noted_statistics(norm)
    assert len(sums) == num_statistics(norm)
    take_statistics(norm, sums)
    assert norm.running_mean.tolist() == pytest.approx([0.2, 0.2])
    assert not norm.noted
    take_statistics(norm, torch.full_like(sums, torch.nan))
    assert norm.running_mean.tolist() == pytest.approx([0.2, 0.2])


@pytest.mark.parametrize("kind", ["aam", "am"])
def test_the_margin_is_taken_from_the_speakers_own_angle(kind: str) -> None:
    torch.manual_seed(3)
    loss = MarginSoftmax(6, 4, kind, scale=10.0)
    vectors, speakers = torch.randn(5, 6), torch.tensor([0, 1, 2, 3, 0])
    cosine = loss.cosines(vectors)
    own = cosine[torch.arange(5), speakers]
    moved = torch.cos(torch.acos(own) + 0.2) if kind == "aam" else own - 0.2
    logits = 10 * cosine.clone()
    logits[torch.arange(5), speakers] = 10 * moved
    expected = nn.functional.cross_entropy(logits, speakers, reduction="sum")
    torch.testing.assert_close(loss(vectors, speakers, 0.2), expected)
    torch.testing.assert_close(
        loss(vectors, speakers, 0.0), nn.functional.cross_entropy(10 * cosine, speakers, reduction="sum")
    )


def test_the_margin_grows_in_a_straight_line() -> None:
    assert [margin_at(update, 10, 20, 0.4) for update in (0, 10, 15, 20, 99)] == pytest.approx([0, 0, 0.2, 0.4, 0.4])
    assert margin_at(0, 0, 0, 0.4) == 0.4


def test_a_clip_of_one_frame_has_a_finite_vector_and_gradient() -> None:
    head = SpeakerHead(1, 8, 8, SpeakerHeadSettings(body="ecapa", channels=8, pooled=8, size=4, features=True))
    states = [torch.randn(1 + 6, 8, requires_grad=True) for _ in range(2)]
    head(states, lay_out([1, 6]), torch.randn(7, 8)).sum().backward()
    gradients = [parameter.grad for parameter in head.parameters()]
    assert all(bool(gradient.isfinite().all()) for gradient in gradients if gradient is not None)
    assert np.isfinite(states[0].grad.numpy()).all()
