"""Exports of a tiny run that has learnt its task: each form is loaded by other means and asked the same."""

import dataclasses
import json
import logging
import re
import runpy
import shutil
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import gguf_writer
import pytest
import torch
from conftest import make_rows, write_prepared
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from pipeline import train
from pipeline.artifacts import Export, PreparedDataset, Run, dataset_of, new_folder, read_json, write_manifest
from pipeline.errors import PipelineError
from pipeline.export import ExportConfig, export
from pipeline.model import merging
from pipeline.model.base import resolve_base_model
from pipeline.model.classifier import load_classifier
from pipeline.model.decoding import Decoded
from pipeline.model.training import TrainingResult
from pipeline.task import Task


def make_run(folder: Path, adapter: Path, base: Path, prepared: Path, precision: str = "fp32") -> Path:
    """A run folder around an adapter."""
    with new_folder(folder) as staging:
        shutil.copytree(adapter, staging / "adapter")
        content = {
            "parents": {"dataset": {"path": str(prepared), "sha256": PreparedDataset.load(prepared).sha256}},
            "base_model": dataclasses.asdict(resolve_base_model(str(base))),
            "precision": precision,
            "dtype": "float32",
            "max_length": 128,
        }
        write_manifest(staging, Run.kind, Task(), content)
    return folder


@pytest.fixture(scope="module")
def run(
    tiny_llama: Path,
    learnt: tuple[Path, TrainingResult],
    prepared: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "mine", learnt[0] / "adapter", tiny_llama, prepared)


@pytest.fixture(scope="module")
def llama_cpp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stands where a checkout of llama.cpp would, with a converter for the tiny model alone."""
    folder = tmp_path_factory.mktemp("llama.cpp")
    shutil.copy(gguf_writer.__file__, folder / "convert_hf_to_gguf.py")
    return folder


@pytest.fixture(scope="module")
def exported(run: Path, llama_cpp: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything at once, in fp32."""
    out = tmp_path_factory.mktemp("exports") / "all"
    to = ["merged", "adapter", "gguf", "ollama"]
    return export(ExportConfig(str(run), str(out), to=to, dtype="fp32", llama_cpp=str(llama_cpp)))


@pytest.fixture(scope="module")
def answers(run: Path) -> list[Decoded]:
    """What the run says of 27 tweets."""
    texts = [row.input for row in [*make_rows(12, start=100), *make_rows(15, start=200)]]
    return load_classifier(Run.load(run))[0].decode(texts)


def test_a_whole_export_gives_the_answers_of_the_run(exported: Path, run: Path) -> None:
    parity = read_json(exported / "parity.json")
    assert parity["tweets"]["rows"] == 27
    assert list(parity["exports"]) == ["adapter", "gguf", "merged"]
    for found in parity["exports"].values():
        assert found["flips"] == {"generate": 0, "loglikelihood": 0}
        assert found["largest_difference"]["log_likelihood"] < 1e-4
        assert found["run"] == {"precision": "fp32", "device": "cpu"}
    manifest = Export.load(exported).manifest
    assert manifest["parents"]["run"]["sha256"] == Run.load(run).sha256
    for name in manifest["files"]:
        Export.load(exported).verified(name)
    assert sorted(path.name for path in exported.iterdir()) == [
        *("adapter", "gguf", "manifest.json", "merged", "parity.json"),
    ]


def plain_answer(folder: Path) -> Any:
    """What the program in a card answers to what; it is run as it stands there."""
    card = (folder / "README.md").read_text(encoding="utf-8")
    [program] = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    (folder / "program.py").write_text(program, encoding="utf-8")
    return runpy.run_path(str(folder / "program.py"))["classify"]


