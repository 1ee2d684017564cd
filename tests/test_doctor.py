import importlib.metadata as metadata
import re
import subprocess
import sys

import pytest
import yaml

from pipeline import doctor


def test_one_screen_says_what_a_bug_report_needs() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "pipeline.doctor"], capture_output=True, text=True, timeout=120, check=True
    )
    lines = result.stdout.splitlines()
    assert len(lines) <= 24
    for subject in ("python", "processor", "device", "memory", "base model", "disk", "versions"):
        assert any(line.startswith(subject) for line in lines), subject
    assert "MISSING" not in result.stdout
    assert "torch 2." in result.stdout


def test_findings_are_one_line_each() -> None:
    assert all("\n" not in finding for _, finding in doctor.findings())


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
