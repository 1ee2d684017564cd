"""The command ``python -m pipeline.export``: a run in the forms that other programs take, each of them checked."""

import logging
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from pipeline import cli
from pipeline.artifacts import (
    Export,
    PreparedDataset,
    Report,
    Run,
    dataset_of,
    dump_json,
    new_folder,
    read_json,
    refuse_existing,
    sha256_of,
    write_manifest,
    write_text,
)
from pipeline.errors import PipelineError, did_you_mean

if TYPE_CHECKING:
    from pipeline.model.decoding import Classifier, Decoded
    from pipeline.model.loading import Placement

log = logging.getLogger("pipeline.export")

TARGETS = ("merged", "adapter", "gguf", "ollama", "hub")
_CONVERTER = "convert_hf_to_gguf.py"
_GGUF = "model.gguf"
_CHECKED = 200  # tweets
_REPO = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)


_SECTIONS = {
    "dataset": "How to check it",
    "report": "The card, and single forms",
    "device": "How to compute",
}


@dataclass(frozen=True)
class ExportConfig:
    """What to export, and into which forms."""

    run: str
    """Folder written by pipeline.train."""
    out: str
    """Folder to write, such as exports/btc; it must not exist yet."""
    to: list[str] = field(default_factory=lambda: ["merged"])
    """Forms: merged (a model folder for transformers, vLLM and --base_model), adapter (for PEFT), gguf (for
    llama.cpp), ollama (a GGUF file with its Modelfile), hub (uploads merged or adapter)."""
    dtype: Literal["bf16", "fp32"] = "bf16"
    """Numbers of the merged weights."""
    dataset: str | None = None
    """Prepared folder of the run, if it was moved since; its tweets are asked of the run and of every export."""
    check: str | None = None
    """File with other tweets to ask; needs no labels."""
    text_column: str | None = None
    """For --check: the column with the tweets, if it has an unusual name."""
    max_flips: float = 0.02
    """Share of these tweets that may have another label than the run gives them; more is an error."""
    report: str | None = None
    """Report on this run by pipeline.evaluate; its scores go into the card."""
    llama_cpp: str | None = None
    """For gguf: a checkout of llama.cpp, whose convert_hf_to_gguf.py is run."""
    gguf_type: Literal["f16", "bf16", "q8_0"] = "f16"
    """Numbers of the weights in the GGUF file."""
    repo: str | None = None
    """For hub: the repository to create, as ORG/NAME."""
    private: bool = True
    """For hub: only its owner can see the repository."""
    dry_run: bool = False
    """For hub: show what would be uploaded, and touch no network."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compare; auto takes a GPU if there is one."""


@dataclass(frozen=True)
class _Tweets:
    """What run and exports are asked, and where it comes from."""

    texts: Sequence[str]
    origin: Mapping[str, str]


@dataclass(frozen=True)
class _Reference:
    """What the run itself answers."""

    tweets: _Tweets
    answers: "Sequence[Decoded]"
    placement: "Placement"
    tokenised_otherwise: int


