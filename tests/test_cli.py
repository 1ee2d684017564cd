import dataclasses
import errno
import importlib
import importlib.metadata as metadata
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline import cli, doctor
from pipeline.errors import BusyError, PipelineError, ShortageError, StoppedError
from pipeline.train import TrainConfig

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = {
    "pipeline.prepare": "python -m pipeline.prepare",
    "pipeline.train": "python -m pipeline.train",
    "pipeline.evaluate": "python -m pipeline.evaluate",
    "pipeline.compare": "python -m pipeline.compare",
    "pipeline.predict": "python -m pipeline.predict",
    "pipeline.export": "python -m pipeline.export",
    "pipeline.convert": "python -m pipeline.convert",
    "pipeline.distill": "python -m pipeline.distill",
    "pipeline.doctor": "python -m pipeline.doctor",
    "app": "python app.py",
}
HEAVY = [
    "torch",
    "transformers",
    "peft",
    "pandas",
    "datasets",
    "sklearn",
    "scipy",
    "matplotlib",
    "seaborn",
    "gradio",
    "openai",
]
TRAIN = ["--dataset", "d", "--out", "o"]


@dataclass(frozen=True)
class Inner:
    """Nested options."""

    r: int = 8
    """Rank."""


@dataclass(frozen=True)
class Options:
    """Options of a command that exists in this test only."""

    out: str
    """Where to."""
    rate: float = 0.1
    """How fast."""
    inner: Inner = field(default_factory=Inner)
    """More."""


def run_cli(
    argv: list[str], command: Callable[[Any], Path | None] = lambda config: None, config_class: type = Options
) -> int | str | None:
    """Exit code of a command line, run in this process."""
    with pytest.raises(SystemExit) as caught:
        cli.run(config_class, command, argv, name="trial", example="trial --out x")
    return caught.value.code


def parsed(argv: list[str], *, preset: str | None = "cpu") -> TrainConfig:
    return cli._parse(TrainConfig, "", argv, name="trial", example="", preset=preset)


def start(module: str, *arguments: str, cwd: Path = ROOT) -> "subprocess.CompletedProcess[str]":
    program = [str(ROOT / "app.py")] if module == "app" else ["-m", module]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *program, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("module", COMMANDS)
