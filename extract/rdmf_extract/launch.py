"""What a launcher says of this process: which of how many, so that `rdmf extract` needs no flags in a job script.

Slurm numbers the tasks of an array and those of an `srun`; torchrun numbers its workers. An array whose every task is
an `srun` or a `torchrun` of several processes is divided twice.
"""

from __future__ import annotations

from collections.abc import Mapping

from rdmf.store import InputError
from rdmf_extract.shards import Shard


def detect_shard(environment: Mapping[str, str]) -> Shard | None:
    """This process's share according to its environment; None where it is the only one.

    None too in an array whose ids are not evenly spaced (a few tasks started again, say): a task cannot know its place
    among them, and runs without shards share the work as they go.

    Raises:
        InputError: a variable that is no number, or variables that contradict each other.
    """
    array, inner = _array(environment), _torchrun(environment) or _srun(environment)
    if array is None or inner is None:
        return array or inner
    source = f"{array.source}, {inner.source}"
    return Shard(array.index * inner.count + inner.index, array.count * inner.count, source)


def local_rank(environment: Mapping[str, str]) -> int | None:
    """Which of this machine's processes this one is, where a launcher started several; None where none says so."""
    if _torchrun(environment) is not None:
        return _number(environment, "LOCAL_RANK")
    return _number(environment, "SLURM_LOCALID") if _srun(environment) is not None else None


def local_processes(environment: Mapping[str, str]) -> int:
    """How many processes torchrun started on this machine, which share its cores; 1 where it did not."""
    if _torchrun(environment) is None:
        return 1  # Slurm gives each task cores of its own: see `granted_cores`
    return max(1, _number(environment, "LOCAL_WORLD_SIZE") or 1)


def granted_cores(environment: Mapping[str, str]) -> int | None:
    """The cores that Slurm gave a task, for clusters where it binds nothing; None where it says nothing."""
    return _number(environment, "SLURM_CPUS_PER_TASK") or None


def _array(environment: Mapping[str, str]) -> Shard | None:
    task = _number(environment, "SLURM_ARRAY_TASK_ID")
    if task is None:
        return None
    first = _number(environment, "SLURM_ARRAY_TASK_MIN") or 0
    step = _number(environment, "SLURM_ARRAY_TASK_STEP") or 1
    last = _number(environment, "SLURM_ARRAY_TASK_MAX")
    count = _number(environment, "SLURM_ARRAY_TASK_COUNT")
    if count is None:
        if last is None:
            raise InputError(
                "SLURM_ARRAY_TASK_ID is set, but neither SLURM_ARRAY_TASK_COUNT nor SLURM_ARRAY_TASK_MAX; "
                "say --shard i/n, or --shard none to do all of it"
            )
        count = (last - first) // step + 1
    index, rest = divmod(task - first, step)
    uneven = rest or not 0 <= index < count or (last is not None and last != first + (count - 1) * step)
    return None if uneven else _several(index, count, "SLURM_ARRAY_TASK_ID")


def _srun(environment: Mapping[str, str]) -> Shard | None:
    index, count = _number(environment, "SLURM_PROCID"), _number(environment, "SLURM_NTASKS")
    # In a batch script itself Slurm sets both as well, though only one process runs: only steps have an id.
    batch_script = "SLURM_JOB_ID" in environment and "SLURM_STEP_ID" not in environment
    if index is None or count is None or batch_script:
        return None
    return _several(index, count, "SLURM_PROCID")


def _torchrun(environment: Mapping[str, str]) -> Shard | None:
    index, count = _number(environment, "RANK"), _number(environment, "WORLD_SIZE")
    return None if index is None or count is None else _several(index, count, "RANK")


def _several(index: int, count: int, source: str) -> Shard | None:
    return Shard(index, count, source) if count > 1 else None


def _number(environment: Mapping[str, str], name: str) -> int | None:
    text = environment.get(name, "").strip()
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        raise InputError(f"{name}={text} in the environment is no number; say --shard i/n, or --shard none") from None
