"""The architecture page shows what the source imports, no more and no less."""

from pathlib import Path

from test_house import CORE, HOMES, SOURCES, STAGES, imports, part_of

PAGE = Path(__file__).resolve().parents[1] / "docs" / "architecture.md"


def stages_of_parts() -> dict[str, set[str]]:
    """Command or other part outside core and stages -> the stages that it imports."""
    found: dict[str, set[str]] = {}
    for path, source in SOURCES.items():
        part = part_of(path)
        if part not in (*CORE, *STAGES, "__init__"):
            modules = {name.split(".")[1] for name, _ in imports(path, source) if name.startswith("pipeline.")}
            found.setdefault(part, set()).update(modules & set(STAGES))
    return found


def homes() -> dict[str, list[str]]:
    """Part -> the libraries that may be imported there and nowhere else."""
    found: dict[str, list[str]] = {}
    for library, parts in HOMES.items():
        if len(parts) == 1:
            found.setdefault(parts[0], []).append(library)
    return found


def drawn() -> str:
    """The diagram, in Mermaid's language: parts that import the same stages share a box."""
    boxes: dict[tuple[str, ...], list[str]] = {}
    for part, stages in sorted(stages_of_parts().items()):
        boxes.setdefault(tuple(stage for stage in STAGES if stage in stages), []).append(part)
    only = homes()
    lines = ["```mermaid", "flowchart TD"]
    for number, (used, parts) in enumerate(sorted(boxes.items(), key=lambda box: (-len(box[0]), box[0]))):
        rows = ["   ".join(parts[i : i + 4]) for i in range(0, len(parts), 4)]
        lines.append(f'  box{number}["{"<br>".join(rows)}"]')
        lines += [f"  box{number} --> {stage}" for stage in used] or [f"  box{number} --> core"]
    for stage in STAGES:
        libraries = "<br>".join(", ".join(only[stage][i : i + 3]) for i in range(0, len(only[stage]), 3))
        lines += [f'  {stage}[["<b>{stage}/</b><br>{libraries}"]]', f"  {stage} --> core"]
    lines += [f'  core(["<b>core</b><br>{", ".join(CORE[:4])}<br>{", ".join(CORE[4:])}"])', "```"]
    return "\n".join(lines)


def test_the_page_shows_what_the_source_imports() -> None:
    expected = drawn()
    assert expected in PAGE.read_text(encoding="utf-8"), f"put this into {PAGE.name}:\n{expected}"
