"""Both small runs of the suite's tests: Lightning's trainer around the task, and the command."""

from __future__ import annotations

from tests.cli.conftest import _own_settings, here, qvbench, tiny  # noqa: F401
from tests.tasks.conftest import data, trainer  # noqa: F401
