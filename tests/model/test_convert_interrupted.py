"""What a conversion survives: deaths, damage, other sources, small disks; and in how much memory."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import original_tokenizers
import pytest
from converting import (
    PATIENCE,
    ROOT,
    TOLERANCE,
    apart,
    command,
    content,
    logits,
    native_logits,
    write_source,
)
from original_architectures import (
    BAICHUAN,
    Baichuan2,
    randomise,
    write_checkpoint,
)
from safetensors.torch import save_file

from pipeline.locking import Lock
from pipeline.model import conversion

FORKS = """
import os, shutil, sys
from pathlib import Path
import transformers.models.glm.modeling_glm, transformers.models.llama.modeling_llama
from pipeline.locking import Lock
from pipeline.model import conversion
from pipeline.model.conversion import convert_checkpoint

def counted(real):
    def call(*arguments, **options):
        global calls
        calls += 1
        if calls == number:
            os._exit(9)
        return real(*arguments, **options)
    return call

for line in sys.stdin:
    number, source, out = line.rstrip("\\n").split("\\t")
    number, calls = int(number), 0
    child = os.fork()
    if not child:
        for owner, names in (
            (os, ["fsync"]), (Path, ["replace", "rename", "unlink"]), (shutil, ["rmtree"]),
            (conversion, ["save_file", "write_text", "dump_jsonl"]),
        ):
            for name in names:
                setattr(owner, name, counted(getattr(owner, name)))
        try:
            convert_checkpoint(Path(source), Path(out))
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            os._exit(1)
        os._exit(0)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Forks:
    """A process that has all libraries loaded, and has each conversion done by a child of its own."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", FORKS], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def convert(self, source: Path, out: Path, *, dies_at: int = 0, seconds: float | None = None) -> int:
        """The exit code of a conversion; the child leaves at a call that changes the disk, or is killed in a while."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(dies_at, source, out, sep="\t", file=self._process.stdin, flush=True)
        child = int(self._process.stdout.readline())
        if seconds is not None:
            time.sleep(seconds)
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        return int(self._process.stdout.readline())

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def forks() -> Iterator[Forks]:
    made = Forks()
    yield made
    made.close()


@pytest.mark.thorough
def test_a_death_at_any_call_costs_nothing(forks: Forks, tmp_path: Path) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    write_source(source, "baichuan2", safetensors=False, shards=2)
    assert forks.convert(source, tmp_path / "whole") == 0
    whole, died = content(tmp_path / "whole"), 0
    for number in range(1, 200, 2):
        code = forks.convert(source, out, dies_at=number)
        assert code in (0, 9), number
        assert forks.convert(source, out) == 0, number
        assert content(out) == whole, number
        assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "source", "whole"], number
        shutil.rmtree(out)
        if not code:
            break
        died += 1
    assert died >= 15
    assert code == 0


@pytest.mark.thorough
def test_kills_at_random_moments_cost_nothing(forks: Forks, tmp_path: Path) -> None:
    source = tmp_path / "source"
    write_source(source, "chatglm3", shards=20)
    assert forks.convert(source, tmp_path / "first") == 0
    before = time.monotonic()
    assert forks.convert(source, tmp_path / "whole") == 0
    seconds, kills, rng = time.monotonic() - before, 0, random.Random(1)
    for i in range(10):
        out = tmp_path / f"{i}"
        while forks.convert(source, out, seconds=rng.random() * seconds * 0.7):
            kills += 1
        assert content(out) == content(tmp_path / "whole")
        assert not out.with_name(f"{i}.parts").exists()
    assert kills >= 6


@pytest.fixture
def half_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> tuple[Path, Path]:
    """A source of four shards, and a conversion of it that was stopped before the last was written."""
    source, out = tmp_path / "source", tmp_path / "out"
    write_source(source, "baichuan2", shards=4)
    assert command(source, "--out", tmp_path / "whole") == 0
    left = [4]

    def save(*arguments: Any, **options: Any) -> None:
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        real(*arguments, **options)

    real = save_file
    with monkeypatch.context() as patch:
        patch.setattr(conversion, "save_file", save)
        assert command(source, "--out", out) == 3
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"python -m pipeline.convert: {out}: stopped; go on with the same command"
    )
    return source, out


