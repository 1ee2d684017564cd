import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.artifacts import (
    Artifact,
    PreparedDataset,
    Report,
    Row,
    Run,
    dump_json,
    dump_jsonl,
    dump_rows,
    new_folder,
    provenance,
    read_json,
    read_jsonl,
    refuse_existing,
    sha256_of,
    share,
    sync,
    without_home,
    write_manifest,
    write_text,
)
from pipeline.errors import PipelineError
from pipeline.task import Task

ROWS = [Row("1", "Which?", "up \U0001f680", "Positive", 0), Row("2", "Which?", "a \u201cquiet\u201d day", "Neutral", 1)]


@pytest.fixture
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def write_prepared(folder: Path) -> PreparedDataset:
    with new_folder(folder) as staging:
        for split in ("train", "val", "test"):
            write_text(staging / f"{split}.json", dump_json([row.to_json() for row in ROWS]))
        write_manifest(staging, "prepared", Task(), {"rows": {"kept": 6}})
    return PreparedDataset.load(folder)


def change_manifest(folder: Path, **changes: Any) -> None:
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    (folder / "manifest.json").write_text(json.dumps({**manifest, **changes}), encoding="utf-8")


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_folder_round_trip(tmp_path: Path) -> None:
    prepared = write_prepared(tmp_path / "deep" / "er" / "btc")
    assert prepared.task == Task()
    assert prepared.rows("train") == ROWS
    assert list(ROWS[0].to_json()) == ["instruction", "input", "output", "id", "group"]
    assert prepared.sha256 == hashlib.sha256((prepared.folder / "manifest.json").read_bytes()).hexdigest()
    assert [path.name for path in (tmp_path / "deep" / "er").iterdir()] == ["btc"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_new_folder_leaves_nothing_after_an_exception(tmp_path: Path, error: type[BaseException]) -> None:
    def fill() -> None:
        with new_folder(tmp_path / "out") as staging:
            (staging / "sub").mkdir()
            write_text(staging / "sub" / "half.txt", "half")
            assert not (tmp_path / "out").exists()
            raise error

    with pytest.raises(error):
        fill()
    assert list(tmp_path.iterdir()) == []


def test_new_folder_stages_on_the_same_disk(tmp_path: Path) -> None:
    with new_folder(tmp_path / "out") as staging:
        assert staging.parent == tmp_path


@pytest.mark.parametrize("there", ["folder", "file", "dangling link"])
def test_nothing_is_overwritten(tmp_path: Path, there: str) -> None:
    out = tmp_path / "out"
    if there == "folder":
        out.mkdir()
    elif there == "file":
        out.write_text("mine")
    else:
        out.symlink_to(tmp_path / "nowhere")
    with pytest.raises(
        PipelineError,
        match=rf"out: already exists; choose another --out{'' if there == 'folder' else ', or remove it'}$",
    ):
        refuse_existing(out)
    with pytest.raises(PipelineError, match="already exists"), new_folder(out):
        pytest.fail("the block must not run")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_unfinished_folder_may_be_gone_on_with(tmp_path: Path) -> None:
    (tmp_path / "begun.json").touch()
    with pytest.raises(PipelineError, match="already exists and is unfinished; go on with --resume, choose another"):
        refuse_existing(tmp_path, begun="begun.json")
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(PipelineError, match="already exists; choose another --out, or remove it"):
        refuse_existing(tmp_path, begun="begun.json")


@pytest.mark.parametrize(("number", "serious"), [(errno.EINVAL, False), (errno.EIO, True)])
def test_a_drive_that_syncs_files_only_is_used_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, serious: bool
) -> None:
    def fail(_: int) -> None:
        raise OSError(number, "fsync")

    sync(tmp_path)
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="fsync") if serious else contextlib.nullcontext():
        sync(tmp_path)


def test_a_free_name_is_not_refused(tmp_path: Path) -> None:
    assert refuse_existing(str(tmp_path / "new" / "out")) == tmp_path / "new" / "out"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["n" * 256, f"new/{'n' * 256}/out", f"{'n' * 200}/" * 25, "a\0b"])
