"""The three commands in a row, as a user runs them, on a tiny model."""

import json
import shutil
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

from pipeline import compare, evaluate, export, prepare, train
from pipeline.artifacts import Export, PreparedDataset, Report, Run, sha256_of
from pipeline.errors import PipelineError
from pipeline.traces import offsets_of

QUICK = [
    "--batch_size",
    "8",
    "--micro_batch_size",
    "8",
    "--max_steps",
    "6",
    "--evaluations",
    "2",
    "--max_length",
    "128",
]


def run(main: object, *arguments: object) -> int:
    """Exit code of a command."""
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])  # type: ignore[operator]
    return int(stopped.value.code or 0)


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory, tiny_llama: Path) -> dict[str, Path]:
    """The three folders of one job on the first tweets of the sample."""
    folder = tmp_path_factory.mktemp("job")
    lines = (Path(__file__).parents[1] / "data/sample/btc_tweets.csv").read_text(encoding="utf-8").splitlines()
    (folder / "tweets.csv").write_text("\n".join(lines[:200]) + "\n", encoding="utf-8")
    paths = {name: folder / name for name in ("prepared", "run", "report")}
    assert run(prepare.main, "--source", folder / "tweets.csv", "--out", paths["prepared"]) == 0
    arguments = ["--dataset", paths["prepared"], "--out", paths["run"], "--base_model", tiny_llama, *QUICK]
    assert run(train.main, *arguments) == 0
    assert run(evaluate.main, "--run", paths["run"], "--out", paths["report"]) == 0
    return paths


def test_each_folder_names_its_parent(job: dict[str, Path]) -> None:
    prepared, tuned, report = (
        kind.load(job[name])
        for kind, name in ((PreparedDataset, "prepared"), (Run, "run"), (Report, "report"))
    )  # fmt: skip
    assert tuned.manifest["parents"]["dataset"]["sha256"] == prepared.sha256
    assert Run.load(job["run"]).text_column == prepared.manifest["source"]["columns"]["text"]
    assert report.manifest["parents"]["run"]["sha256"] == tuned.sha256
    assert report.manifest["parents"]["test_split"]["sha256"] == sha256_of(job["prepared"] / "test.json")
    assert prepared.task == tuned.task == report.task


def test_the_heart_of_the_metrics_is_where_scripts_look(job: dict[str, Path]) -> None:
    metrics = json.loads((job["report"] / "metrics.json").read_text())
    test = json.loads((job["prepared"] / "test.json").read_text())
    for system in ("tuned", "untuned", "tfidf", "majority"):
        for metric in ("accuracy", "balanced_accuracy", "macro_f1", "mcc"):
            assert set(metrics["systems"][system][metric]) == {"value", "low", "high"}
    for label in ("Negative", "Neutral", "Positive"):
        scores = metrics["systems"]["tuned"]["per_class"][label]
        assert scores["support"] == sum(row["output"] == label for row in test)
        assert all(isinstance(scores[name], float) for name in ("precision", "recall", "f1"))
    assert 0 <= metrics["systems"]["tuned"]["unparsed_rate"] <= 1
    assert 0 <= metrics["systems"]["tuned"]["disagreement_rate"] <= 1
    assert {"a", "b", "metric", "difference", "low", "high", "p_value"} <= set(metrics["comparisons"][0])
    assert sum(map(sum, metrics["confusion"]["matrix"])) == len(test)
    assert all(len(row) == len(metrics["confusion"]["labels"]) + 1 for row in metrics["confusion"]["matrix"])


def test_test_tweets_that_were_cut_are_counted(job: dict[str, Path]) -> None:
    rows = [json.loads(line) for line in (job["report"] / "predictions.jsonl").read_text().splitlines()]
    cut = [len(row["input"]) for row in rows if row["shortened"]]
    whole = [len(row["input"]) for row in rows if not row["shortened"]]
    assert cut
    assert min(cut) > min(whole)
    assert max(cut) > max(whole)
    assert Report.load(job["report"]).manifest["decoding"]["shortened_tweets"] == len(cut)


