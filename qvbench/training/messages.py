"""What a run says beside its results: the suite's messages, without other packages' chatter."""

from __future__ import annotations

import logging
import sys
import warnings

from qvbench.training.processes import is_first_process


class _StandardError(logging.Handler):
    """Writes to what standard error is at that moment: notebooks and tests replace it."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            print(self.format(record), file=sys.stderr, flush=True)
        except Exception:  # a message that cannot be shown ends no run
            self.handleError(record)


_STANDARD_ERROR = _StandardError()


def set_up_logging() -> None:
    """The suite's messages go to standard error, from the first process only; less chatter."""
    logger = logging.getLogger("qvbench")
    logger.setLevel(logging.INFO if is_first_process() else logging.WARNING)
    logger.addHandler(_STANDARD_ERROR)  # one handler is added only once
    advertising = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    advertising.addFilter(lambda record: "Tip:" not in record.getMessage())
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")  # Lightning's, with a newer torch
    # Batches come from memory-mapped arrays: workers would only cost their start.
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
