"""A dataset that rdmf knows by name: where its files are expected, and what to say when they are not there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rdmf.store.errors import InputError
from rdmf_pipelines.datasets.find_videos import VideoIndex
from rdmf_pipelines.datasets.plan import Annotations, DatasetPlan, locate
from rdmf_pipelines.datasets.repairs import Repairs

# read(file, split, annotations, repairs): parse one annotation file into `annotations`.
ReadFile = Callable[[Path, str, Annotations, Repairs], None]


@dataclass(frozen=True)
class Source:
    """A published dataset.

    Attributes:
        name: as given to --dataset; also the name of its folder under `data/`.
        title: as its publishers write it.
        files: for each split, file names of which the first that exists is read.
        annotations_from: what to get and from whom, for the message when it is missing.
        videos_from: the same for the videos.
        licence: note stored in the cache.
        read: parser of one annotation file.
        other_names: other names that a video's file may have.
    """

    name: str
    title: str
    files: dict[str, tuple[str, ...]]
    annotations_from: str
    videos_from: str
    licence: str
    read: ReadFile
    other_names: Callable[[str], tuple[str, ...]] = lambda vid: ()

    def load(self, annotations: Path | None, videos: Path | None) -> DatasetPlan:
        """Read the annotations and find the videos.

        Args:
            annotations: folder of the annotation files, default `data/NAME/annotations`.
            videos: folder tree of the video files, default `data/NAME/videos`.

        Raises:
            InputError: files missing (one message: what, from where, where to put it), or malformed.
        """
        annotation_folder = annotations or Path("data", self.name, "annotations")
        video_folder = videos or Path("data", self.name, "videos")
        found = self._find(annotation_folder)
        index = VideoIndex(video_folder) if video_folder.is_dir() else None
        self._refuse_missing(annotation_folder, video_folder, found=bool(found), any_video=bool(index and index.count))
        assert index is not None  # else refused above

        collected, repairs = Annotations(), Repairs()
        for split, path in found.items():
            before = len(collected.queries)
            self.read(path, split, collected, repairs)
            if len(collected.queries) == before:
                raise InputError(f"{path}: no usable query in it ({repairs.sentence() or 'it is empty'})")
        names = {query.vid: (query.vid, *self.other_names(query.vid)) for query in collected.queries}
        located, missing = locate(collected.queries, index, names=names)
        absent = [split for split in self.files if split not in found]
        remarks = [f"no annotations of split '{split}' in {annotation_folder}" for split in absent]
        if sentence := repairs.sentence():
            remarks.append(sentence)
        return DatasetPlan(
            name=self.name,
            queries=collected.queries,
            videos=located,
            missing=missing,
            licence=self.licence,
            notes={
                "dataset": self.title,
                "recipe": self.name,
                "annotation_files": {split: path.name for split, path in found.items()},
                "repairs": repairs.as_notes(),
            },
            remarks=remarks,
        )

    def _find(self, folder: Path) -> dict[str, Path]:
        candidates = {split: [folder / name for name in names] for split, names in self.files.items()}
        found = {split: next((p for p in paths if p.is_file()), None) for split, paths in candidates.items()}
        return {split: path for split, path in found.items() if path is not None}

    def _refuse_missing(self, annotations: Path, videos: Path, *, found: bool, any_video: bool) -> None:
        parts = []
        if not found:
            wanted = ", ".join(names[0] for names in self.files.values())
            parts.append(f"annotations: get {wanted} from {self.annotations_from} and put them into {annotations}")
        if not any_video:
            parts.append(f"videos: get {self.videos_from} and put the files into {videos} (any sub-folders)")
        if parts:
            raise InputError(
                f"{self.title} is not complete here; {'; '.join(parts)}; or name other folders with --annotations and "
                "--videos"
            )
