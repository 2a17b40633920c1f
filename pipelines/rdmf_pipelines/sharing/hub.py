"""A dataset repository on the Hugging Face Hub, or on a mirror of it, as a place to share caches in.

`huggingface_hub` speaks with it, so its environment counts: HF_ENDPOINT (a mirror), HF_TOKEN or a login, proxies,
HF_HUB_OFFLINE. It is imported with the first place that is made.
"""

from __future__ import annotations

import io
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from rdmf import __version__
from rdmf.store import InputError
from rdmf_pipelines.sharing.bundle import CARD, LISTING, SharedFile
from rdmf_pipelines.sharing.hub_errors import explained

#: What a hub gives by plain HTTP; larger files only by its own transfer, which huggingface_hub does when it can.
MOST_BYTES_BY_HTTP = 50 * 1000**3
_TYPE = "dataset"
T = TypeVar("T")


class HubPlace:
    """One repository at one commit (for reading) or on one branch (for writing).

    Raises:
        InputError: no network, no such repository or revision, no right to it.
    """

    def __init__(
        self, repository: str, *, writing: bool, revision: str | None, private: bool, endpoint: str | None
    ) -> None:
        endpoint = endpoint or os.environ.get("HF_ENDPOINT") or None
        if endpoint is not None:
            # Some of its versions read addresses back by what the environment said when it was imported.
            os.environ["HF_ENDPOINT"] = endpoint
        import huggingface_hub
        from huggingface_hub.utils import disable_progress_bars

        if not sys.stderr.isatty():
            disable_progress_bars()
        self._api: Any = huggingface_hub.HfApi(endpoint=endpoint, library_name="rdmf", library_version=__version__)
        self.name = self.card_name = repository
        self._branch = revision
        if writing:
            self._make(private)
        self._commit = self._ask("find", lambda: self._api.dataset_info(repository, revision=revision).sha)

    def read(self, path: str) -> bytes | None:
        if not self._ask(f"look for {path} in", lambda: self._has(path)):
            return None
        content = io.BytesIO()
        self._ask(f"read {path} from", lambda: self._get(path, content, None))
        return content.getvalue()

    def fetch(self, file: SharedFile, into: Path) -> None:
        if file.bytes > MOST_BYTES_BY_HTTP:
            self._ask(f"fetch {file.path} from", lambda: self._get_large(file, into))
            return
        with into.open("ab") as taken:
            self._ask(f"fetch {file.path} from", lambda: self._get(file.path, taken, file.bytes))

    def put(self, files: Mapping[SharedFile, Path], texts: Mapping[str, bytes], obsolete: Sequence[str]) -> None:
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        if self._ask("look into", lambda: self._has(CARD) and not self._has(LISTING)):
            raise InputError(f"{self.name} has a {CARD} but no shared cache; name a repository of its own")
        operations: list[Any] = [CommitOperationAdd(file.path, str(source)) for file, source in files.items()]
        operations += [CommitOperationAdd(path, content) for path, content in texts.items()]
        operations += [CommitOperationDelete(path, is_folder=False) for path in obsolete]
        # One commit, so that readers see all of it or nothing; what was uploaded before a break is not sent again.
        self._ask(
            "upload to",
            lambda: self._api.create_commit(
                self.name,
                operations,
                commit_message=f"Feature cache, rdmf {__version__}",
                repo_type=_TYPE,
                revision=self._branch,
            ),
        )

    def _make(self, private: bool) -> None:
        """The repository and the branch, where they are not there yet."""
        self._ask(
            "make", lambda: self._api.create_repo(self.name, repo_type=_TYPE, private=private or None, exist_ok=True)
        )
        if private and not self._ask("find", lambda: self._api.dataset_info(self.name).private):
            raise InputError(f"{self.name} is there already and public, and --private was asked for; name another one")
        if self._branch is not None:
            self._ask(
                f"make branch {self._branch} in",
                lambda: self._api.create_branch(self.name, branch=self._branch, repo_type=_TYPE, exist_ok=True),
            )

    def _has(self, path: str) -> bool:
        return bool(self._api.file_exists(self.name, path, repo_type=_TYPE, revision=self._commit))

    def _get(self, path: str, into: Any, n_bytes: int | None) -> None:
        """A file by plain HTTP, going on at the end of `into`."""
        from huggingface_hub import hf_hub_url
        from huggingface_hub.file_download import http_get
        from huggingface_hub.utils import build_hf_headers

        url = hf_hub_url(self.name, path, repo_type=_TYPE, revision=self._commit, endpoint=self._api.endpoint)
        # Compressed on the way, the answer to a request for the rest would not be that rest.
        headers = {**build_hf_headers(library_name="rdmf", library_version=__version__), "Accept-Encoding": "identity"}
        http_get(url, into, resume_size=into.tell(), headers=headers, expected_size=n_bytes, displayed_filename=path)

    def _get_large(self, file: SharedFile, into: Path) -> None:
        folder = into.with_suffix(".download")
        got = self._api.hf_hub_download(
            self.name, file.path, repo_type=_TYPE, revision=self._commit, local_dir=str(folder)
        )
        Path(got).replace(into)
        shutil.rmtree(folder)

    def _ask(self, what: str, call: Callable[[], T]) -> T:
        try:
            return call()
        except Exception as error:
            raise explained(error, what=what, where=f"{self.name} at {self._api.endpoint}") from error
