"""What went wrong with a hub, in one line that says how to mend it."""

from __future__ import annotations

import errno

from rdmf.store import InputError

_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.ENOENT, errno.ENOTDIR, errno.EISDIR}
#: Names of errors of the HTTP libraries that huggingface_hub has stood on: nobody answered, or not to the end.
_NETWORK = {"ConnectionError", "TransportError", "Timeout", "TimeoutException", "LocalEntryNotFoundError"}


def explained(error: Exception, *, what: str, where: str) -> Exception:
    """The error to raise instead of one that came out of huggingface_hub.

    Args:
        what: what was tried, as it stands before the place ("read x from").
        where: the repository and the endpoint.
    """
    from huggingface_hub import errors

    chain = _chain(error)
    for cause in chain:
        if isinstance(cause, InputError):
            return cause
        if isinstance(cause, errors.OfflineModeIsEnabled):
            return InputError(f"cannot {what} {where}: HF_HUB_OFFLINE is set; unset it, or share through a folder")
        if isinstance(cause, errors.GatedRepoError):
            return InputError(f"cannot {what} {where}: it is gated; ask its owner for access, then log in (HF_TOKEN)")
        if isinstance(cause, errors.RevisionNotFoundError):
            return InputError(f"cannot {what} {where}: no such --revision")
        if isinstance(cause, errors.EntryNotFoundError) and not isinstance(cause, FileNotFoundError):
            return InputError(f"cannot {what} {where}: it is not there, though the repository is")
        if isinstance(cause, errors.HfHubHTTPError):
            return InputError(f"cannot {what} {where}: {_of_status(cause)}")
        if isinstance(cause, errors.HFValidationError):
            return InputError(f"cannot {what} {where}: {_first_line(cause)}")
        if isinstance(cause, OSError) and cause.errno in _DISK:
            return cause  # the command line tells of a full disk and the like
    if any(kind.__name__ in _NETWORK for cause in chain for kind in type(cause).__mro__):
        return InputError(
            f"cannot {what} {where}: {_first_line(chain[-1])}; check the network and HF_ENDPOINT, then run the same "
            "command again, which goes on where it stopped"
        )
    return InputError(f"cannot {what} {where}: {type(error).__name__}: {_first_line(error)}")


def _of_status(error: Exception) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return f"not allowed ({status}); log in (`hf auth login`, or HF_TOKEN) as somebody who may"
    if status == 404:
        return "there is no such dataset repository, or you may not see it; check the name, or log in (HF_TOKEN)"
    said = getattr(error, "server_message", None) or _first_line(error)
    return f"it answered {status}: {said}"


def _chain(error: BaseException) -> list[BaseException]:
    """An error and those it arose from, the outermost first."""
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in chain:
        chain.append(cause)
        cause = cause.__cause__ or cause.__context__
    return chain


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