@pytest.mark.parametrize("form", ["merged", "adapter"])
def test_the_program_in_the_card_answers_as_the_run(
    exported: Path,
    form: str,
    tiny_llama: Path,
    answers: list[Decoded],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(exported / form, tmp_path / form)
    (tmp_path / form / "path" / "to").mkdir(parents=True)
    (tmp_path / form / "path" / "to" / "tiny-llama").symlink_to(tiny_llama)
    monkeypatch.chdir(tmp_path / form)
    classify = plain_answer(tmp_path / form)
    assert capsys.readouterr().out.strip() in Task().labels
    texts = [row.input for row in make_rows(12, start=100)]
    assert [classify(text) for text in texts] == [one.completion for one in answers[:12]]


def test_a_merged_folder_is_a_base_model(exported: Path, prepared: Path, tmp_path: Path) -> None:
    arguments = ["--dataset", prepared, "--out", tmp_path / "run", "--base_model", exported / "merged"]
    quick = ["--max_steps", "2", "--evaluations", "1", "--max_length", "128"]
    with pytest.raises(SystemExit) as stopped:
        train.main([*map(str, arguments), *quick])
    assert stopped.value.code == 0
    config = read_json(exported / "merged" / "generation_config.json")
    assert (config["do_sample"], config["eos_token_id"]) == (False, 2)


def test_the_adapter_is_loaded_by_peft_alone(exported: Path, run: Path, tiny_llama: Path) -> None:
    settings = read_json(exported / "adapter" / "adapter_config.json")
    assert settings["base_model_name_or_path"] == "tiny-llama"
    ids = torch.tensor([[1, 5, 7, 200, 31, 8]])
    with torch.inference_mode():
        tuned = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_llama), exported / "adapter")
        merged = AutoModelForCausalLM.from_pretrained(exported / "merged")
        base = AutoModelForCausalLM.from_pretrained(tiny_llama)
        a, b, c = (model(ids).logits for model in (tuned, merged, base))
    assert float((a - b).abs().max()) < 1e-4
    assert float((a - c).abs().max()) > 0.1


def test_a_hub_model_is_named_with_its_commit(run: Path, tmp_path: Path) -> None:
    tuned = Run.load(run)
    commit = "0123abcd"
    base = {"name": "org/base", "location": f"/cache/snapshots/{commit}", "fingerprint": commit}
    merging.write_adapter(Run(run, {**tuned.manifest, "base_model": base}), tmp_path / "adapter")
    settings = read_json(tmp_path / "adapter" / "adapter_config.json")
    assert (settings["base_model_name_or_path"], settings["revision"]) == ("org/base", commit)


def test_no_exported_file_names_a_folder_of_this_machine(exported: Path, tmp_path_factory: Any) -> None:
    private = [str(tmp_path_factory.getbasetemp()).encode(), str(Path.home()).encode() + b"/"]
    files = [path for path in exported.rglob("*") if path.is_file() and path.name != "manifest.json"]
    assert len(files) > 8
    assert [path.name for path in files for name in private if name in path.read_bytes()] == []


def test_bf16_and_quantised_runs_are_compared_as_they_are_scored(
    run: Path, tiny_llama: Path, prepared: Path, exported: Path, tmp_path: Path
) -> None:
    out = export(ExportConfig(str(run), str(tmp_path / "bf16"), max_flips=1))
    found = read_json(out / "parity.json")["exports"]["merged"]
    assert found["export"] == {"weights": "bf16", "precision": "fp32", "device": "cpu"}
    assert 1e-4 < found["largest_difference"]["log_likelihood"] < 1
    assert AutoModelForCausalLM.from_pretrained(out / "merged").dtype == torch.bfloat16
    quantised = make_run(tmp_path / "int8", run / "adapter", tiny_llama, prepared, "int8")
    whole = export(ExportConfig(str(quantised), str(tmp_path / "whole"), dtype="fp32", max_flips=1))
    found = read_json(whole / "parity.json")["exports"]["merged"]
    assert found["run"] == {"precision": "int8", "device": "cpu"}
    assert found["largest_difference"]["log_likelihood"] > 1e-4
    weights, expected = (load_file(folder / "merged" / "model.safetensors") for folder in (whole, exported))
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


