"""`rdmf eval`: a run on a split of its cache, or anybody's prediction file against an annotation file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rdmf.evaluation.official import Coverage
    from rdmf.evaluation.records import Record


def evaluate(
    run: Annotated[
        Path | None, typer.Argument(help="Run directory, or a checkpoint in it; default: the latest under runs/.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Split of the cache; default val, else test.")] = None,
    json: Annotated[Path | None, typer.Option("--json", help="Write the metrics to this JSON file.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Prediction file in the official form; default RUN/predictions-SPLIT.jsonl.")
    ] = None,
    features: Annotated[Path | None, typer.Option(help="Feature cache, if not where the run was trained.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    reading: Annotated[
        bool,
        typer.Option("--reading", help="Read the moments off the saliency, at a level chosen on the training split."),
    ] = False,
    predictions: Annotated[Path | None, typer.Option(help="Score this prediction file instead of a run.")] = None,
    annotations: Annotated[Path | None, typer.Option(help="Annotations (JSON lines) for --predictions.")] = None,
    allow_partial: Annotated[
        bool, typer.Option("--allow-partial", help="With --predictions: score the queries that are in both files.")
    ] = False,
) -> None:
    """Evaluate a run on a split, beside what can be guessed without the video; or score a prediction file."""
    from rdmf.evaluation.records import refuse_overwriting, refuse_unwritable
    from rdmf.store.errors import InputError

    for option, path in (("--json", json), ("--out", out)):
        if path is not None:
            refuse_unwritable(path)
        refuse_overwriting(path, option, prediction_file=predictions, annotation_file=annotations, cache=features)
    refuse_overwriting(json, "--json", prediction_file=out)
    if predictions is None and annotations is None:
        if allow_partial:
            raise InputError("--allow-partial goes with --predictions and --annotations")
        _evaluate_run(run, split, json, out, features, device, reading)
        return
    if predictions is None or annotations is None:
        raise InputError("--predictions and --annotations go together")
    given = {"RUN": run, "--split": split, "--out": out, "--features": features}
    extra = [name for name, value in given.items() if value is not None] + ["--reading"] * reading
    if extra:
        raise InputError(f"{', '.join(extra)}: not used with --predictions and --annotations; leave it out")
    _score_file(predictions, annotations, json, allow_partial)


# Scoring a file imports neither torch nor rich: the process should be over before they would have loaded.


def _score_file(predictions: Path, annotations: Path, json_path: Path | None, allow_partial: bool) -> None:
    from rdmf.evaluation.records import read_jsonl
    from rdmf.store.errors import InputError

    answers, truth = read_jsonl(predictions), read_jsonl(annotations)
    if truth[0].get("label"):
        from rdmf.evaluation.tvsum import clip_labels_metrics

        brief: dict[str, float] = clip_labels_metrics(answers, truth, allow_partial=allow_partial)
        _write_json(json_path, brief)
    else:
        from rdmf.evaluation.official import evaluate_with_coverage

        scores, counted = evaluate_with_coverage(answers, truth, allow_partial=allow_partial)
        if not scores["brief"]:
            raise InputError(f"{annotations}: no annotated windows or saliency for what {predictions} predicts")
        _write_json(json_path, scores)
        _note(counted)
        brief = scores["brief"]
        if not any(key.startswith("HL") for key in brief):
            # Not QVHighlights: its papers report R1@0.3 and mIoU too. The JSON keeps to the official keys.
            from rdmf.evaluation.summary import moment_metrics

            brief = {**brief, **moment_metrics(answers, truth, allow_partial=allow_partial)}
    print("\n".join(f"{name:<26} {value:6.2f}" for name, value in brief.items()))


def _note(counted: Coverage) -> None:
    """Say on standard error which queries the numbers leave out, unless that is a whole kind of annotation."""
    notes = {
        "annotated queries have no prediction and were left out": counted.annotated_only,
        "predictions have no annotation and were left out": counted.predicted_only,
        "queries have no annotated window and take no part in moment metrics": counted.without_moments,
        "queries have no predicted window: left out of the official mAP, a miss in R1": counted.without_prediction,
    }
    for text, count in notes.items():
        if count and (count < counted.queries or "left out" in text):
            print(f"note: {count} {text}", file=sys.stderr)


def _write_json(path: Path | None, value: Any) -> None:
    if path is None:
        return
    import json

    from rdmf.evaluation.records import write_text_atomically

    write_text_atomically(path, json.dumps(_without_nan(value), indent=4, allow_nan=False) + "\n")


def _without_nan(value: Any) -> Any:
    """NaN (nothing to average) becomes null, which JSON has."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    return None if isinstance(value, float) and value != value else value


