"""Hardware that is not there is refused in one line, before Lightning starts anything."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from qvbench.cli.profile import build
from qvbench.errors import UserError
from qvbench.training import machine as of_qvbench
from qvbench.training.machine import check_hardware, describe_hardware, explain

Machine = Callable[..., None]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine with these GPUs, by compute capability."""

    def pretend(*gpus: tuple[int, int]) -> None:
        fake = {
            "device_count": lambda: len(gpus),
            "is_available": lambda: bool(gpus),
            "get_device_capability": lambda index=0: gpus[index],
            "get_device_name": lambda index=0: f"GPU of sm_{gpus[index][0]}{gpus[index][1]}",
            "get_device_properties": lambda index: SimpleNamespace(
                name=f"GPU {index}", total_memory=16 * 2**30
            ),
        }
        for name, function in fake.items():
            monkeypatch.setattr(torch.cuda, name, function)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)

    return pretend


def refusal(*asked: Any) -> str:
    with pytest.raises(UserError) as caught:
        check_hardware(*asked)
    return str(caught.value)


ON_CPU = "--trainer.accelerator cpu --trainer.precision 32-true"


def test_no_gpu(machine: Machine) -> None:
    """Catches a page of Lightning's, and an override that leaves ``devices: 4`` to start four
    processes on a laptop."""
    machine()
    for accelerator in ("gpu", "cuda"):
        message = refusal(accelerator, 1, "16-mixed")
        assert message.startswith(f"trainer.accelerator: {accelerator} is asked for")
        assert message.endswith(ON_CPU)
    assert refusal("gpu", 4, "16-mixed").endswith(f"{ON_CPU} --trainer.devices 1")


@pytest.mark.parametrize("precision", ["16-mixed", 16])
def test_no_fp16_on_a_cpu(machine: Machine, precision: Any) -> None:
    """Catches fp16 that fails in the first step, and an override that a GPU does not need."""
    machine()
    assert refusal("cpu", 1, precision).startswith(f"trainer.precision: {precision} does not run")
    assert "no GPU is visible here" in refusal("auto", 1, precision)
    machine((8, 0))
    check_hardware("auto", 1, precision)
    assert refusal("cpu", 1, precision).endswith(ON_CPU)


def test_the_override_that_is_named_works(machine: Machine) -> None:
    """Catches a check that refuses its own remedy."""
    machine()
    for precision in ("bf16-mixed", "32-true", "32", None):
        for devices in (1, 2):
            check_hardware("cpu", devices, precision)
        check_hardware("auto", "auto", precision)


@pytest.mark.parametrize(
    ("accelerator", "precision", "times", "warned"),
    [
        ("cpu", "bf16-mixed", 14.2, True),
        ("auto", "bf16-true", 14.2, True),
        ("cpu", "bf16-mixed", 0.6, False),
        ("cpu", "32-true", 14.2, False),
        ("gpu", "bf16-mixed", 14.2, False),
    ],
)
def test_a_cpu_without_bfloat16(
    accelerator: str,
    precision: str,
    times: float,
    warned: bool,
    machine: Machine,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Catches a training of ten times the time with no word of why, and a warning of a CPU that
    does not train."""
    machine(*[(8, 0)] * (accelerator == "gpu"))
    monkeypatch.setattr(of_qvbench, "bfloat16_slowdown", lambda: times)
    check_hardware(accelerator, 1, precision)
    expected = (
        f"trainer.precision: {precision} is slow on this CPU, where a matrix product takes 14 "
        "times as long in bfloat16 as in float32; faster is --trainer.precision 32-true"
    )
    assert caplog.messages == [expected] * warned


def test_several_processes_on_a_cpu(machine: Machine) -> None:
    """Catches a mistyped number that starts hundreds of processes, and a check of what is
    Lightning's business: other accelerators, which GPUs there are."""
    machine()
    assert refusal("cpu", 1000, "32-true").endswith("--trainer.devices 1")
    check_hardware("tpu", 1000, "16-mixed")
    check_hardware({"class_path": "mine.Accelerator"}, 1000, "16-mixed")
    machine((8, 0), (9, 0))
    for devices in (1, 3, -1, "auto", [1], "0,1"):
        check_hardware("gpu", devices, "16-mixed")


def test_an_apple_gpu(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a traceback over float64 before the first step."""
    machine()
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    for accelerator in ("auto", "gpu", "mps"):
        message = refusal(accelerator, 1, "32-true")
        assert message.startswith(f"trainer.accelerator: {accelerator} is an Apple GPU")
        assert message.endswith(ON_CPU)
    check_hardware("cpu", 1, "32-true")


def test_a_gpu_under_a_torch_without_code_for_it(machine: Machine) -> None:
    """Catches a page of CUDA's advice where a V100 meets a newer PyTorch."""
    machine((7, 0))
    message = str(explain(RuntimeError("CUDA error: no kernel image is available for execution")))
    assert "GPU of sm_70 (sm_70)" in message
    assert "cu126 wheel" in message
    assert message.endswith(ON_CPU)


@pytest.mark.parametrize(("devices", "count"), [("[0,1]", 2), ("4", 4), ("auto", 1)])
def test_devices_of_a_profile(devices: str, count: int, tiny: Path) -> None:
    """Catches a list of GPUs that is taken for one, over which nothing is shared out."""
    words = ["--trainer.devices", devices, "--trainer.num_nodes", "2"]
    assert build(tiny.name, words, vocab_size=8).devices == 2 * count


def test_description(machine: Machine) -> None:
    """Catches a record without the GPU's name, with memory in other units, or that does not say
    which kernels and how many of the machine's cores its times are of."""
    machine((7, 0))
    described = describe_hardware()
    assert described["gpus"] == [{"name": "GPU 0", "memory_gib": 16.0}]
    assert 1 <= described["cores"] <= described["cores_of_machine"]
    assert described["omp_num_threads"] == os.environ.get("OMP_NUM_THREADS")
    assert described["instructions"] in torch.__config__.show()
    cpus = Path("/proc/cpuinfo")
    if cpus.exists() and re.search(r"^stepping", cpus.read_text("utf-8"), re.MULTILINE):
        assert re.fullmatch(r"family \d+, model \d+, stepping \d+", described["cpu_model"])
    assert described["threads"] == torch.get_num_threads()
    assert isinstance(described["cpu"], str)
