"""Writing a part or a whole cache from records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType

import numpy as np

from rdmf.store.compose import Contents, check_feature_dtype, write_file
from rdmf.store.errors import InputError
from rdmf.store.fingerprint import as_json
from rdmf.store.header import make_place
from rdmf.store.query_records import check_query
from rdmf.store.records import Array, Failure, Provenance, QueryRecord, TextRecord, VideoRecord
from rdmf.store.rows import BLOCK_BYTES
from rdmf.store.tables import TextTable, VideoTable, text_digest


class PartWriter:
    """Gathers records in memory and writes them as one file when closed: the file is whole or absent.

    Nothing is on disk before `close`, so a part should be of a size that fits memory comfortably. As a context
    manager it closes on success and leaves nothing behind on an exception.

    Args:
        path: the file to be; its directory is made where needed. A file already there is replaced at the end.
        provenance: what made the features. If `video` or `text` has an integer `dim`, features must have it.
        feature_dtype: "float16" or "float32", how features of both streams are stored.

    Raises:
        InputError: the path is a directory, or the provenance is not JSON.
    """

    def __init__(self, path: Path, provenance: Provenance, *, feature_dtype: str = "float16") -> None:
        check_feature_dtype(feature_dtype)
        as_json({"video": provenance.video, "text": provenance.text, "notes": provenance.notes}, "provenance")
        self.path = Path(path)
        make_place(self.path)
        self._provenance = provenance
        self._dtype = np.dtype(feature_dtype)
        self._videos, self._texts = VideoTable(), TextTable()
        self._known_vids: set[str] = set()
        self._known_texts: set[str] = set()
        self._known_qids: set[tuple[str, int | str]] = set()
        self._features: list[Array] = []
        self._times: list[Array] = []
        self._tokens: list[Array] = []
        self._queries: list[QueryRecord] = []
        self._failures: list[Failure] = []
        self._d_video = _recorded_dim(provenance.video)
        self._d_text = _recorded_dim(provenance.text)
        self._open = True

    @property
    def n_videos(self) -> int:
        """Videos added so far."""
        return len(self._features)

    @property
    def n_bytes(self) -> int:
        """Bytes of features held in memory so far."""
        return sum(array.nbytes for array in (*self._features, *self._times, *self._tokens))

    def add_video(self, record: VideoRecord) -> None:
        """Adds a video.

        Raises:
            InputError: a video of that name is there already, features are of another width than the others', or a
                value does not fit the storage type.
        """
        self._check_open()
        where = f"video '{record.vid}'"
        if not record.vid or not _is_unicode(record.vid):
            raise InputError(f"video name {record.vid!a} is empty or not valid Unicode; rename it")
        if record.vid in self._known_vids:
            raise InputError(f"{where} is in this part already; every video may be added once")
        self._d_video = _agreed_width(where, record.features, self._d_video)
        features = self._stored(where, record.features)
        times = np.array(record.times, np.float64)
        self._videos.append(record, features, times)
        self._known_vids.add(record.vid)
        self._features.append(features)
        self._times.append(times)

    def add_text(self, record: TextRecord) -> None:
        """Adds a sentence's token features; one that is there already is passed over.

        Raises:
            InputError: another width than the others', or a value that does not fit the storage type.
        """
        self._check_open()
        where = f"text '{record.text[:60]}'"
        if not _is_unicode(record.text):
            raise InputError(f"text {record.text[:60]!a} is not valid Unicode")
        if record.text in self._known_texts:
            return
        self._d_text = _agreed_width(where, record.features, self._d_text)
        tokens = self._stored(where, record.features)
        self._texts.texts.append(record.text)
        self._texts.counts.append(len(tokens))
        self._texts.digests.append(text_digest(record.text, tokens))
        self._known_texts.add(record.text)
        self._tokens.append(tokens)

    def add_query(self, record: QueryRecord) -> None:
        """Adds a query. Its sentence's token features must have been added by the time of `close`; its video need
        not be there (it then counts as missing).

        Raises:
            InputError: its split has a query of that id already, or it holds something that cannot be stored.
        """
        self._check_open()
        check_query(record)
        key = (record.split, record.qid)
        if key in self._known_qids:
            raise InputError(f"query id {record.qid!r} is in split '{record.split}' twice; ids must be unique there")
        self._known_qids.add(key)
        self._queries.append(record)

    def add_failure(self, failure: Failure) -> None:
        """Adds a video that could not be extracted; the latest reason counts, and none if the video is added."""
        self._check_open()
        self._failures.append(failure)

    def add_annotations(
        self, texts: Iterable[TextRecord], queries: Iterable[QueryRecord], failures: Iterable[Failure] = ()
    ) -> None:
        """Adds everything that is not a video."""
        for text in texts:
            self.add_text(text)
        for query in queries:
            self.add_query(query)
        for failure in failures:
            self.add_failure(failure)

    def close(self) -> Path:
        """Writes the file, syncs it and gives it its name; returns the path. A second call does nothing.

        Raises:
            InputError: a query's sentence has no token features, or the place cannot be written to.
        """
        if self._open:
            write_file(
                self.path,
                Contents(
                    provenance=self._provenance,
                    feature_dtype=self._dtype.name,
                    d_video=self._d_video or 0,
                    d_text=self._d_text or 0,
                    videos=self._videos,
                    video_blocks=zip(_joined(self._features), _joined(self._times, like=self._features)),
                    texts=self._texts,
                    text_blocks=_joined(self._tokens),
                    queries=self._queries,
                    failures=self._failures,
                ),
            )
            self._release()
        return self.path

    def abort(self) -> None:
        """Forgets everything; no file is left or changed."""
        self._release()

    def __enter__(self) -> PartWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def _release(self) -> None:
        self._open = False
        self._features, self._times, self._tokens = [], [], []

    def _check_open(self) -> None:
        if not self._open:
            raise ValueError(f"the writer of {self.path} is closed")

    def _stored(self, where: str, features: Array) -> Array:
        """A private copy in the storage type."""
        with np.errstate(over="ignore"):
            stored = features.astype(self._dtype, copy=True)
        if not np.isfinite(stored).all():
            row = int(np.flatnonzero(~np.isfinite(stored).all(axis=1))[0])
            worst = float(np.abs(features[row].astype(np.float64)).max())
            raise InputError(
                f"{where}: {worst:.6g} in row {row} does not fit {self._dtype.name} "
                f"(largest {float(np.finfo(self._dtype).max):.6g}); store it with feature_dtype='float32'"
            )
        return stored


def write_cache(
    path: Path | str,
    provenance: Provenance,
    videos: Iterable[VideoRecord],
    texts: Iterable[TextRecord],
    queries: Iterable[QueryRecord],
    failures: Iterable[Failure] = (),
    *,
    feature_dtype: str = "float16",
) -> Path:
    """Writes a whole cache from records; see `PartWriter` for what is refused."""
    with PartWriter(Path(path), provenance, feature_dtype=feature_dtype) as writer:
        for video in videos:
            writer.add_video(video)
        writer.add_annotations(texts, queries, failures)
    return writer.path


def _recorded_dim(settings: dict[str, object]) -> int | None:
    dim = settings.get("dim")
    return dim if isinstance(dim, int) and not isinstance(dim, bool) else None


def _agreed_width(where: str, features: Array, width: int | None) -> int:
    if features.shape[1] == 0:
        raise InputError(f"{where}: features have no columns")
    if width is not None and features.shape[1] != width:
        raise InputError(f"{where}: features are {features.shape[1]} wide, but {width} is this cache's width")
    return int(features.shape[1])


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _joined(arrays: list[Array], like: list[Array] | None = None) -> Iterator[Array]:
    """Consecutive arrays joined to blocks of about BLOCK_BYTES, cut where the blocks of `like` are cut."""
    sizes = [array.nbytes for array in (arrays if like is None else like)]
    first, held = 0, 0
    for i, size in enumerate(sizes):
        held += size
        if held >= BLOCK_BYTES or i + 1 == len(sizes):
            yield np.concatenate(arrays[first : i + 1])
            first, held = i + 1, 0
