"""Presets, config files and values that are not plain texts."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from command_lines import TRAIN, Options, parsed, run_cli

from pipeline import cli

ROOT = Path(__file__).resolve().parents[1]


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
