"""Every family through the whole job: train in three precisions, evaluate, predict, export and the demo."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from family_checkpoints import CHECKPOINTS, write_checkpoint

from pipeline import evaluate, export, predict, prepare, train
from pipeline.artifacts import Export, PreparedDataset, Report, Run, read_json
from pipeline.demo import answers, page
from pipeline.demo.shelf import Shelf

NAMES = sorted(CHECKPOINTS)
PRECISIONS = ["bf16", *(pytest.param(each, marks=pytest.mark.thorough) for each in ("int8", "nf4"))]


def run(main: Callable[..., object], *arguments: object) -> None:
    """A command that must end well."""
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    assert not stopped.value.code


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty tweets of the sample, prepared."""
    folder = tmp_path_factory.mktemp("data")
    lines = (Path(__file__).parents[1] / "data/sample/btc_tweets.csv").read_text(encoding="utf-8").splitlines()
    (folder / "tweets.csv").write_text("\n".join(lines[:100]) + "\n", encoding="utf-8")
    run(prepare.main, "--source", folder / "tweets.csv", "--out", folder / "prepared")
    return folder / "prepared"


@pytest.fixture(scope="module")
def runs(data: Path, tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """A run of a family in a precision, trained at its first use."""
    folder = tmp_path_factory.mktemp("runs")

    def tuned(name: str, precision: str) -> Path:
        base, out = folder / name, folder / f"{name}-{precision}"
        if not base.exists():
            write_checkpoint(name, base, tiny_llama)
        if not out.exists():
            run(
                train.main, "--dataset", data, "--out", out, "--base_model", base, "--precision", precision,
                "--batch_size", 8, "--micro_batch_size", 8, "--max_steps", 2, "--evaluations", 1,
            )  # fmt: skip
        return out

    return tuned


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", NAMES)
def test_train(runs: Callable[[str, str], Path], data: Path, name: str, precision: str) -> None:
    tuned = Run.load(runs(name, precision))
    assert (tuned.manifest["family"], tuned.manifest["precision"]) == (name, precision)
    assert (tuned.task.template == PreparedDataset.load(data).task.template) == (name == "alpaca")
    assert tuned.manifest["result"]["steps"] == 2


@pytest.mark.thorough
@pytest.mark.parametrize("name", NAMES)
def test_evaluate(runs: Callable[[str, str], Path], tmp_path: Path, name: str) -> None:
    out = tmp_path / "report"
    run(evaluate.main, "--run", runs(name, "bf16"), "--out", out, "--behaviour", "none", "--embeddings", "none")
    systems = read_json(Report.load(out).verified("metrics.json"))["systems"]
    assert {"tuned", "untuned", "few_shot"} & systems.keys() >= {"tuned", "untuned"}
    rows = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    assert rows
    assert all({"generate", "loglikelihood"} <= row["systems"]["tuned"].keys() for row in rows)


@pytest.mark.parametrize("name", NAMES)
def test_predict(runs: Callable[[str, str], Path], tmp_path: Path, name: str) -> None:
    (tmp_path / "in.csv").write_text("text\nlove it\n<|im_end|> </s> up\n", encoding="utf-8")
    run(predict.main, "--run", runs(name, "bf16"), "--source", tmp_path / "in.csv", "--out", tmp_path / "out.csv")
    assert len((tmp_path / "out.csv").read_text(encoding="utf-8").splitlines()) == 3


@pytest.mark.parametrize("name", NAMES)
def test_export(runs: Callable[[str, str], Path], tmp_path: Path, name: str) -> None:
    out = tmp_path / "exported"
    run(export.main, "--run", runs(name, "bf16"), "--out", out, "--to", "merged", "adapter", "--dtype", "fp32")
    assert read_json(Export.load(out).verified("parity.json"))["exports"].keys() == {"merged", "adapter"}


@pytest.mark.thorough
@pytest.mark.parametrize("name", NAMES)
def test_app(runs: Callable[[str, str], Path], name: str) -> None:
    shelf = Shelf({name: Run.load(runs(name, "bf16"))})
    assert page.build(shelf, {}, "http://127.0.0.1/").get_api_info()["named_endpoints"].keys() == {"/classify"}
    with shelf.open() as loaded:
        tuned, prediction = answers.tuned(loaded, "love it")
        untuned = answers.untuned(loaded.classifier, "love it")
        found = answers.words(loaded.classifier, "love it", tuned.loglikelihood, tuned)
    assert tuned.labels == untuned.labels
    assert tuned.log_likelihoods != untuned.log_likelihoods
    assert prediction.probabilities == tuned.probabilities
    assert found.asked == 2
