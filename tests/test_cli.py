import errno
import importlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_lines import TRAIN, Options, run_cli

from pipeline import cli
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
        (
            "pipeline.train",
            ["--dataset", __file__, "--out", "o"],
            "expected a prepared folder, got a file; prepare it first: python -m pipeline.prepare --source",
        ),
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
        (KeyboardInterrupt(), 3, "trial: stopped; a folder that has no manifest.json is unfinished"),
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
    assert text.startswith(f"usage: {COMMANDS[module]} ")
    assert f"example:\n  {COMMANDS[module]}" in text
    names = vars(importlib.import_module(module))
    fields = names[module.split(".")[-1].capitalize() + "Config"].__annotations__
    assert [name for name in fields if not re.search(rf"--{name}\b", text)] == []
    assert [heading for heading in names.get("_SECTIONS", {}).values() if f"\n\n{heading}:\n" not in text] == []
    assert not re.search(r"\bnull\)|Literal|type: |==SUPPRESS==|\[=flags\]", text)
