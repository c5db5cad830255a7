"""Whether this user has a key for Weights & Biases; asks nobody and needs no torch."""

from __future__ import annotations

import netrc
import os
from pathlib import Path
from urllib.parse import urlsplit


def has_wandb_key() -> bool:
    """Whether W&B would find a key in the environment or in a netrc file."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    hosts = _hosts()
    files = [os.environ.get("NETRC"), "~/.netrc", "~/_netrc"]
    for file in (Path(name).expanduser() for name in files if name):
        try:
            known = netrc.netrc(str(file)).hosts
        except (OSError, netrc.NetrcParseError):
            continue
        if known.keys() & hosts:
            return True
    return False


def _hosts() -> set[str]:
    """The hosts whose key W&B would take: the one in use, and for its own cloud the older name."""
    import wandb

    given = os.environ.get("WANDB_BASE_URL")
    url = given or wandb.setup().settings.base_url
    return {urlsplit(url).netloc} | (set() if given else {"api.wandb.ai"})
