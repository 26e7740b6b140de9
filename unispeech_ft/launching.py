"""What a program of ours asks of its process; a library leaves its host as it is, so importing asks nothing."""

import os

# Threads of OpenMP that spin while they wait starve each other once another program wants the cores, and those that do
# not spin at all wake late. Measured with two cores on small models: 2,000 turns take three quarters of the time of
# none, and a fifth more than none beside a third busy process; 10,000 turns take nearly twice as long there, and the
# library's own 300,000 ten times. Large arrays in pages of 2 MiB: a tenth less time for a step of WavLM Base in bf16.
VARIABLES = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "2000", "THP_MEM_ALLOC_ENABLE": "1"}


def before_torch_loads() -> None:
    """Sets what torch and OpenMP read once, when they load; what the user has set stays."""
    for name, value in VARIABLES.items():
        os.environ.setdefault(name, value)


def available_cores() -> int:
    """Cores that this process may use: fewer than the machine has where it was pinned to some."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
