"""Fetching a file of weights without ever waiting long for a network that is not there."""

from __future__ import annotations

import hashlib
import os
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import Any

CONNECT_SECONDS = 5.0
"""How long a host may take to answer before it counts as unreachable."""


class UnreachableError(Exception):
    """The network, the host or the file cannot be had; the message is one short reason."""


def offline() -> bool:
    """True where the user forbade the network (HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE set to a true value)."""
    names = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    return any(os.environ.get(name, "").strip().lower() in {"1", "true", "yes", "on"} for name in names)


def open_url(url: str) -> Any:
    """The response of a GET, or `UnreachableError` within about `CONNECT_SECONDS`.

    Runs in a thread, because a socket time-out does not bound the name look-up, which can hang for minutes.
    """
    if offline():
        raise UnreachableError("offline mode is set")
    request = urllib.request.Request(url, headers={"User-Agent": "rdmf"})
    return _within(lambda: urllib.request.urlopen(request, timeout=CONNECT_SECONDS), CONNECT_SECONDS + 1)


def status_of(url: str) -> int:
    """HTTP status of a GET to `url`; `UnreachableError` where no host answers."""
    try:
        with open_url(url) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code


def download(url: str, target: Path, *, sha256_prefix: str = "") -> Path:
    """Stream `url` into `target`, whole or not at all.

    Raises:
        UnreachableError: no network, an HTTP error, a stalled or short transfer, or a hash that starts otherwise.
    """
    partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
    digest = hashlib.sha256()
    try:
        with open_url(url) as response:
            target.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                while block := response.read(1 << 20):
                    digest.update(block)
                    file.write(block)
        if not digest.hexdigest().startswith(sha256_prefix):
            raise UnreachableError("the downloaded file has the wrong hash")
        partial.replace(target)
    except (OSError, HTTPException) as error:
        raise UnreachableError(_reason(error)) from error
    finally:
        partial.unlink(missing_ok=True)
    return target


def _within(call: Callable[[], Any], seconds: float) -> Any:
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append((call(), None))
        except Exception as error:  # handed to the caller's thread below
            outcome.append((None, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if not outcome:
        raise UnreachableError(f"no answer within {seconds:.0f} s")
    value, error = outcome[0]
    if isinstance(error, urllib.error.HTTPError):
        raise error
    if error is not None:
        raise UnreachableError(_reason(error)) from error
    return value


def _reason(error: BaseException) -> str:
    inner = getattr(error, "reason", None)
    return " ".join(str(inner or error or type(error).__name__).split())[:120]