def damage(value: float) -> Any:
    """A writer of merged models that spoils one tensor."""
    write = merging.write_merged

    def damaged(run: Run, folder: Path, dtype: str) -> None:
        write(run, folder, dtype)
        tensors = load_file(folder / "model.safetensors")
        tensors["model.layers.1.mlp.down_proj.weight"][:] = value
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    return damaged


@pytest.mark.parametrize(("value", "message"), [(3.0, "tweets have another label"), (float("nan"), "no numbers")])
def test_a_damaged_export_is_noticed_and_not_kept(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float, message: str
) -> None:
    monkeypatch.setattr(merging, "write_merged", damage(value))
    with pytest.raises(PipelineError, match=message):
        export(ExportConfig(str(run), str(tmp_path / "out"), to=["adapter", "merged"], dtype="fp32"))
    assert list(tmp_path.iterdir()) == []


def test_flips_that_are_allowed_are_told(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging, "write_merged", damage(3.0))
    out = export(ExportConfig(str(run), str(tmp_path / "out"), dtype="fp32", max_flips=1))
    flips = read_json(out / "parity.json")["exports"]["merged"]["flips"]
    assert min(flips.values()) > 1
    assert f"for {flips['generate']} of them" in (out / "merged" / "README.md").read_text(encoding="utf-8")