def test_a_name_that_cannot_be_is_refused_at_once(tmp_path: Path, name: str) -> None:
    with pytest.raises(PipelineError, match=r"expected a place to write to; .*; choose another --out") as caught:
        refuse_existing(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a place that takes no files")
def test_a_place_that_takes_no_files_is_refused() -> None:
    with pytest.raises(PipelineError, match="x: expected a place to write to; /proc is none: "):
        refuse_existing("/proc/x")


@pytest.mark.parametrize("name", ["n" * 255, "\U0001f680" * 63, "new/../out"])
def test_a_name_that_can_just_be_is_taken(tmp_path: Path, name: str) -> None:
    with new_folder(tmp_path / name) as staging:
        write_text(staging / "a", "a")
    assert (tmp_path / name / "a").read_text() == "a"


def test_of_two_runs_with_one_name_the_first_one_stays(tmp_path: Path) -> None:
    out = tmp_path / "out"

    def race() -> None:
        with new_folder(out) as second:
            write_text(second / "a", "second")
            with new_folder(out) as first:
                write_text(first / "a", "first")

    with pytest.raises(PipelineError, match=r"out: expected to be free as before; .*another run was faster"):
        race()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (out / "a").read_text() == "first"


def test_a_place_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(PipelineError, match=r"expected a place to write to; .*file is none"):
        refuse_existing(tmp_path / "file" / "sub" / "out")


def test_manifest_hashes_every_file_and_comes_last(tmp_path: Path) -> None:
    (tmp_path / "sub" / "checkpoints").mkdir(parents=True)
    (tmp_path / "checkpoints").mkdir()
    contents = {"a.json": b"[]", "sub/b.bin": bytes(range(256)), "sub/checkpoints/c": b"kept", "checkpoints.txt": b"x"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "checkpoints" / "state").write_bytes(b"not part of the result")
    write_manifest(tmp_path, "run", Task(), {"result": {"steps": 3}}, skip=("checkpoints",))
    manifest = read_json(tmp_path / "manifest.json")
    assert manifest["files"] == {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    assert (manifest["schema_version"], manifest["kind"], manifest["result"]) == (1, "run", {"steps": 3})
    assert Task.from_json(manifest["task"]) == Task()
    assert manifest["provenance"]["argv"] == provenance()["argv"]


def test_the_command_line_is_one_to_type_again(monkeypatch: pytest.MonkeyPatch) -> None:
    home = str(Path.home())
    given = ["/usr/bin/python3", "-m", "pipeline.train", "--dataset", f"{home}/a b", "--out", "runs/x"]
    monkeypatch.setattr("sys.orig_argv", given)
    assert provenance()["argv"] == ["python3", "-m", "pipeline.train", "--dataset", "~/a b", "--out", "runs/x"]


def test_a_manifest_names_no_home_folder(tmp_path: Path) -> None:
    home = str(Path.home())
    content = {"parents": {"run": {"path": f"{home}/runs/x"}}, "argv": [f"--out={home}/y", f"a={home}"], "n": 3}
    write_manifest(tmp_path, "run", Task(), content)
    text = (tmp_path / "manifest.json").read_text(encoding="utf-8")
    assert f'"{home}' not in text
    assert read_json(tmp_path / "manifest.json")["argv"] == ["--out=~/y", "a=~"]


@pytest.mark.parametrize("path", ["data/x", "/srv/data", "~/x", "{home}less/x", "a{home}/x", ""])
def test_other_paths_stay_as_they_are(path: str) -> None:
    path = path.replace("{home}", str(Path.home()))
    assert without_home(path) == path
    assert without_home(f"{Path.home()}/x/y") == "~/x/y"


def test_manifest_is_missing_when_finishing_fails(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[]")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_manifest(tmp_path, "run", Task(), {"loss": float("nan")})
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_provenance_says_what_it_cost() -> None:
    facts = provenance()
    assert {"created_at", "git", "python", "processor", "packages", "wall_seconds"} <= facts.keys()
    peak = facts["peak_memory_bytes"]
    assert isinstance(peak, int)
    assert 2**23 < peak < 2**40


LOADERS: list[tuple[type[Artifact], str]] = [
    (PreparedDataset, "pipeline.prepare"),
    (Run, "pipeline.train"),
    (Report, "pipeline.evaluate"),
]


@pytest.mark.parametrize(("kind", "command"), LOADERS)
def test_missing_and_unfinished_folders_are_refused(tmp_path: Path, kind: type[Artifact], command: str) -> None:
    with pytest.raises(PipelineError, match=f"gone: no such folder; .*write it with python -m {command}"):
        kind.load(tmp_path / "gone")
    with pytest.raises(PipelineError, match=f"no manifest.json, so it is not a finished .* python -m {command}"):
        kind.load(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(PipelineError, match=r"file: expected a (finished|prepared) .*got a file") as error:
        kind.load(tmp_path / "file")
    assert f"python -m {command}" in str(error.value)
    assert str(error.value).count("prepare it first") == (kind is PreparedDataset)


def test_an_unfinished_run_is_to_be_gone_on_with(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(PipelineError, match=r"python -m pipeline.train, or go on with it by --resume$"):
        Run.load(tmp_path)
    with pytest.raises(PipelineError, match=r"python -m pipeline.prepare$"):
        PreparedDataset.load(tmp_path)


@pytest.mark.parametrize("kind", [Run, Report])
def test_a_folder_of_another_kind_is_refused(tmp_path: Path, kind: type[Artifact]) -> None:
    write_prepared(tmp_path / "btc")
    with pytest.raises(PipelineError, match=f"expected a finished {kind.kind} folder.* says kind 'prepared'"):
        kind.load(tmp_path / "btc")


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_schema_is_refused(tmp_path: Path, version: object) -> None:
    write_prepared(tmp_path / "btc")
    change_manifest(tmp_path / "btc", schema_version=version)
    with pytest.raises(PipelineError, match=f"schema_version must be 1, got {version!r}"):
        PreparedDataset.load(tmp_path / "btc")


@pytest.mark.parametrize("key", ["task", "files"])
@pytest.mark.parametrize("value", [None, [], "x"])
def test_a_damaged_manifest_is_refused(tmp_path: Path, key: str, value: object) -> None:
    write_prepared(tmp_path / "btc")
    change_manifest(tmp_path / "btc", **{key: value})
    with pytest.raises(PipelineError, match=f"manifest.json: expected '{key}'; it is damaged"):
        PreparedDataset.load(tmp_path / "btc")


@pytest.mark.parametrize("content", [b"", b"{", b'{"kind": "prepared"', b"\xff\xfe", b"[" * 200_000])
def test_broken_json_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(PipelineError, match=r"manifest.json: expected a JSON file in UTF-8; ") as caught:
        PreparedDataset.load(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["[]", "null", "3", '"prepared"', "{}"])
def test_json_that_is_no_manifest_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(PipelineError, match="expected a finished prepared folder"):
        PreparedDataset.load(tmp_path)


def test_a_changed_byte_is_noticed(tmp_path: Path) -> None:
    prepared = write_prepared(tmp_path / "btc")
    path = prepared.folder / "test.json"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert prepared.verified("train.json") == prepared.folder / "train.json"
    with pytest.raises(PipelineError, match=r"test.json: changed since manifest.json was written"):
        prepared.rows("test")


def test_a_missing_and_an_added_file_are_noticed(tmp_path: Path) -> None:
    prepared = write_prepared(tmp_path / "btc")
    (prepared.folder / "val.json").unlink()
    with pytest.raises(PipelineError, match=r"val.json: missing; the folder is damaged"):
        prepared.verified("val.json")
    (prepared.folder / "extra.json").write_text("[]")
    with pytest.raises(PipelineError, match="changed since"):
        prepared.verified("extra.json")


def test_a_run_verifies_all_files_of_its_adapter(tmp_path: Path) -> None:
    with new_folder(tmp_path / "run") as staging:
        (staging / "adapter").mkdir()
        for name in ("adapter/weights", "adapter/config.json", "training.jsonl"):
            write_text(staging / name, name)
        write_manifest(staging, "run", Task(), {})
    run = Run.load(tmp_path / "run")
    (run.folder / "training.jsonl").write_text("no part of the adapter")
    assert run.adapter == tmp_path / "run" / "adapter"
    (run.adapter / "weights").write_text("other")
    with pytest.raises(PipelineError, match="adapter/weights: changed"):
        _ = run.adapter


@pytest.mark.usefixtures("usual_umask")
def test_everyone_may_read_what_was_written(tmp_path: Path) -> None:
    with new_folder(tmp_path / "out") as staging:
        (staging / "sub").mkdir(mode=0o700)
        write_text(staging / "a.json", "[]")
        (staging / "sub" / "weights").write_bytes(b"")
        (staging / "sub" / "weights").chmod(0o600)
    assert {path.name: mode_of(path) for path in [tmp_path / "out", *(tmp_path / "out").rglob("*")]} == {
        "out": 0o755,
        "sub": 0o755,
        "a.json": 0o644,
        "weights": 0o644,
    }


def test_share_respects_a_stricter_umask(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    before = os.umask(0o077)
    try:
        share(tmp_path)
        assert os.umask(0o077) == 0o077
    finally:
        os.umask(before)
    assert (mode_of(tmp_path), mode_of(tmp_path / "a")) == (0o700, 0o600)


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_an_interrupted_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    path = tmp_path / "a.json"
    write_text(path, "old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    home: object = os if step == "fsync" else Path
    monkeypatch.setattr(home, step, full)
    with pytest.raises(OSError, match="No space left"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["a.json"]


def test_write_text_writes_utf8_with_unix_line_ends(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "\u00e9\n\U0001f680\r\n")
    assert (tmp_path / "a").read_bytes() == b"\xc3\xa9\n\xf0\x9f\x9a\x80\r\n"


numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(json_values, max_size=4))
def test_json_and_jsonl_round_trip(tmp_path_factory: pytest.TempPathFactory, values: list[Any]) -> None:
    folder = tmp_path_factory.mktemp("json")
    write_text(folder / "a.json", dump_json(values))
    write_text(folder / "a.jsonl", dump_jsonl(values))
    assert "".join(dump_rows(values)) == dump_json(values)
    assert read_json(folder / "a.json") == values
    assert read_jsonl(folder / "a.jsonl") == values


def test_file_names_that_are_not_utf8_can_be_recorded(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.csv")
    write_text(tmp_path / "a.json", dump_json({"path": name}))
    assert read_json(tmp_path / "a.json") == {"path": name}


@pytest.mark.parametrize("n", [0, 1, 2, 999, 1_000, 1_001, 2_500])
def test_a_list_in_pieces_is_the_same_text(n: int) -> None:
    rows = [{"text": f"{i}\u2028\n]", "n": [i]} for i in range(n)]
    pieces = list(dump_rows(row for row in rows))
    assert "".join(pieces) == dump_json(rows)
    assert len(pieces) == -(-n // 1_000) + 1


def test_no_nan_is_written() -> None:
    for dump in (dump_json, lambda rows: "".join(dump_rows(rows)), lambda rows: "".join(dump_jsonl(rows))):
        with pytest.raises(ValueError, match="not JSON compliant"):
            dump([float("nan")])


@pytest.mark.parametrize("bad", [b"{oops", b"", b"1 2", b"[" * 200_000])
def test_read_jsonl_names_the_broken_line(tmp_path: Path, bad: bytes) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 1}\n[2]\n' + bad + b"\n4\n")
    with pytest.raises(PipelineError, match=r"rows.jsonl, line 3: expected JSON; ") as caught:
        read_jsonl(path)
    assert "\n" not in str(caught.value)


def test_unreadable_files_are_told_of(tmp_path: Path) -> None:
    for read in (read_json, read_jsonl):
        with pytest.raises(PipelineError, match=r"gone: expected (a )?JSON"):
            read(tmp_path / "gone")
    (tmp_path / "latin").write_bytes(b'"caf\xe9"\n')
    with pytest.raises(PipelineError, match=r"latin.* in UTF-8"):
        read_jsonl(tmp_path / "latin")


def test_sha256_of_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    # The example of FIPS 180-2, appendix B.1.
    assert sha256_of(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
