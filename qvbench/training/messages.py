"""What a run says beside its results: the suite's messages, without other packages' chatter."""

from __future__ import annotations

import logging
import sys
import warnings

from qvbench.training.processes import is_first_process


def set_up_logging() -> None:
    """The suite's messages go to standard error, from the first process only; less chatter."""
    logger = logging.getLogger("qvbench")
    logger.setLevel(logging.INFO if is_first_process() else logging.WARNING)
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
    advertising = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    advertising.addFilter(lambda record: "Tip:" not in record.getMessage())
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")  # Lightning's, with a newer torch
    # Batches come from memory-mapped arrays: workers would only cost their start.
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
