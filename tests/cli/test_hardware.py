"""Hardware that is not there is refused in one line, before Lightning starts anything."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from qvbench.errors import UserError
from qvbench.training.hardware import check_hardware, describe_hardware

Machine = Callable[..., None]

MODERN = ["sm_75", "sm_80", "sm_86", "sm_90", "compute_90"]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine with these GPUs, by compute capability, and a torch built for these."""

    def pretend(*gpus: tuple[int, int], built_for: list[str] = MODERN) -> None:
        fake = {
            "device_count": lambda: len(gpus),
            "get_arch_list": lambda: built_for,
            "get_device_capability": lambda index: gpus[index],
            "get_device_name": lambda index: f"GPU of sm_{gpus[index][0]}{gpus[index][1]}",
            "get_device_properties": lambda index: SimpleNamespace(total_memory=16 * 2**30),
        }
        for name, function in fake.items():
            monkeypatch.setattr(torch.cuda, name, function)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)

    return pretend


def refusal(*asked: Any) -> str:
    with pytest.raises(UserError) as caught:
        check_hardware(*asked)
    return str(caught.value)


ON_CPU = "--trainer.accelerator cpu --trainer.precision bf16-mixed"


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


def test_devices(machine: Machine) -> None:
    """Catches Lightning's message of several lines, and a form of ``devices`` that is not read."""
    machine((8, 0), (9, 0))
    for devices in (3, "3", [0, 2], "0,2", "2,"):
        message = refusal("gpu", devices, "16-mixed")
        assert message.startswith("trainer.devices: ")
        assert message.endswith("--trainer.devices 2")
    for present in (1, 2, -1, "auto", "-1", [1], "0,1", "1,"):
        check_hardware("gpu", present, "16-mixed")


def test_a_v100_under_a_torch_without_code_for_it(machine: Machine) -> None:
    """Catches "no kernel image is available" in the first step, after minutes of preparation."""
    machine((7, 0))
    message = refusal("gpu", 1, "16-mixed")
    assert "GPU of sm_70 (sm_70)" in message
    assert "cu126 wheel" in message
    assert message.endswith(ON_CPU)
    machine((7, 0), built_for=["sm_60", "sm_70", "sm_80"])
    check_hardware("gpu", 1, "16-mixed")


def test_only_the_gpus_that_are_asked_for_count(machine: Machine) -> None:
    """Catches a refusal because of a GPU that the run does not use."""
    machine((9, 0), (7, 0))
    check_hardware("gpu", 1, "16-mixed")
    assert "GPU 1" in refusal("gpu", [1], "16-mixed")


def test_code_that_serves_a_later_gpu(machine: Machine) -> None:
    """Catches a check by equality, which would refuse most consumer cards, and one of other
    accelerators, which are Lightning's business."""
    for capability, built_for in (
        ((8, 9), ["sm_80"]),  # same generation, later member
        ((12, 0), ["sm_80", "compute_90"]),  # the driver compiles intermediate code
        ((9, 0), ["sm_90a"]),
        ((10, 0), ["sm_100"]),
    ):
        machine(capability, built_for=built_for)
        check_hardware("gpu", 1, "16-mixed")
    machine()
    check_hardware("tpu", 8, "16-mixed")


def test_description(machine: Machine) -> None:
    """Catches a record without the GPU's name, or with memory in other units."""
    machine((7, 0))
    described = describe_hardware()
    assert described["gpus"] == [{"name": "GPU of sm_70", "memory_gib": 16.0}]
    assert described["cores"] >= 1
    assert described["threads"] == torch.get_num_threads()
    assert isinstance(described["cpu"], str)
