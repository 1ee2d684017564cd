import subprocess
import sys

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