def _evaluate_run(
    run_path: Path | None,
    split: str | None,
    json_path: Path | None,
    out: Path | None,
    features: Path | None,
    device: str,
    by_reading: bool,
) -> None:
    from rdmf.evaluation.records import annotations_from_cache, refuse_overwriting, write_jsonl
    from rdmf.predict import predict_split
    from rdmf.reading import predict_split_by_reading
    from rdmf.run import latest_run, load_run
    from rdmf.store import InputError, open_cache
    from rdmf_pipelines.studies.scoring import default_split

    run = load_run(run_path if run_path is not None else latest_run())
    cache_path = features if features is not None else run.features
    if features is None and not cache_path.exists():
        raise InputError(f"{run.path} was trained on {cache_path}, which is not there; say where with --features")
    for option, path in (("--json", json_path), ("--out", out)):
        refuse_overwriting(path, option, cache=cache_path)
    with open_cache(cache_path) as cache:
        split = split if split is not None else default_split(cache)
        every = annotations_from_cache(cache, split)
        truth = annotations_from_cache(cache, split, with_video_only=True)
        if not truth:
            raise InputError(f"{cache_path}: no query of split '{split}' has its video in the cache")
        reading = None
        if by_reading:
            answers, reading = predict_split_by_reading(run, cache, split, device)
        else:
            answers = predict_split(run, cache, split, device=device)
        learnt = run.config.data.train_split
        train = annotations_from_cache(cache, learnt, with_video_only=True) if learnt in cache.splits else []
    # Those of other weights than the best stand beside the best's, not in their place.
    weights = run_path.stem if run_path is not None and run_path.suffix == ".safetensors" else "best"
    name = f"predictions-{split}{f'-{weights}' if weights != 'best' else ''}{'-reading' if reading else ''}.jsonl"
    prediction_path = write_jsonl(out if out is not None else run.path / name, answers)

    labelled = [r for r in truth if r["relevant_windows"] or r["saliency_scores"]]
    if len(every) > len(truth):
        print(f"note: {len(every) - len(truth)} of {len(every)} queries have no video in the cache", file=sys.stderr)
    if not labelled:
        print(f"split '{split}' has no annotations to score against\npredictions: {prediction_path}")
        return
    rivals = _rivals(train, truth)
    report = {
        "run": str(run.path),
        "model": run.config.model.name,
        "features": str(cache_path),
        "split": split,
        "queries": len(truth),
        "queries_without_video": len(every) - len(truth),
        "reading": reading.about() if reading else None,
        **_report(answers, truth, rivals),
    }
    _write_json(json_path, report)
    _show(report)
    print(f"predictions: {prediction_path}")


def _rivals(train: list[Record], truth: list[Record]) -> dict[str, list[Record]]:
    """Predictions that need no video: the floor, and the ceiling of query-blind guessing."""
    from rdmf.evaluation.baselines import both_baselines, query_blind_oracle

    rivals = {}
    if train:
        rivals["query-blind"], rivals["text-only"] = both_baselines(train, truth)
    rivals["query-blind oracle"] = query_blind_oracle(truth)
    return rivals


