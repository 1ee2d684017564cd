"""The tutorial, run block by block as a reader would, with a tiny model in place of the embedded one."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from predicting import PATIENCE, read_csv

from pipeline.artifacts import Report, Run

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.thorough
def test_every_block_of_the_tutorial_runs(tiny_llama: Path, tmp_path: Path) -> None:
    page = (ROOT / "docs/tutorial.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```(sh|python)\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    assert [kind for kind, _ in blocks].count("sh") == 6
    # One shell and one Python, as for a reader; Python's blocks so far run again, but for those that label.
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    python, said = "", ""
    for kind, block in blocks:
        if "BASE=smollm2-135m" in block:
            environment |= {"BASE": str(tiny_llama), "STEPS": "4"}
            continue
        python += block if kind == "python" else ""
        command = ["bash", "-euc", block] if kind == "sh" else [sys.executable, "-c", python]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        assert done.returncode == 0, f"{block}\n{done.stderr[-2_000:]}"
        said += done.stdout
    labels = ("wütend", "enttäuscht", "neutral", "zufrieden", "begeistert")
    assert Run.load(tmp_path / "data/runs/kommentare").task.labels == labels
    assert Report.load(tmp_path / "reports/kommentare").task.instruction == "Welche Stimmung hat dieser Kommentar?"
    rows = read_csv(tmp_path / "neu_bewertet.csv")
    assert [row["id"] for row in rows] == ["1", "2", "3"]
    assert rows[2]["reason"].startswith("empty")
    assert {row["label"] for row in rows[:2]} <= {*labels, ""}
    assert "tfidf" in said