def export(config: ExportConfig) -> Path:
    """Writes a tuned model in the forms that other programs take, and checks each.

    Every export is loaded again and asked 200 tweets of the validation and test splits; labels that differ from those
    of the run are counted in parity.json, and where there are too many, nothing is written. Each form has a README.md
    with the prompt and a program to copy. Nothing is uploaded but by --to hub.
    """
    out = refuse_existing(config.out)
    _check(config)
    run = Run.load(config.run)
    metrics, data = _report(config, run)
    dataset = _dataset(config, run)
    tweets = _tweets(config, dataset)
    data = dataset.manifest if data is None and dataset is not None else data

    log.info("loading PyTorch, transformers and the model")
    from pipeline.model.classifier import base_of, encoder_of
    from pipeline.model.gguf_files import start_of
    from pipeline.model.merging import answer_end, longest_answer, write_adapter, write_merged
    from pipeline.scoring.export_card import Exported, Form, render_export_card

    base = base_of(run)
    encoder = encoder_of(run, base)
    title = f"{base.public_name} tuned on {Path(run.manifest['parents']['dataset']['path']).name}"
    reference = _ask_run(run, config, tweets) if tweets else None
    parity: dict[str, Any] = {}

    def finish(form: Form, folder: Path, weights: str, file: str = "") -> None:
        parity[form] = _compare(config, run, reference, form, folder / file)
        exported = Exported(
            form=form,
            title=title,
            task=run.task,
            base_model=base.public_name,
            base_origin=base.origin,
            on_hub=base.on_hub,
            weights=weights,
            before=encoder.prefix,
            after=encoder.suffix,
            end=encoder.end,
            answer_tokens=longest_answer(encoder),
            parity=parity[form],
            file=file,
            start=start_of(encoder),
        )
        write_text(folder / "README.md", render_export_card(exported, metrics, data))

    with new_folder(out) as folder:
        if "adapter" in config.to:
            write_adapter(run, folder / "adapter")
            finish("adapter", folder / "adapter", run.manifest["precision"])
        if {"merged", "gguf", "ollama"} & set(config.to):
            log.info("merging the adapter into %s", base.public_name)
            write_merged(run, folder / "merged", config.dtype)
        if {"gguf", "ollama"} & set(config.to):
            end, start = answer_end(encoder), start_of(encoder)
            _write_gguf(config, run, folder, end=end, start=start, answer_tokens=longest_answer(encoder))
            finish("gguf", folder / "gguf", config.gguf_type, _GGUF)
        if "merged" in config.to:
            finish("merged", folder / "merged", config.dtype)
        else:
            shutil.rmtree(folder / "merged", ignore_errors=True)
        write_text(folder / "parity.json", dump_json(_summary(reference, parity)))
        write_manifest(folder, Export.kind, run.task, _content(config, run, base.public_name))
    if reference is None:
        log.warning("%s: NOT CHECKED, as there were no tweets to compare on; see --dataset and --check", out)
    if "adapter" in config.to and not base.on_hub:
        log.info("adapter: on this machine its base model lies in %s; its card needs that place as BASE", base.location)
    if "hub" in config.to:
        _upload(config, out)
    return out


def _check(config: ExportConfig) -> None:
    """Finds contradicting options before anything is loaded."""
    unknown = [name for name in config.to if name not in TARGETS]
    if unknown or not config.to:
        several = ", divided by spaces" if any("," in name for name in unknown) else ""
        meant = did_you_mean(unknown[0], TARGETS) if unknown else ""
        raise PipelineError(
            f"--to: expected some of {', '.join(TARGETS)}{several}; got {', '.join(unknown) or 'none'}{meant}"
        )
    if not 0 <= config.max_flips <= 1:
        raise PipelineError(f"--max_flips: expected a share from 0 to 1, got {config.max_flips}")
    if config.text_column and not config.check:
        raise PipelineError("--text_column: expected --check with it, a file of tweets")
    if config.check and config.dataset:
        raise PipelineError("--check, --dataset: expected one of them, the tweets to compare on")
    if {"gguf", "ollama"} & set(config.to) and not (config.llama_cpp and Path(config.llama_cpp, _CONVERTER).is_file()):
        raise PipelineError(
            f"--llama_cpp{_given(config.llama_cpp)}: expected a checkout of llama.cpp with {_CONVERTER}, which writes "
            "the GGUF file; get it with git clone https://github.com/ggml-org/llama.cpp, or from the folder "
            "vendor/llama.cpp in the source archive of llama-cpp-python"
        )
    if "hub" in config.to:
        if not (config.repo and _REPO.fullmatch(config.repo)):
            raise PipelineError(f"--repo{_given(config.repo)}: expected the repository to create, as ORG/NAME")
        if len({"merged", "adapter"} & set(config.to)) != 1:
            raise PipelineError("--to hub: expected either merged or adapter beside it, which is what is uploaded")
    elif config.repo or config.dry_run:
        raise PipelineError("--repo, --dry_run: expected --to hub with them; add hub to --to, or leave them out")