def test_scoring_again_without_a_model_gives_the_same_bytes(job: dict[str, Path], tmp_path: Path) -> None:
    assert run(evaluate.main, "--rescore", job["report"], "--out", tmp_path / "again") == 0
    for name in ("metrics.json", "report.html", "predictions.jsonl", "training.jsonl"):
        assert (tmp_path / "again" / name).read_bytes() == (job["report"] / name).read_bytes()


def test_the_report_tells_how_the_training_of_the_run_went(job: dict[str, Path]) -> None:
    lines = [json.loads(line) for line in (job["run"] / "training.jsonl").read_text().splitlines()]
    validations = [line for line in lines if "eval_macro_f1" in line]
    assert [set(line["eval_recall"]) for line in validations] == [{"Negative", "Neutral", "Positive"}] * 2
    metrics = json.loads((job["report"] / "metrics.json").read_text())
    training, result = metrics["training"], Run.load(job["run"]).manifest["result"]
    assert [one["recall"] for one in training["validations"]] == [line["eval_recall"] for line in validations]
    assert training["kept"]["step"] == result["best_step"]
    assert training["kept"]["macro_f1"] == result["best_score"]
    assert training["noise_known"]
    assert str(job["run"].parent) not in json.dumps(training)
    page = (job["report"] / "report.html").read_text(encoding="utf-8")
    assert f"Kept step {result['best_step']} of 6: macro-F1 {result['best_score']:.3f} on validation" in page