def test_without_tweets_a_line_says_that_nothing_was_checked(
    run: Path, tiny_llama: Path, prepared: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(prepared, tmp_path / "data")
    lonely = make_run(tmp_path / "run", run / "adapter", tiny_llama, tmp_path / "data")
    shutil.rmtree(tmp_path / "data")
    out = export(ExportConfig(str(lonely), str(tmp_path / "out"), to=["adapter"]))
    assert "no tweets to compare on, so the exports are not checked" in caplog.text
    assert caplog.messages[-1].startswith("adapter: on this machine its base model lies in")
    assert "NOT CHECKED" in caplog.messages[-2]
    assert (out / "parity.json").read_text() == "null\n"
    assert "was not compared" in (out / "adapter" / "README.md").read_text(encoding="utf-8")
    (tmp_path / "tweets.csv").write_text("tweet\nlove it\n\nrekt <|im_end|> again\n", encoding="utf-8")
    given = ExportConfig(str(lonely), str(tmp_path / "given"), to=["adapter"], check=str(tmp_path / "tweets.csv"))
    parity = read_json(export(given) / "parity.json")
    assert (parity["tweets"]["rows"], parity["tweets"]["file"]) == (2, "tweets.csv")
    # The second holds what other programs read as a control token.
    assert parity["prompt_as_one_text"] == {"rows": 2, "tokenised_otherwise": 1}


def test_a_run_that_was_moved_with_its_data_is_checked_all_the_same(
    run: Path, tiny_llama: Path, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "before").mkdir()
    monkeypatch.chdir(tmp_path / "before")
    shutil.copytree(prepared, "data/prepared/mine")
    make_run(Path("data/runs/mine"), run / "adapter", tiny_llama, Path("data/prepared/mine"))
    (tmp_path / "before").rename(tmp_path / "after")
    # What lies under the same name where the command runs is another data set.
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    write_prepared(Path("data/prepared/mine"), {"train": make_rows(3), "val": make_rows(3), "test": make_rows(3)})
    out = export(ExportConfig(str(tmp_path / "after/data/runs/mine"), "out", to=["adapter"]))
    assert read_json(out / "parity.json")["tweets"]["dataset"] == "mine"
    # Or side by side, whatever was around them before.
    (tmp_path / "after/data/runs/mine").rename(tmp_path / "after/run")
    (tmp_path / "after/data/prepared/mine").rename(tmp_path / "after/mine")
    assert dataset_of(Run.load(tmp_path / "after/run")).folder == tmp_path / "after/mine"
    shutil.rmtree(tmp_path / "after/mine")
    with pytest.raises(PipelineError, match="another sha256"):
        dataset_of(Run.load(tmp_path / "after/run"))


def test_the_tweets_to_ask_may_stand_in_any_column(run: Path, tmp_path: Path) -> None:
    (tmp_path / "tweets.csv").write_text("one,two\nlove it,hate it\n", encoding="utf-8")
    asked = ExportConfig(str(run), str(tmp_path / "out"), to=["adapter"], check=str(tmp_path / "tweets.csv"))
    with pytest.raises(PipelineError, match="--text_column"):
        export(asked)
    out = export(dataclasses.replace(asked, text_column="two"))
    assert read_json(out / "parity.json")["tweets"]["rows"] == 1


def test_a_data_set_without_held_out_rows_is_no_ground_to_compare_on(
    run: Path, tiny_llama: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = write_prepared(tmp_path / "data", {"train": make_rows(3), "val": [], "test": []})
    tuned = make_run(tmp_path / "run", run / "adapter", tiny_llama, data)
    out = export(ExportConfig(str(tuned), str(tmp_path / "out"), to=["adapter"]))
    assert "no validation or test tweets, so the exports are not checked" in caplog.text
    assert (out / "parity.json").read_text() == "null\n"


def test_gguf_alone_leaves_no_merged_folder(run: Path, llama_cpp: Path, tmp_path: Path) -> None:
    config = ExportConfig(str(run), str(tmp_path / "out"), to=["gguf"], dtype="fp32", llama_cpp=str(llama_cpp))
    out = export(config)
    assert sorted(path.name for path in out.iterdir()) == ["gguf", "manifest.json", "parity.json"]
    assert sorted(path.name for path in (out / "gguf").iterdir()) == ["README.md", "model.gguf"]


def test_a_converter_that_fails_is_quoted(run: Path, tmp_path: Path) -> None:
    (tmp_path / "llama").mkdir()
    (tmp_path / "llama" / "convert_hf_to_gguf.py").write_text(
        "import sys\nsys.exit('ERROR: Model Strange is not supported')\n", encoding="utf-8"
    )
    config = ExportConfig(str(run), str(tmp_path / "out"), to=["gguf"], llama_cpp=str(tmp_path / "llama"))
    with pytest.raises(PipelineError, match=r"could not convert .* Model Strange is not supported; try"):
        export(config)
    assert [path.name for path in tmp_path.iterdir()] == ["llama"]


class Hub(BaseHTTPRequestHandler):
    """Answers as a hub on which the repository exists already."""

    asked: list[tuple[str, Mapping[str, Any]]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.asked.append((self.path, json.loads(body)))
        self.send_response(409)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, Mapping[str, Any]]]]:
    Hub.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("HF_TOKEN", "hf_none")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    yield Hub.asked
    server.shutdown()
    server.server_close()


def test_a_repository_that_exists_is_left_alone(
    run: Path, tmp_path: Path, hub: list[tuple[str, Mapping[str, Any]]]
) -> None:
    config = ExportConfig(str(run), str(tmp_path / "out"), to=["adapter", "hub"], repo="me/mine")
    with pytest.raises(PipelineError, match=r"--repo me/mine: .*of that name already; .*hf upload me/mine"):
        export(config)
    [(path, body)] = hub
    assert path == "/api/repos/create"
    assert (body["name"], body["organization"]) == ("mine", "me")
    assert body.get("private") is True or body.get("visibility") == "private"
    assert Export.load(tmp_path / "out").manifest["to"] == ["adapter", "hub"]  # the export itself is finished


class Recorder:
    """Stands for the hub's client, as there is no hub here."""

    calls: list[tuple[str, Mapping[str, Any]]]

    def create_repo(self, repo: str, **options: Any) -> None:
        self.calls.append((repo, options))

    def upload_folder(self, **options: Any) -> Any:
        folder = Path(options["folder_path"])
        lacking = [name for name in options["allow_patterns"] if not (folder / name).is_file()]
        self.calls.append((folder.name, {**options, "lacking": lacking}))

        class Done:
            commit_url = "https://hub/commit/1"

        return Done()