def _given(value: str | None) -> str:
    return f" {value}" if value else ""


def _report(config: ExportConfig, run: Run) -> tuple[Mapping[str, Any] | None, Mapping[str, Any] | None]:
    """Scores for the card, and the manifest of the data that they were made on."""
    if config.report is None:
        return None, None
    report = Report.load(config.report)
    if report.manifest["parents"].get("run", {}).get("sha256") != run.sha256:
        raise PipelineError(
            f"{report.folder}: not a report on {run.folder}; its run has another sha256; evaluate this run, or leave "
            "--report out"
        )
    return read_json(report.verified("metrics.json")), report.manifest["data"]


def _dataset(config: ExportConfig, run: Run) -> PreparedDataset | None:
    """The data set that the run was tuned on; None, and a line, where it is not to be found and nobody asked for it."""
    try:
        return dataset_of(run, config.dataset)
    except PipelineError as error:
        if config.dataset is not None:
            raise
        if config.check is None:
            log.warning("no tweets to compare on, so the exports are not checked: %s; or ask others by --check", error)
        return None


def _tweets(config: ExportConfig, dataset: PreparedDataset | None) -> _Tweets | None:
    """At most 200 tweets: of the user's file, or of the validation rows and then the test rows."""
    if config.check is not None:
        from pipeline.dataset.columns import find_text_among, texts_of
        from pipeline.dataset.reading import read_table

        if not Path(config.check).is_file():
            raise PipelineError(f"--check {config.check}: no such file; expected a table with tweets")
        table = read_table(config.check)
        column = find_text_among(config.check, table.columns, config.text_column)
        texts = [text for text in texts_of(table, column) if text and text.strip()][:_CHECKED]
        if not texts:
            raise PipelineError(f"--check {config.check}: expected tweets, got none")
        return _Tweets(texts, {"file": Path(config.check).name, "sha256": sha256_of(Path(config.check))})
    rows = [row for split in ("val", "test") for row in dataset.rows(split)][:_CHECKED] if dataset else []
    if dataset is None or not rows:
        if dataset:
            log.warning("%s: no validation or test tweets, so the exports are not checked; see --check", dataset.folder)
        return None
    return _Tweets([row.input for row in rows], {"dataset": dataset.folder.resolve().name, "sha256": dataset.sha256})


def _ask_run(run: Run, config: ExportConfig, tweets: _Tweets) -> _Reference:
    """What the run answers, decoded as pipeline.evaluate decodes it."""
    from pipeline.model.classifier import load_classifier
    from pipeline.model.parity import tokenised_otherwise

    log.info("asking the run %d tweets of %s", len(tweets.texts), tweets.origin.get("file") or tweets.origin["dataset"])
    classifier, placement = load_classifier(run, device=config.device)
    answers = classifier.decode(tweets.texts, progress="the run")
    return _Reference(tweets, answers, placement, tokenised_otherwise(classifier.encoder, tweets.texts))


def _compare(
    config: ExportConfig, run: Run, reference: _Reference | None, form: str, path: Path
) -> dict[str, Any] | None:
    """Loads an export, asks it the tweets, and says what differs.

    Raises:
        PipelineError: too many labels do.
    """
    if reference is None:
        return None
    from pipeline.model.merging import load_adapter, load_gguf, load_merged
    from pipeline.model.parity import compare

    log.info("loading %s again and asking it the same tweets", form)
    classifier: Classifier
    weights: str
    if form == "merged":
        weights = config.dtype
        classifier, placement = load_merged(run, path, config.dtype, config.device)
    elif form == "adapter":
        weights = run.manifest["precision"]
        classifier, placement = load_adapter(run, path, config.device)
    else:
        weights = config.gguf_type
        classifier, placement = load_gguf(run, path, config.device)
    found = compare(form, reference.answers, classifier.decode(reference.tweets.texts, progress=form))
    told = (
        f"{found.generate_flips} of {found.rows} tweets have another label than the run gives them, by likelihood "
        f"{found.loglikelihood_flips}"
    )
    if found.flipped > config.max_flips:
        raise PipelineError(
            f"{form}: {told}; at most {config.max_flips:.1%} may, so nothing was written; try --dtype fp32 or another "
            "--gguf_type, or allow more with --max_flips"
        )
    log.info("%s: %s", form, told)
    computed = {"weights": weights, "precision": placement.precision, "device": placement.device}
    return {**found.to_json(), "export": computed, "run": _placed(reference.placement)}