def _older(report: Path, folder: Path, lines: str | None) -> Path:
    """The report as it would be with other lines of training, or with none."""
    shutil.copytree(report, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    if lines is None:
        (folder / "training.jsonl").unlink()
        del manifest["files"]["training.jsonl"]
    else:
        (folder / "training.jsonl").write_text(lines)
        manifest["files"]["training.jsonl"] = sha256_of(folder / "training.jsonl")
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_a_report_that_is_older_than_its_section_on_training_takes_it_from_the_run(
    job: dict[str, Path], tmp_path: Path
) -> None:
    older = _older(job["report"], tmp_path / "older", None)
    assert run(evaluate.main, "--rescore", older, "--out", tmp_path / "again") == 0
    for name in ("metrics.json", "report.html", "training.jsonl"):
        assert (tmp_path / "again" / name).read_bytes() == (job["report"] / name).read_bytes()
    manifest = json.loads((older / "manifest.json").read_text())
    for key, value in (("path", str(tmp_path / "moved")), ("sha256", "0" * 64)):
        changed = {**manifest["parents"]["run"], key: value}
        (older / "manifest.json").write_text(json.dumps(manifest | {"parents": manifest["parents"] | {"run": changed}}))
        assert run(evaluate.main, "--rescore", older, "--out", tmp_path / f"without {key}") == 0
        assert "training" not in json.loads((tmp_path / f"without {key}" / "metrics.json").read_text())
        assert 'id="training"' not in (tmp_path / f"without {key}" / "report.html").read_text(encoding="utf-8")


def test_lines_of_an_older_training_are_scored_to_the_same_bytes_again(job: dict[str, Path], tmp_path: Path) -> None:
    lines = [json.loads(line) for line in (job["report"] / "training.jsonl").read_text().splitlines()]
    plain = ({key: value for key, value in line.items() if key != "eval_recall"} for line in lines)
    older = _older(job["report"], tmp_path / "older", "".join(json.dumps(line) + "\n" for line in plain))
    for source, out in ((older, "first"), (tmp_path / "first", "second")):
        assert run(evaluate.main, "--rescore", source, "--out", tmp_path / out) == 0
    for name in ("metrics.json", "report.html", "training.jsonl"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
    assert "did not write down the recall" in (tmp_path / "first" / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def seeds(job: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Reports of the same recipe from other seeds, as if each had been trained, and one that was evaluated twice."""
    folder = tmp_path_factory.mktemp("seeds")
    found = {"first": job["report"]}
    for name, seed in (("second", 7), ("third", 8), ("again", 7)):
        found[name] = folder / name
        shutil.copytree(job["report"], found[name])
        manifest = json.loads((found[name] / "manifest.json").read_text())
        manifest["run"]["config"]["seed"] = seed
        (found[name] / "manifest.json").write_text(json.dumps(manifest))
    return found


def test_a_leaderboard_of_runs_shows_the_spread_of_their_seeds(
    job: dict[str, Path], seeds: dict[str, Path], tiny_llama: Path, tmp_path: Path
) -> None:
    out = tmp_path / "board"
    assert run(compare.main, "--reports", *seeds.values(), "--published", "tfns", "--out", out) == 0
    metrics = json.loads((out / "metrics.json").read_text())
    assert set(metrics["systems"]) >= {
        "report",
        "second",
        "third",
        "again",
        "untuned",
        "few_shot",
        "embeddings",
        "tfidf",
    }
    alone = json.loads((seeds["first"] / "metrics.json").read_text())["systems"]
    for name, there in (("report", "tuned"), ("untuned", "untuned"), ("few_shot", "few_shot")):
        assert metrics["systems"][name]["macro_f1"]["value"] == alone[there]["macro_f1"]["value"]
    [recipe] = metrics["seeds"]
    assert recipe["seeds"] == {"second": 7, "third": 8, "report": 42}
    board = metrics["leaderboard"]
    assert sorted(row["system"] for row in board["standings"] if row["judged"]) == sorted(
        {*seeds, "report"} - {"first"}
    )
    assert len(board["pairs"]) == 6
    result = Run.load(job["run"]).manifest["result"]
    for cost in (row["cost"] for row in board["standings"] if row["judged"]):
        assert (cost["tuned_parameters"], cost["training_seconds"]) == (
            result["trainable_parameters"],
            result["seconds"],
        )
        assert cost["parameters"] == AutoModelForCausalLM.from_pretrained(tiny_llama).num_parameters()
        assert cost["tweets_per_second"] > 0
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Every pair of judged systems" in page
    assert "FinGPT v3.3" in page
    assert "These are other rows" in page
    assert "3 seeds of one recipe" in page
    assert metrics["training"] == json.loads((job["report"] / "metrics.json").read_text())["training"]
    assert "levers" not in metrics
    sheet = {row["kind"]: row for row in metrics["leakage_sheet"]["rows"]}
    assert sheet["feature_selection"]["status"] == "ruled out"
    assert run(evaluate.main, "--rescore", out, "--out", tmp_path / "again") == 0
    for name in ("metrics.json", "report.html"):
        assert (tmp_path / "again" / name).read_bytes() == (out / name).read_bytes()
    alone = ("--reports", job["report"], "--out", tmp_path / "alone")
    assert run(compare.main, *alone) == 1
    assert run(compare.main, *alone, "--published", "tweeteval") == 0


def test_a_leaderboard_of_runs_shows_what_their_settings_did(
    job: dict[str, Path], seeds: dict[str, Path], tmp_path: Path
) -> None:
    def changed(name: str, **options: object) -> Path:
        shutil.copytree(job["report"], tmp_path / name)
        manifest = json.loads((tmp_path / name / "manifest.json").read_text())
        config = {**manifest["run"]["config"], **options}
        manifest["run"]["config"] = {key: value for key, value in config.items() if value is not ...}
        (tmp_path / name / "manifest.json").write_text(json.dumps(manifest))
        return tmp_path / name

    # One was trained before there was a choice of sampling; where results lie and who is told of them is no lever.
    old = changed("old", sampling=..., out="elsewhere", report_to=["wandb"])
    lora = json.loads((job["report"] / "manifest.json").read_text())["run"]["config"]["lora"]
    weighted = changed("weighted", class_weights="balanced", lora={**lora, "target_modules": ["q_proj", "<b>"]})
    out = tmp_path / "board"
    assert run(compare.main, "--reports", job["report"], old, weighted, seeds["second"], "--out", out) == 0
    metrics = json.loads((out / "metrics.json").read_text())
    modules = ", ".join(lora["target_modules"])
    plain = {"lora.target_modules": modules, "class_weights": "none", "seed": "42"}
    assert {name: run["settings"] for name, run in metrics["levers"]["runs"].items()} == {
        "report": plain,
        "old": plain,
        "second": {**plain, "seed": "7"},
        "weighted": {**plain, "class_weights": "balanced", "lora.target_modules": "q_proj, <b>"},
    }
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "4 runs beside each other that differ in lora.target_modules, class_weights, seed." in page
    assert "q_proj, &lt;b&gt;" in page
    assert run(evaluate.main, "--rescore", out, "--out", tmp_path / "again") == 0
    for name in ("metrics.json", "report.html"):
        assert (tmp_path / "again" / name).read_bytes() == (out / name).read_bytes()


def test_a_report_cannot_be_called_as_a_baseline(seeds: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(seeds["second"], tmp_path / "majority")
    with pytest.raises(PipelineError, match="'majority', which the baselines"):
        compare.compare(compare.CompareConfig([str(seeds["first"]), str(tmp_path / "majority")], str(tmp_path / "out")))


def test_seed_priors_and_hidden_texts_of_a_report_hold_when_it_is_scored_again(
    job: dict[str, Path], tmp_path: Path
) -> None:
    shares, other = "Negative=0.5,Neutral=0.25,Positive=0.25", tmp_path / "other"
    options = ("--seed", 5, "--priors", shares, "--hide_text", "true")
    assert run(evaluate.main, "--rescore", job["report"], "--out", other, *options) == 0
    # Hidden texts include what the model wrote.
    rows = [json.loads(line) for line in (other / "validation.jsonl").read_text().splitlines()]
    assert {row["completion"] for row in rows} == {""}
    shown, hidden = (json.loads((folder / "metrics.json").read_text()) for folder in (job["report"], other))
    assert shown["drift"]["telling_words"]
    assert hidden["drift"]["telling_words"] == []
    assert hidden["priors"]["scenarios"]["given"]
    assert run(evaluate.main, "--rescore", other, "--out", tmp_path / "again") == 0
    for name in ("metrics.json", "report.html"):
        assert (tmp_path / "again" / name).read_bytes() == (other / name).read_bytes()


def test_temperature_threshold_and_count_are_left_behind(job: dict[str, Path]) -> None:
    kept = json.loads((job["run"] / "calibration.json").read_text())
    metrics = json.loads((job["report"] / "metrics.json").read_text())
    assert kept["temperature"] == metrics["confidence"]["temperature"]["fitted"]
    assert kept["threshold"] == metrics["confidence"]["selective"]["recommended"]["threshold"]
    fitted = metrics["adjustment"]["fitted"]
    assert kept["adjustment"] == (fitted and {"tau": fitted["tau"], "offsets": fitted["offsets"]})
    assert list(offsets_of(Run.load(job["run"]))) == ["Negative", "Neutral", "Positive"]
    [look] = [json.loads(line) for line in (job["prepared"] / "evaluations.jsonl").read_text().splitlines()]
    assert look["systems"] == [Run.load(job["run"]).sha256]


def test_the_card_of_an_export_has_the_scores_of_the_report(job: dict[str, Path], tmp_path: Path) -> None:
    arguments = ["--run", job["run"], "--report", job["report"], "--to", "adapter", "hub", "--dry_run", "--repo", "a/b"]
    assert run(export.main, *arguments, "--out", tmp_path / "export") == 0
    card = (tmp_path / "export" / "adapter" / "README.md").read_text(encoding="utf-8")
    of_report = (job["report"] / "README.md").read_text(encoding="utf-8")
    for heading in ("## What it is worth", "## Before you trust a score", "## Limits"):
        section = of_report.split(heading)[1].split("\n## ")[0]
        assert heading + section in card
    assert card.count("model-index") == 1
    manifest = Export.load(tmp_path / "export").manifest
    assert manifest["parents"]["report"]["sha256"] == Report.load(job["report"]).sha256


def test_a_config_file_repeats_the_run(job: dict[str, Path], tmp_path: Path) -> None:
    assert run(train.main, "--config", job["run"] / "config.yaml", "--out", tmp_path / "again") == 0
    weights = Path("adapter/adapter_model.safetensors")
    assert (tmp_path / "again" / weights).read_bytes() == (job["run"] / weights).read_bytes()


def test_outputs_are_never_overwritten(job: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    before = (job["run"] / "manifest.json").read_bytes()
    assert run(train.main, "--dataset", job["prepared"], "--out", job["run"]) == 1
    assert "already exists; choose another --out" in capsys.readouterr().err
    assert (job["run"] / "manifest.json").read_bytes() == before


def test_a_changed_adapter_is_not_evaluated(
    job: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    shutil.copytree(job["run"], tmp_path / "run")
    weights = tmp_path / "run" / "adapter" / "adapter_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert run(evaluate.main, "--run", tmp_path / "run", "--out", tmp_path / "report") == 1
    assert "adapter_model.safetensors: changed since manifest.json was written" in capsys.readouterr().err
    assert not (tmp_path / "report").exists()


def test_a_run_is_scored_on_its_own_test_split_only(
    job: dict[str, Path], prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--run", job["run"], "--dataset", prepared, "--out", tmp_path / "report"]
    assert run(evaluate.main, *arguments) == 1
    assert "not the prepared data set that" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--batch_size", "10", "--micro_batch_size", "4"], "expected a multiple of micro_batch_size"),
        (["--learning_rate", "0"], "--learning_rate: expected a number above 0, got 0.0"),
        (["--lora.r", "-1"], "--lora.r: expected a number above 0"),
        (["--warmup", "1.5"], "--warmup: expected a share from 0 up to but not 1"),
        (["--base_model", "nonsense"], "--base_model nonsense: expected smollm2-135m"),
        (["--lora.last_layers", "31"], "lora.last_layers: this model has 2 layers, got 31; lower it"),
        (["--lora.target_modules", "[W_pack]"], "no linear layer named W_pack; expected some of down_proj"),
        (["--lora.variant", "pissa", "--precision", "bf16"], "lora.variant pissa: expected weights in fp32"),
        (["--max_length", "1000"], "reads at most 512 tokens; lower it"),
        (["--max_length", "10"], "max_length: the instruction and the labels alone need"),
        (["--device", "cuda"], "--device cuda: this PyTorch sees no CUDA GPU"),
    ],
)
def test_impossible_settings_are_told_before_anything_is_written(
    prepared: Path,
    tiny_llama: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    flags: list[str],
    message: str,
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    base = [] if "--base_model" in flags else ["--base_model", tiny_llama]
    assert run(train.main, "--dataset", prepared, "--out", tmp_path / "run", *base, *flags) == 1
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("existed", "names"), [(False, []), (True, [".lock", "config.yaml"])])
def test_a_run_that_failed_before_its_first_checkpoint_is_not_in_the_way(
    prepared: Path,
    tiny_llama: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    existed: bool,
    names: list[str],
) -> None:
    def full(*_: object) -> None:
        raise MemoryError("the weights do not fit")

    out = tmp_path / "run"
    if existed:
        out.mkdir()
    monkeypatch.setattr("pipeline.model.training.load_base", full)
    arguments = ["--dataset", prepared, "--out", out, "--base_model", tiny_llama, *QUICK]
    assert run(train.main, *arguments, *(["--resume"] if existed else [])) == 4
    assert "the weights do not fit" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.glob("run/*")) == names
    assert [path.name for path in tmp_path.iterdir()] == (["run"] if existed else [])


def test_an_adapter_names_its_model_as_the_user_knows_it(job: dict[str, Path], tiny_llama: Path) -> None:
    from peft import PeftConfig

    adapter = job["run"] / "adapter"
    assert sorted(path.name for path in adapter.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    assert str(tiny_llama.parent) not in (adapter / "adapter_config.json").read_text()
    assert PeftConfig.from_pretrained(str(adapter)).base_model_name_or_path == tiny_llama.name