def test_only_what_is_missing_is_written(half_done: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    source, out = half_done
    cut = out.with_name("out.parts") / ".tmpA1b2C3"  # as safetensors leaves one that was killed
    cut.touch()
    written = []

    def save(*arguments: Any, **options: Any) -> None:
        written.append(cut.exists())
        save_file(*arguments, **options)

    monkeypatch.setattr(conversion, "save_file", save)
    assert command(source, "--out", out) == 0
    assert written == [False]
    assert content(out) == content(out.with_name("whole"))


@pytest.mark.parametrize("damage", ["flip", "cut", "gone", "line"])
def test_a_damaged_shard_is_written_again(
    half_done: tuple[Path, Path], damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = half_done
    place = out.with_name("out.parts")
    shard = place / "model" / "model-00002-of-00004.safetensors"
    data = shard.read_bytes()
    if damage == "flip":
        shard.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif damage == "cut":
        shard.write_bytes(data[:-1])
    elif damage == "gone":
        shard.unlink()
    else:
        lines = (place / "finished.jsonl").read_text().splitlines(keepends=True)
        (place / "finished.jsonl").write_text("".join(lines[:2])[:-40])
    written = []
    real = save_file
    monkeypatch.setattr(conversion, "save_file", lambda *a, **k: written.append(real(*a, **k)))
    assert command(source, "--out", out) == 0
    assert len(written) == (3 if damage == "line" else 2)
    assert content(out) == content(out.with_name("whole"))


def test_another_source_does_not_go_on(half_done: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    source, out = half_done
    network = Baichuan2(BAICHUAN)
    randomise(network, seed=1)
    before = content(source)
    write_checkpoint(source, network, BAICHUAN, shards=4)
    changed = sum(before[name] != now for name, now in content(source).items())
    assert command(source, "--out", out) == 1
    err = capsys.readouterr().err
    assert "expected what it was begun with, got model-00001-of-00004.safetensors" in err
    assert err.count("->") == changed == 4


def test_a_second_process_is_told_to_wait(half_done: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    source, out = half_done
    with Lock(out.with_name("out.parts")) as lock:
        lock.take()
        assert command(source, "--out", out) == 5
    assert "another run is converting into it" in capsys.readouterr().err


def test_a_full_disk_is_code_4_and_costs_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    resource = pytest.importorskip("resource")
    source, out = tmp_path / "source", tmp_path / "out"
    write_source(source, "baichuan2", shards=3)
    assert command(source, "--out", tmp_path / "whole") == 0
    sizes = sorted(path.stat().st_size for path in (tmp_path / "whole").glob("*.safetensors"))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        for limit in (20_000, sizes[-1] - 1000):  # not even the tokenizer; all but the largest shard
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
            assert command(source, "--out", out) == 4
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            assert "File too large" in capsys.readouterr().err
            assert not out.exists()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert command(source, "--out", out) == 0
    assert content(out) == content(tmp_path / "whole")
    assert not out.with_name("out.parts").exists()


def test_too_little_room_is_seen_before_weights_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_source(tmp_path / "source", "chatglm3")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    assert command(tmp_path / "source", "--out", tmp_path / "out") == 4
    assert "of free disk for the weights, got 0.0 MB; free some and run again" in capsys.readouterr().err


def test_large_files_become_several_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = write_source(tmp_path / "source", "baichuan2", safetensors=False)
    monkeypatch.setattr(conversion, "_SHARD_BYTES", 100_000)
    assert command(tmp_path / "source", "--out", tmp_path / "out") == 0
    sizes = [path.stat().st_size for path in (tmp_path / "out").glob("*.safetensors")]
    assert len(sizes) == 5
    assert sum(size > 110_000 for size in sizes) == 2  # the embedding and the output layer, which are not cut
    assert apart(native_logits(tmp_path / "out"), logits(network)) < TOLERANCE


MEASURED = """
import re, sys
from pathlib import Path
from pipeline.model.conversion import convert_checkpoint

def peak(what):
    return int(re.search(what + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024

small, large, out = map(Path, sys.argv[1:])
convert_checkpoint(small, out / "small")
Path("/proc/self/clear_refs").write_text("5")
before = peak("VmRSS")
convert_checkpoint(large, out / "large")
print(peak("VmHWM") - before)
"""


@pytest.mark.thorough
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's peak of the memory")
@pytest.mark.parametrize("safetensors", [True, False], ids=["safetensors", "bin"])
def test_memory_is_that_of_one_shard(tmp_path: Path, safetensors: bool) -> None:
    write_source(tmp_path / "small", "baichuan2", safetensors=safetensors)
    # Eight shards of 32 MB, with three layers each.
    config = {**BAICHUAN, "hidden_size": 512, "intermediate_size": 1024, "num_hidden_layers": 24}
    write_checkpoint(tmp_path / "large", Baichuan2(config), config, safetensors=safetensors, shards=8)
    original_tokenizers.write_baichuan_tokenizer(tmp_path / "large")
    shard = max(path.stat().st_size for path in (tmp_path / "large").iterdir()) / 2**20
    assert 28 < shard < 40
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, tmp_path / "small", tmp_path / "large", tmp_path / "out"],
        cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=True,
    )  # fmt: skip
    growth = float(done.stdout)
    print(f"peak of the memory: {growth:.0f} MiB more than before, shards of {shard:.0f} MiB")
    assert growth < 2 * shard