def _placed(placement: "Placement") -> dict[str, str]:
    return {"precision": placement.precision, "device": placement.device}


def _summary(reference: _Reference | None, parity: Mapping[str, Any]) -> dict[str, Any] | None:
    """What ``parity.json`` holds; None where there was nothing to compare on."""
    if reference is None:
        return None
    rows = len(reference.tweets.texts)
    return {
        "tweets": {"rows": rows, **reference.tweets.origin},
        "prompt_as_one_text": {"rows": rows, "tokenised_otherwise": reference.tokenised_otherwise},
        "exports": parity,
    }


def _write_gguf(config: ExportConfig, run: Run, folder: Path, *, end: str, start: str, answer_tokens: int) -> None:
    """The merged model as a GGUF file, and a Modelfile where one is wanted."""
    from pipeline.model.gguf_files import modelfile, write_gguf

    described = None
    if "ollama" in config.to:
        described = modelfile(run.task, _GGUF, end=end, start=start, answer_tokens=answer_tokens)
    (folder / "gguf").mkdir()
    name = Path(config.out).absolute().name
    write_gguf(Path(config.llama_cpp or ""), folder / "merged", folder / "gguf" / _GGUF, config.gguf_type, name=name)
    if described is not None:
        write_text(folder / "gguf" / "Modelfile", described)


def _content(config: ExportConfig, run: Run, base_model: str) -> dict[str, Any]:
    """What the manifest says besides the task and the files."""
    parents = {"run": {"path": str(run.folder), "sha256": run.sha256}}
    if config.report is not None:
        parents["report"] = {"path": config.report, "sha256": Report.load(config.report).sha256}
    return {
        "parents": parents,
        "base_model": {"name": base_model, "fingerprint": run.manifest["base_model"]["fingerprint"]},
        "to": config.to,
        "dtype": config.dtype,
        "gguf_type": config.gguf_type if {"gguf", "ollama"} & set(config.to) else None,
        "max_length": run.manifest["max_length"],
        "max_flips": config.max_flips,
    }


def _upload(config: ExportConfig, out: Path) -> None:
    """Uploads the one folder that is meant, by the list of its files in the manifest; or says what it would upload."""
    part = "merged" if "merged" in config.to else "adapter"
    manifest = Export.load(out).manifest["files"]
    files = [name.removeprefix(f"{part}/") for name in manifest if name.startswith(f"{part}/")]
    kind = "private" if config.private else "PUBLIC"
    if config.dry_run:
        log.info(
            "dry run: nothing is uploaded; without --dry_run this would create the %s repository %s with",
            kind,
            config.repo,
        )
        for name in files:
            log.info("%12s bytes  %s", f"{(out / part / name).stat().st_size:,}", name)
        return
    from pipeline.model.hub import push

    log.info("uploading %d files to the %s repository %s", len(files), kind, config.repo)
    address = push(out / part, files, config.repo or "", private=config.private)
    log.info("uploaded: %s", address)


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Runs the command line; exits with its code."""
    cli.run(
        ExportConfig,
        export,
        argv,
        name="python -m pipeline.export",
        example="python -m pipeline.export --run data/runs/btc --to merged adapter --out exports/btc",
        sections=_SECTIONS,
    )


if __name__ == "__main__":
    main()