def test_a_bad_option_is_one_line_and_code_2(module: str, tmp_path: Path) -> None:
    done = start(module, "--no_such_option", "1", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(COMMANDS[module] + ": ")
    assert done.stderr.endswith("; see --help\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("module", "argv"),
    [
        ("pipeline.prepare", ["--source", "a.csv", "--out", "o", "--val", "much"]),
        ("pipeline.prepare", ["--source", "a.csv", "--out", "o", "--duplicates", "two"]),
        ("pipeline.prepare", ["--out", "o"]),
        ("pipeline.train", [*TRAIN, "--epochs", "fast"]),
        ("pipeline.train", [*TRAIN, "--lora.r", "1.5"]),
        ("pipeline.train", [*TRAIN, "--precision", "int3"]),
        ("pipeline.train", [*TRAIN, "--config", "no-such-preset"]),
        ("pipeline.train", [*TRAIN, "--conf", "cpu"]),
        ("pipeline.train", [*TRAIN, "--config"]),
        ("pipeline.train", []),
        ("pipeline.evaluate", ["--out", "o", "--seed", "x"]),
        ("pipeline.evaluate", ["--out", "o", "surplus"]),
        ("pipeline.export", ["--run", "r"]),
        ("pipeline.export", ["--run", "r", "--out", "o", "--dtype", "f16"]),
        ("pipeline.convert", []),
        ("pipeline.convert", ["checkpoint", "surplus"]),
        ("app", ["--run", "r", "--port", "http"]),
        ("app", []),
        ("pipeline.doctor", ["now"]),
    ],
)
def test_wrong_values_are_one_line_and_code_2(module: str, argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        importlib.import_module(module).main(argv)
    out, err = capsys.readouterr()
    assert (caught.value.code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(COMMANDS[module])
    assert not re.search(r"Parser key|typing|class '|Subtypes|Union|NoneType", err)


PREPARE = ["--source", "a.csv", "--out", "o"]


@pytest.mark.parametrize(
    ("module", "argv", "message"),
    [
        ("pipeline.prepare", [*PREPARE, "--val", "abc"], "--val: expected a number, got 'abc'"),
        ("pipeline.prepare", [*PREPARE, "--val"], "--val: expected a number, got none"),
        ("pipeline.prepare", [*PREPARE, "--folds", "2.5"], "--folds: expected a whole number, got '2.5'"),
        ("pipeline.prepare", [*PREPARE, "--folds", ""], "--folds: expected a whole number, got ''"),
        ("pipeline.prepare", [*PREPARE, "--header", "may\nbe"], "--header: expected true or false, got 'may be'"),
        (
            "pipeline.prepare",
            [*PREPARE, "--duplicates", "none"],
            "--duplicates: expected one, all or a whole number, got 'none'",
        ),
        ("pipeline.prepare", [*PREPARE, "--date_order", "year"], "--date_order: expected day or month, got 'year'"),
        ("pipeline.prepare", [*PREPARE, "--inspect=maybe"], "--inspect: expected true or false, got 'maybe'"),
        (
            "pipeline.prepare",
            [*PREPARE, "--conflicts", "x"],
            "--conflicts: expected majority, drop or error, got 'x'",
        ),
        ("pipeline.prepare", [*PREPARE, "--spilt_by", "time"], "--spilt_by: no such option (did you mean --split_by?)"),
        ("pipeline.prepare", [*PREPARE, "--split-by=time"], "--split-by: no such option (did you mean --split_by?)"),
        ("pipeline.prepare", [*PREPARE, "--qqq", "-1"], "--qqq: no such option"),
        ("pipeline.prepare", ["surplus", *PREPARE], "expected options alone, got 'surplus'"),
        ("pipeline.prepare", ["--out", "o"], "--source: expected a value, got none"),
        ("pipeline.train", [], "--dataset, --out: expected a value, got none"),
        ("pipeline.train", [*TRAIN, "--lora.r", "x"], "--lora.r: expected a whole number, got 'x'"),
        ("pipeline.train", [*TRAIN, "--lora", "{r: x}"], "--lora.r: expected a whole number, got 'x'"),
        ("pipeline.train", [*TRAIN, "--lora", "5"], "--lora: expected a group of options, got '5'"),
        (
            "pipeline.train",
            [*TRAIN, "--config", "cpu_hour"],
            "--config cpu_hour: expected a YAML file, or one of baichuan2-7b, chatglm3-6b-nf4, cpu, cpu-hour, "
            "deepseek-7b, llama-7b-int8, phi4; no such file (did you "
            "mean cpu-hour?)",
        ),
        ("pipeline.evaluate", ["--config", "cpu"], "--config cpu: expected a YAML file; no such file"),
        ("pipeline.train", [*TRAIN, "--lora.alfa", "1"], "--lora.alfa: no such option (did you mean --lora.alpha?)"),
        ("pipeline.train", [*TRAIN, "--lora.target_modules", "3"], "--lora.target_modules: expected a list, got '3'"),
        (
            "pipeline.train",
            [*TRAIN, "--precision", "int3"],
            "--precision: expected auto, bf16, fp32, int8 or nf4, got 'int3'",
        ),
        ("pipeline.train", [*TRAIN, "--config"], "--config: expected a file, got none"),
        ("pipeline.doctor", ["now"], "expected options alone, got 'now'"),
        ("app", ["--run", "r", "--port", "http"], "--port: expected a whole number, got 'http'"),
    ],
)
def test_a_wrong_value_is_told_in_plain_words(
    module: str, argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        importlib.import_module(module).main(argv)
    assert caught.value.code == 2
    assert capsys.readouterr().err == f"{COMMANDS[module]}: {message}; see --help\n"


@pytest.mark.parametrize(
    ("module", "argv", "message"),
    [
        ("pipeline.prepare", ["--source", "gone.csv", "--out", "o"], "gone.csv"),
        ("pipeline.prepare", ["--source", "gone.csv", "--out", "o", "--val", "2"], "--val: expected a share"),
        ("pipeline.train", ["--dataset", "gone", "--out", "o"], "gone: no such folder"),
        ("pipeline.train", ["--dataset", __file__, "--out", "o"], "is a file; prepare it first; expected a finished"),
        ("pipeline.train", [*TRAIN, "--base_model", "smollm2-136m"], "(did you mean smollm2-135m?)"),
        ("pipeline.train", [*TRAIN, "--base_model", "./models/nope"], "; no such folder"),
        ("pipeline.train", [*TRAIN, "--report_to", "wandbb"], "got 'wandbb' (did you mean wandb?)"),
        ("pipeline.train", [*TRAIN, "--batch_size", "4"], "which is 8; lower that too"),
        ("pipeline.train", [*TRAIN, "--epochs", ".nan"], "--epochs: expected a number above 0, got nan"),
        ("pipeline.evaluate", ["--run", "gone", "--out", "o"], "gone: no such folder"),
        ("app", ["--run", "gone"], "gone: no such folder"),
    ],
)
def test_a_cause_outside_the_code_is_one_line_and_code_1(
    module: str,
    argv: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        importlib.import_module(module).main(argv)
    out, err = capsys.readouterr()
    assert (caught.value.code, out, err.count("\n")) == (1, "", 1)
    assert err.startswith(COMMANDS[module] + ": ")
    assert message in err
    assert list(tmp_path.iterdir()) == []


def test_the_line_that_makes_the_base_model_of_a_preset(tiny_llama: Path, tmp_path: Path) -> None:
    lines = (cli.CONFIGS / "deepseek-7b.yaml").read_text(encoding="utf-8").splitlines()
    line = next(line for line in lines if line.startswith("# python -c "))
    folder = next(line for line in lines if line.startswith("base_model: ")).removeprefix("base_model: ")
    assert line.count("deepseek-ai/deepseek-llm-7b-chat") == 1
    published = tmp_path / "published"
    shutil.copytree(tiny_llama, published)
    weights = published / "model.safetensors"
    make_bin = (
        "import sys, torch; from safetensors.torch import load_file; torch.save(load_file(sys.argv[1]), sys.argv[2])"
    )
    subprocess.run([sys.executable, "-c", make_bin, weights, published / "pytorch_model.bin"], check=True)
    weights.unlink()
    program = (
        line.removeprefix("# python -c '").removesuffix("'").replace("deepseek-ai/deepseek-llm-7b-chat", "published")
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path)
    made = {path.name for path in (tmp_path / folder).iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= made
    assert not [name for name in made if name.endswith(".bin")]


def test_a_cause_outside_the_code_through_the_shell(tmp_path: Path) -> None:
    done = start("pipeline.train", "--dataset", "gone", "--out", "o", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith("python -m pipeline.train: gone: no such folder")


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (PipelineError("tweets.csv: expected rows"), 1, "trial: tweets.csv: expected rows"),
        (StoppedError("o: stopped; go on"), 3, "trial: o: stopped; go on"),
        (ShortageError("o: expected 9 MB"), 4, "trial: o: expected 9 MB"),
        (BusyError("o: another run"), 5, "trial: o: another run"),
        (KeyboardInterrupt(), 3, "trial: stopped; if a folder was begun, it has no manifest.json"),
        (MemoryError(), 4, "trial: out of memory; close other programs, or lower the batch sizes"),
        (MemoryError("on the GPU"), 4, "trial: out of memory; on the GPU"),
        (OSError(errno.ENOSPC, "No space left on device", "o/a.json"), 4, "trial: o/a.json: No space left on device;"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), 4, "trial: writing: Disk quota exceeded;"),
    ],
)
def test_exit_code_and_line_of_an_error(
    error: BaseException, code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(config: Options) -> Path | None:
        raise error

    assert run_cli(["--out", "x"], fail) == code
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(message)


@pytest.mark.parametrize("error", [KeyError("label"), OSError(errno.EBADF, "Bad file"), OSError("no number")])
def test_a_bug_keeps_its_traceback(error: Exception) -> None:
    def fail(config: Options) -> Path | None:
        raise error

    with pytest.raises(type(error)) as caught:
        cli.run(Options, fail, ["--out", "x"], name="trial", example="")
    assert caught.value is error
    assert caught.traceback[-1].name == "fail"


def test_stdout_is_the_path_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["--out", "x/y"], lambda config: Path(config.out)) == 0
    assert capsys.readouterr() == ("x/y\n", "")
    assert run_cli(["--out", "x/y"]) == 0
    assert capsys.readouterr() == ("", "")


def test_argv_is_the_process_s_own_when_none_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", *TRAIN, "--seed", "7"])
    config = cli._parse(TrainConfig, "", None, name="trial", example="", preset="cpu")
    assert (config.dataset, config.seed, config.lora.r) == ("d", 7, 16)


SLEEPER = """
import logging, time
from dataclasses import dataclass
from pathlib import Path
from pipeline import artifacts, cli

@dataclass
class Config:
    out: str

def fill(config):
    with artifacts.new_folder(Path(config.out)) as folder:
        artifacts.write_text(folder / "half.txt", "half")
        logging.getLogger("pipeline.trial").info("ready")
        time.sleep(30)

cli.run(Config, fill, ["--out", "o"], name="trial", example="")
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_code_3_and_leaves_nothing(number: signal.Signals, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", SLEEPER],
        cwd=tmp_path,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background ignores it
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "ready\n"
        assert len(list(tmp_path.iterdir())) == 1
        began = time.monotonic()
        process.send_signal(number)
        assert process.stderr.read().startswith("trial: stopped;")
        assert process.wait(timeout=20) == 3
    assert time.monotonic() - began < 20
    assert list(tmp_path.iterdir()) == []


def test_libraries_are_quiet_and_the_project_is_heard(capfd: pytest.CaptureFixture[str]) -> None:
    speak = "import logging; from pipeline import cli; from dataclasses import dataclass\n" + (
        "@dataclass\nclass C:\n    pass\n"
        "def f(c):\n"
        "    logging.getLogger('matplotlib').info('library')\n"
        "    logging.getLogger('matplotlib').warning('library warns')\n"
        "    logging.getLogger('pipeline.train').info('project')\n"
        "    logging.getLogger('app').info('demo')\n"
        "cli.run(C, f, [], name='trial', example='')"
    )
    done = subprocess.run([sys.executable, "-c", speak], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.split("\n") == ["library warns", "project", "demo", ""]


@pytest.mark.parametrize("argv", [["--config", "llama-7b-int8"], ["--config=llama-7b-int8"]])
def test_a_preset_goes_by_its_name_or_path(argv: list[str]) -> None:
    config = parsed([*argv, *TRAIN])
    path = str(ROOT / "pipeline" / "configs" / "llama-7b-int8.yaml")
    assert (config.base_model, config.precision, config.max_steps) == ("huggyllama/llama-7b", "int8", 300)
    assert parsed(["--config", path, *TRAIN]) == parsed([f"--config={path}", *TRAIN]) == config


def test_the_default_preset_applies_alone() -> None:
    default = parsed(TRAIN)
    assert default == parsed(["--config", "cpu", *TRAIN])
    assert default != parsed(TRAIN, preset=None)


@pytest.mark.parametrize("preset", cli.presets())
def test_a_preset_names_all_that_the_default_one_does(preset: str) -> None:
    """Presets are laid over the default one, so what they leave out would be a laptop's number."""
    default, other = (yaml.safe_load((cli.CONFIGS / f"{name}.yaml").read_text()) for name in ("cpu", preset))
    assert set(other) == set(default)
    assert set(other["lora"]) == set(default["lora"])


def test_a_short_config_keeps_the_default_preset_for_the_rest(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("learning_rate: 1e-4\n")
    expected = dataclasses.replace(parsed(TRAIN), learning_rate=1e-4)
    assert parsed(["--config", str(tmp_path / "mine.yaml"), *TRAIN]) == expected


def test_a_file_with_a_preset_s_name_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("cpu").write_text("seed: 99\n")
    assert parsed(["--config", "cpu", *TRAIN]).seed == 99


@pytest.mark.parametrize("before", [True, False])
def test_flags_win_over_the_config_wherever_they_stand(before: bool, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("learning_rate: 3e-4\nseed: 5\nlora:\n  r: 4\n")
    config_flag = ["--config", str(tmp_path / "mine.yaml")]
    config = parsed([*config_flag, *TRAIN, "--seed", "6"])
    assert (config.learning_rate, config.seed, config.lora.r, config.lora.alpha) == (3e-4, 6, 4, 32)
    flags = ["--learning_rate", "1e-3", "--lora.r", "2"]
    config = parsed([*flags, *config_flag, *TRAIN] if before else [*config_flag, *flags, *TRAIN])
    assert (config.learning_rate, config.lora.r) == (1e-3, 2)
    assert parsed([*TRAIN, "--seed", "6"]).seed == 6


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("epochs: fast", "--epochs: expected a number, got 'fast'"),
        ("epoch: 1", "--config: no such option 'epoch' (did you mean epochs?)"),
        ("lora:\n  ranks: 1", "--config: no such option 'lora.ranks'"),
        ("lora: 3", "--config: lora: expected a group of options, got 3"),
        ("lora: [1]", "--config: lora: expected a group of options, got [1]"),
        ("lora: null", "--config: lora: expected a group of options, got null"),
        ("- 1", "--config: expected a YAML file with lines such as seed: 1, got '- 1'"),
        ("epochs: [", "--config: expected YAML; "),
    ],
)
def test_a_bad_config_file_is_told_in_plain_words(
    content: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.yaml").write_text(content)
    with pytest.raises(SystemExit):
        parsed(["--config", str(tmp_path / "bad.yaml"), *TRAIN])
    assert capsys.readouterr().err.startswith(f"trial: {message}")


@pytest.mark.parametrize("content", [b"epochs: [", b"nope: 1", b"- 1", b"epochs: \xff", b"learning_rate: fast", b""])
def test_a_bad_config_file_is_one_line_and_code_2(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.yaml").write_bytes(content)
    with pytest.raises(SystemExit) as caught:
        parsed(["--config", str(tmp_path / "bad.yaml"), *TRAIN])
    assert caught.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_presets_are_the_yaml_files() -> None:
    assert cli.presets() == sorted(path.stem for path in (ROOT / "pipeline" / "configs").glob("*.yaml"))
    assert "cpu" in cli.presets()


@pytest.mark.parametrize("preset", cli.presets())
def test_every_preset_is_a_config_of_train(preset: str) -> None:
    config = parsed(["--config", preset, *TRAIN])
    text = (cli.CONFIGS / f"{preset}.yaml").read_text(encoding="utf-8")
    for name, value in yaml.safe_load(text).items():
        if name == "lora":
            assert {key: getattr(config.lora, key) for key in value} == value
        else:
            assert getattr(config, name) == value
    assert config.batch_size % config.micro_batch_size == 0
    assert text.startswith("# python -m pipeline.train ")


@dataclass(frozen=True)
class SeveralOptions:
    """Options of a command that takes several files."""

    source: list[str]
    """Where from."""
    out: str = "o"
    """Where to."""


@pytest.mark.parametrize(
    ("argv", "source", "out"),
    [
        (["--source", "a.csv"], ["a.csv"], "o"),
        (["--source", "-1.csv", "-.5", "--out", "-1=Bad,1=Good"], ["-1.csv", "-.5"], "-1=Bad,1=Good"),
        (["--out=-1", "--source", "a"], ["a"], "-1"),
        (["--source", "a b.csv", "c.csv", "--out", "x"], ["a b.csv", "c.csv"], "x"),
        (["--source=a=1.csv", "--out", "x", "--source", "b"], ["a=1.csv", "b"], "x"),
        (["--out=x", "--source", "1", "true", 'q"[].csv'], ["1", "true", 'q"[].csv'], "x"),
    ],
)
def test_an_option_can_take_several_values(argv: list[str], source: list[str], out: str) -> None:
    seen: list[SeveralOptions] = []
    assert run_cli(argv, lambda config: seen.append(config), SeveralOptions) == 0
    assert seen == [SeveralOptions(source, out)]


def test_help_says_how_several_values_are_divided(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["--help"], config_class=SeveralOptions) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "--source SOURCE [SOURCE ...] Where from. Several are divided by spaces." in text
    assert "ITEM" not in text
    assert "--source+" not in text


@pytest.mark.parametrize("value", ["-1=Negative,1=Positive", "-1", "-0.5x", "-.5"])
def test_a_value_may_begin_with_a_minus(value: str) -> None:
    seen: list[Options] = []
    assert run_cli(["--out", value, "--rate", "-0.5"], lambda config: seen.append(config)) == 0
    assert seen == [Options(value, -0.5)]


def test_print_config_round_trips(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--learning_rate", "2e-5", "--lora.target_modules", "[q_proj]", "--max_steps", "9"]
    with pytest.raises(SystemExit) as caught:
        parsed([*TRAIN, *flags, "--print_config"])
    assert caught.value.code == 0
    (tmp_path / "printed.yaml").write_text(capsys.readouterr().out)
    assert parsed(["--config", str(tmp_path / "printed.yaml")]) == parsed([*TRAIN, *flags])


@pytest.mark.parametrize("module", COMMANDS)
def test_help_tells_and_loads_no_heavy_library(module: str, tmp_path: Path) -> None:
    program = (
        "import sys, importlib\n"
        f"module = importlib.import_module({module!r})\n"
        "try:\n    module.main(['--help'])\n"
        "except SystemExit as end:\n    assert end.code == 0, end.code\n"
        f"print('LOADED', *sorted(set({HEAVY!r}) & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    text, _, loaded = done.stdout.rpartition("LOADED")
    assert loaded.strip() == ""
    assert text.startswith(f"usage: {COMMANDS[module]} [options]")
    assert f"example:\n  {COMMANDS[module]}" in text
    fields = list(
        importlib.import_module(module).__dict__[module.split(".")[-1].capitalize() + "Config"].__annotations__
    )
    assert [name for name in fields if not re.search(rf"--{name}\b", text)] == []


def test_doctor_names_what_is_missing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    # A machine without the model stage's libraries, and a checkout that was never installed.
    monkeypatch.setitem(sys.modules, "pipeline.model.machine", None)

    def not_installed(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", not_installed)
    with pytest.raises(SystemExit) as caught:
        doctor.main([])
    assert caught.value.code == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert lines["python"].startswith(f"{sys.version_info[0]}.{sys.version_info[1]}.")
    assert "MISSING" in lines["model"]
    assert lines["versions"].startswith("MISSING: sentiment-tuner is not installed")


def test_doctor_lists_every_dependency_with_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pipeline.model.machine", None)
    monkeypatch.setattr(metadata, "requires", lambda name: ["PyYAML>=6,<7", "no-such-package>=1", "tqdm; os_name"])
    found = dict(doctor.findings())["versions"].split(", ")
    assert found[0] == f"PyYAML {yaml.__version__}"
    assert found[1] == "no-such-package MISSING"
    assert re.fullmatch(r"tqdm \d.*", found[2])