def _report(answers: list[Record], truth: list[Record], rivals: dict[str, list[Record]]) -> dict[str, Any]:
    """The official metrics with their keys, and beside them "metrics", "baselines", "by_type" and "comparison"."""
    from rdmf.evaluation import official, summary, tvsum

    crowd = tvsum.scored_by_crowd(truth)

    def metrics(records: list[Record]) -> dict[str, float]:
        values = {**summary.moment_metrics(records, truth), **summary.saliency_metrics(records, truth)}
        if crowd:
            values["top-5 mAP"] = tvsum.tvsum_metrics(records, truth)["mAP"]
        return {name: round(value, 2) for name, value in values.items()}

    scored = truth if not crowd else [{**record, "saliency_scores": []} for record in truth]
    by_type = summary.metrics_by_type(answers, truth)
    return {
        **official.evaluate(answers, scored),
        "metrics": metrics(answers),
        "baselines": {name: metrics(records) for name, records in rivals.items()},
        "by_type": {kind: {name: round(v, 2) for name, v in row.items()} for kind, row in by_type.items()},
        "comparison": _comparison(answers, truth, rivals),
    }


def _comparison(answers: list[Record], truth: list[Record], rivals: dict[str, list[Record]]) -> dict[str, Any]:
    """Paired over queries: the run less each baseline, in points, with p and a 95% bootstrap interval."""
    import numpy as np

    from rdmf.evaluation.significance import bootstrap_interval, paired_t_test
    from rdmf.evaluation.summary import per_query

    ours = per_query(answers, truth)
    table: dict[str, Any] = {}
    for rival, records in rivals.items():
        theirs = per_query(records, truth)
        for name in ("R1@0.5", "mIoU", "saliency mAP"):
            if name in ours and np.isfinite(ours[name]).sum() >= 2:
                test = paired_t_test(ours[name], theirs[name])
                interval = bootstrap_interval(ours[name], theirs[name], samples=2000)
                table.setdefault(rival, {})[name] = {
                    "difference": round(100 * test.difference, 2),
                    "low": round(100 * interval.low, 2),
                    "high": round(100 * interval.high, 2),
                    "p": test.p,
                }
    return table


def _show(report: dict[str, Any]) -> None:
    """The run beside the baselines, then by query type."""
    from rich.console import Console
    from rich.table import Table

    model = report["model"]
    rows = {model: report["metrics"], **report["baselines"]}
    wanted = ("R1@0.3", "R1@0.5", "R1@0.7", "R5@0.5", "mIoU", "mAP", "saliency mAP", "Hit@1", "top-5 mAP")
    columns = [name for name in wanted if name in report["metrics"]]
    table = Table(title=f"{report['split']}: {report['queries']} queries, percent", title_justify="left")
    for column in ("", *columns):
        table.add_column(column, justify="left" if not column else "right", no_wrap=True)
    for name, values in rows.items():
        table.add_row(name, *(_cell(values.get(column)) for column in columns), style="bold" if name == model else None)
    # Off a terminal the table keeps its full width rather than fold into 80 columns.
    console = Console(width=None if sys.stdout.isatty() else 140, highlight=False)
    console.print(table)
    if report["by_type"]:
        kinds = Table(title="by query type", title_justify="left")
        for column in ("type", "queries", *columns):
            kinds.add_column(column, justify="left" if column == "type" else "right", no_wrap=True)
        for kind, values in report["by_type"].items():
            cells = (_cell(values.get(column)) for column in columns)
            kinds.add_row(kind, str(int(values["queries"])), *cells)
        console.print(kinds)
    print(
        "query-blind: one window for every query; text-only: one for each sentence; both chosen on the training split,"
    )
    print("the oracle on this split itself. None looks at the video.")
    if report["reading"]:
        said = report["reading"]
        print(
            f"moments read off the saliency: maximum-sum runs above the logit {said['level']:g}, which has the best "
            f"mIoU ({said['train mIoU']:.1f}) on the {said['train queries']} training queries"
        )


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
