"""The one exception that means: the user can mend this."""

from __future__ import annotations


class UserError(Exception):
    """A fault in what the user gave: command line, config, file or network.

    The message is one line that names the place, the fault and the remedy. The command line
    prints it on standard error without a traceback and exits with status 2; everything else
    that goes wrong is ours, is not caught, and exits with status 1.
    """
