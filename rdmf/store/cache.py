"""Reading a cache: what the trainer, the evaluation and the merger see of it."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from rdmf.store.errors import InputError
from rdmf.store.fingerprint import fingerprint
from rdmf.store.header import checked_header, open_file, parse_header
from rdmf.store.layout import BULK, TEXT_FEATURES, VIDEO_FEATURES, Columns, read_structure
from rdmf.store.parts import DataFile, check_parts, linked_files
from rdmf.store.queries import Names, QueryTable
from rdmf.store.records import Array, Failure, Provenance, QueryRecord
from rdmf.store.rows import Files, RowTable
from rdmf.store.string_index import StringIndex
from rdmf.store.strings import Strings
from rdmf.store.tables import TextTable, VideoTable

_WHOLE = np.zeros((1, 3), np.int64)  # one run: file 0, from its row 0, is row 0 here


def open_cache(path: str | Path) -> Cache:
    """Opens a cache, or an index over parts, for reading. Reads no features and computes no checksum.

    Raises:
        InputError: missing, a directory, not HDF5, foreign HDF5, another schema, truncated, or (for an index) a part
            that is missing, truncated or not the one the index was made over.
    """
    return Cache(path)


class Cache:
    """A finished, read-only feature cache. V videos with R rows in all, T sentences, Q queries.

    Nothing is read before it is asked for. It may be used by several threads, after a fork, and pickled (the other
    process opens the file anew); no lock is taken. It keeps the file open, so that a new cache may take the file's
    name meanwhile: what was opened is what is read.
    """

    def __init__(self, path: str | Path, *, checked: bool = True) -> None:
        self.path = Path(path)
        handle, self.block = open_file(self.path)
        try:
            self.header = checked_header(self.path, handle, self.block) if checked else parse_header(self.block)
            structure = read_structure(self.path, handle)
        except BaseException:
            handle.close()
            raise
        self._own = Files([self.path], blocks=[self.block] if checked else ())
        self._own.adopt(0, handle)
        self.about = structure.about
        self.provenance = Provenance(
            video=structure.provenance["video"], text=structure.provenance["text"], notes=structure.notes
        )
        self.fingerprint = structure.fingerprint
        if checked and fingerprint(self.provenance) != self.fingerprint:
            raise InputError(f"{self.path} is damaged: its provenance does not match its fingerprint; copy it again")
        self.d_video, self.d_text = int(self.about["d_video"]), int(self.about["d_text"])
        self.feature_dtype = np.dtype(self.about["feature_dtype"])
        self.structure = structure
        self.columns = Columns(self.path, self._own, structure, checked=checked)
        self.is_index = self.about["kind"] == "index"
        if self.is_index:
            self.data_files = linked_files(self.path, self.columns)
            if checked:
                check_parts(self.path, self.data_files)
            blocks = [file.block for file in self.data_files] if checked else ()
            self._files = Files([file.path for file in self.data_files], blocks=blocks)
        else:
            offsets = tuple(structure.extents[name].offset for name in BULK)
            n_bytes, sha256 = (self.header.n_bytes, self.header.sha256) if self.header else (-1, "")
            self.data_files = [DataFile(self.path, n_bytes, sha256, (offsets[0], offsets[1], offsets[2]))]
            self._files = self._own
        self._strings = Names(self.columns)
        self.queries = QueryTable(self.columns, self._strings, self.n_videos)

    # Videos

    @property
    def n_videos(self) -> int:
        """V."""
        return self.columns.shape("video/duration")[0]

    @cached_property
    def n_rows(self) -> int:
        """R."""
        return int(self.row_offsets[-1]) if self.is_index else self.columns.shape(VIDEO_FEATURES)[0]

    @property
    def vids(self) -> Strings:
        """Names of the videos that have features, in the order of their rows."""
        return self._strings.vids

    @cached_property
    def durations(self) -> Array:
        """float64 (V,), measured seconds."""
        return self.columns.array("video/duration")

    @cached_property
    def annotated_durations(self) -> Array:
        """float64 (V,), seconds that the annotations claim, or NaN."""
        return self.columns.array("video/annotated_duration")

    @cached_property
    def row_offsets(self) -> Array:
        """int64 (V+1,): video i has rows [row_offsets[i], row_offsets[i+1]) of the flat tables."""
        return self.columns.array("video/row_offsets")

    @cached_property
    def recovered(self) -> Array:
        """float64 (V,), share of each video's frames that could be decoded."""
        return self.columns.array("video/recovered")

    @cached_property
    def padded(self) -> Array:
        """bool (V,), True where the video was shorter than one window."""
        return self.columns.array("video/padded")

    @cached_property
    def decoders(self) -> list[str]:
        """Which decoder gave each video's frames."""
        names = list(self.columns.strings("video/decoder_name"))
        return [names[code] for code in self.columns.array("video/decoder_code").tolist()]

    def video(self, vid_or_index: str | int) -> tuple[Array, Array]:
        """(features (L, d_video), times (L, 2) float64 seconds) of one video.

        Raises:
            InputError: no video of that name.
            IndexError: no video of that number.
        """
        if isinstance(vid_or_index, str):
            index = self._names.number(vid_or_index)
            if index < 0:
                raise InputError(f"no video '{vid_or_index}' in {self.path}")
        else:
            index = range(self.n_videos)[vid_or_index]
        start, stop = int(self.row_offsets[index]), int(self.row_offsets[index + 1])
        return self._video_rows.read(start, stop), self._times_rows.read(start, stop)

    def video_rows(self, start: int | None = None, stop: int | None = None) -> Array:
        """Rows [start, stop) of the flat feature table, (rows, d_video); all of it is one contiguous read a file."""
        return self._video_rows.read(start, stop)

    def times_rows(self, start: int | None = None, stop: int | None = None) -> Array:
        """Rows [start, stop) of the flat timeline, float64 (rows, 2): [t_start, t_end) in seconds."""
        return self._times_rows.read(start, stop)

    def video_numbers(self, vids: Strings) -> Array:
        """int64 (N,): the number of each named video, -1 where it has no features."""
        return self._names.find(vids)

    # Sentences

    @property
    def n_texts(self) -> int:
        """T."""
        return self.columns.shape("text/token_offsets")[0] - 1

    @cached_property
    def n_tokens(self) -> int:
        """Rows of the token table."""
        return int(self.token_offsets[-1]) if self.is_index else self.columns.shape(TEXT_FEATURES)[0]

    @property
    def texts(self) -> Strings:
        """The distinct sentences."""
        return self._strings.texts

    @cached_property
    def token_offsets(self) -> Array:
        """int64 (T+1,): sentence i has rows [token_offsets[i], token_offsets[i+1]) of the flat token table."""
        return self.columns.array("text/token_offsets")

    def text(self, index: int) -> Array:
        """(M, d_text) token features of one sentence."""
        index = range(self.n_texts)[index]
        return self._text_rows.read(int(self.token_offsets[index]), int(self.token_offsets[index + 1]))

    def text_rows(self, start: int | None = None, stop: int | None = None) -> Array:
        """Rows [start, stop) of the flat token table, (tokens, d_text)."""
        return self._text_rows.read(start, stop)

    # Queries

    @property
    def splits(self) -> list[str]:
        """The splits that have queries, in order of first appearance."""
        return self.queries.split_names

    def select(self, split: str) -> Array:
        """int64 indices of the queries of a split.

        Raises:
            InputError: no such split; the message names those there are.
        """
        if split not in self.splits:
            there = ", ".join(self.splits) or "none, for it has no queries"
            raise InputError(f"no split '{split}' in {self.path}; it has: {there}")
        return np.flatnonzero(self.queries.split_codes == self.splits.index(split)).astype(np.int64)

    def query_records(self, split: str | None = None) -> list[QueryRecord]:
        """The queries of one split, or all, as records."""
        chosen = np.arange(len(self.queries)) if split is None else self.select(split)
        return self.queries.records(chosen)

    def missing_videos(self) -> list[str]:
        """Names of videos that queries ask about but that have no features, in order of first appearance."""
        return list(self.queries.absent_vids)

    @cached_property
    def failures(self) -> list[Failure]:
        """Videos that could not be extracted, with the reason."""
        vids, reasons = self.columns.strings("failure/vid"), self.columns.strings("failure/reason")
        return [Failure(vid, reason) for vid, reason in zip(vids, reasons, strict=True)]

    # Everything at once, as Python's own objects

    def video_table(self) -> VideoTable:
        """All there is about the videos besides their rows."""
        return VideoTable(
            vids=list(self.vids),
            counts=np.diff(self.row_offsets).tolist(),
            durations=self.durations.tolist(),
            annotated_durations=self.annotated_durations.tolist(),
            recovered=self.recovered.tolist(),
            padded=self.padded.tolist(),
            decoders=list(self.decoders),
            digests=[digest.tobytes() for digest in self.columns.array("video/sha256")],
        )

    def text_table(self) -> TextTable:
        """All there is about the sentences besides their rows."""
        digests = [digest.tobytes() for digest in self.columns.array("text/sha256")]
        return TextTable(texts=list(self.texts), counts=np.diff(self.token_offsets).tolist(), digests=digests)

    # Where the rows lie

    @cached_property
    def video_runs(self) -> Array:
        """int64 (n, 3), stretches of video rows: number in `data_files`, first row there, first row here."""
        return self.columns.array("link/video_runs") if self.is_index else _WHOLE

    @cached_property
    def text_runs(self) -> Array:
        """int64 (n, 3), the same for token rows."""
        return self.columns.array("link/text_runs") if self.is_index else _WHOLE

    def close(self) -> None:
        """Lets go of open files; reading again opens them again, if they are still the same."""
        self._own.close()
        self._files.close()

    def __enter__(self) -> Cache:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Cache({str(self.path)!r}: {self.n_videos} videos, {self.n_rows} rows, {len(self.queries)} queries)"

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path.absolute(), "header": self.header}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["path"])  # type: ignore[misc]
        if self.header != state["header"]:
            raise InputError(f"{self.path} was replaced by another cache while in use; start again")

    @cached_property
    def _names(self) -> StringIndex:
        return StringIndex(self.vids)

    @cached_property
    def _video_rows(self) -> RowTable:
        return self._table(0, self.video_runs, self.n_rows, self.d_video, self.feature_dtype)

    @cached_property
    def _times_rows(self) -> RowTable:
        return self._table(1, self.video_runs, self.n_rows, 2, np.dtype(np.float64))

    @cached_property
    def _text_rows(self) -> RowTable:
        return self._table(2, self.text_runs, self.n_tokens, self.d_text, self.feature_dtype)

    def _table(self, which: int, runs: Array, n_rows: int, width: int, dtype: np.dtype[Any]) -> RowTable:
        offsets = [file.offsets[which] for file in self.data_files]
        return RowTable(self._files, offsets, runs, n_rows=n_rows, width=width, dtype=dtype)
