"""A checkpoint of UniSpeech Large's published size: memory and time of its conversion, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from originals import encoder_shapes, random_tensors, save, settings
from warm import clean_environment

MOST_MEMORY = 2.2
MOST_SECONDS = 60
MEASURE = """
import json, resource, subprocess, sys, time
start = time.monotonic()
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps({"seconds": time.monotonic() - start, "peak_bytes": used.ru_maxrss * 1024}))
"""
SIZES = {"hidden": 1024, "width": 4096, "layers": 24, "channels": 512, "kernels": (10, 3, 3, 3, 3, 2, 2)}
SETTINGS = {
    "encoder_layers": 24,
    "encoder_embed_dim": 1024,
    "encoder_ffn_embed_dim": 4096,
    "encoder_attention_heads": 16,
    "conv_feature_layers": "[(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512,2,2)] * 2",
    "conv_pos": 8,
}


@pytest.mark.slow
@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_memory_and_time(dtype: torch.dtype, legacy: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cfg = {"model": settings(**SETTINGS), "task": {"normalize": True}}
    content = {"cfg": cfg, "model": random_tensors(encoder_shapes(**SIZES), dtype)}
    file = save(content, tmp_path / "checkpoint.pt", legacy=legacy)
    del content
    command = [sys.executable, "-c", MEASURE, str(Path(sys.executable).with_name("unispeech-ft"))]
    command += ["convert", str(file), str(tmp_path / "out")]
    ended = subprocess.run(command, capture_output=True, text=True, env=clean_environment(), check=True, timeout=600)
    measured = json.loads(ended.stdout)
    share = measured["peak_bytes"] / file.stat().st_size
    with capsys.disabled():
        size = f"{file.stat().st_size / 1e9:.2f} GB {str(dtype).removeprefix('torch.')}"
        print(f"\n{size}, {'legacy' if legacy else 'zip'}: {measured['seconds']:.1f} s, peak {share:.2f} × the file")
    assert share < MOST_MEMORY
    assert measured["seconds"] < MOST_SECONDS