@pytest.mark.parametrize("private", [True, False])
def test_model_and_card_are_uploaded_and_nothing_else(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, private: bool
) -> None:
    Recorder.calls = []
    monkeypatch.setattr("huggingface_hub.HfApi", Recorder)
    config = ExportConfig(str(run), str(tmp_path / "out"), to=["hub", "adapter"], repo="me/mine", private=private)
    export(config)
    (repo, created), (folder, uploaded) = Recorder.calls
    assert (repo, created["private"], created["exist_ok"]) == ("me/mine", private, False)
    assert folder == "adapter"
    assert uploaded["allow_patterns"] == ["README.md", "adapter_config.json", "adapter_model.safetensors"]
    assert uploaded["lacking"] == []


def test_a_dry_run_lists_what_would_be_uploaded(
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("huggingface_hub.HfApi", None)
    caplog.set_level(logging.INFO, "pipeline")
    to = ["adapter", "hub"]
    out = export(ExportConfig(str(run), str(tmp_path / "out"), to=to, repo="me/mine", dry_run=True))
    size = (out / "adapter" / "adapter_model.safetensors").stat().st_size
    said = caplog.text.partition(
        "nothing is uploaded; without --dry_run this would create the private repository me/mine with"
    )[2]
    assert re.search(rf"{size:,} bytes  adapter_model.safetensors", said)
    assert said.count(" bytes  ") == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"to": ["onnx"]}, "--to: expected some of merged, adapter, gguf, ollama, hub; got onnx"),
        ({"to": ["merged,adapter"]}, "hub, divided by spaces; got merged,adapter"),
        ({"to": ["merge"]}, r"got merge \(did you mean merged\?\)"),
        ({"to": []}, "--to: expected some of .*; got none"),
        ({"max_flips": 2.0}, "--max_flips: expected a share from 0 to 1, got 2.0"),
        ({"to": ["gguf"]}, "--llama_cpp: expected a checkout of llama.cpp with convert_hf_to_gguf.py"),
        ({"to": ["ollama"], "llama_cpp": "/nowhere"}, "--llama_cpp /nowhere: expected a checkout"),
        ({"to": ["merged", "hub"]}, "--repo: expected the repository to create, as ORG/NAME"),
        ({"to": ["merged", "hub"], "repo": "a/b/c"}, "--repo a/b/c: expected the repository"),
        ({"to": ["hub"], "repo": "a/b"}, "--to hub: expected either merged or adapter beside it"),
        ({"to": ["merged", "adapter", "hub"], "repo": "a/b"}, "--to hub: expected either merged or adapter"),
        ({"dry_run": True}, "--repo, --dry_run: expected --to hub with them"),
        ({"check": "a.csv", "dataset": "d"}, "--check, --dataset: expected one of them"),
        ({"text_column": "b"}, "--text_column: expected --check with it"),
        ({"check": "/nowhere.csv"}, "--check /nowhere.csv: no such file"),
        ({"dataset": "/nowhere"}, "/nowhere: no such folder"),
        ({"report": "/nowhere"}, "/nowhere: no such folder; expected a finished report"),
    ],
)
def test_options_are_checked_before_anything_is_loaded(
    run: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(PipelineError, match=message):
        export(ExportConfig(str(run), str(tmp_path / "out"), **options))
    assert list(tmp_path.iterdir()) == []


def test_a_report_on_another_run_is_refused(run: Path, tmp_path: Path) -> None:
    with new_folder(tmp_path / "report") as staging:
        write_manifest(staging, "report", Task(), {"parents": {"run": {"path": "r", "sha256": "0" * 64}}, "data": {}})
    config = ExportConfig(str(run), str(tmp_path / "out"), report=str(tmp_path / "report"))
    with pytest.raises(PipelineError, match="not a report on"):
        export(config)
