"""Results that others have published on a data set, from a YAML file: figures with their source."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from pipeline.errors import PipelineError, did_you_mean, first_line

_FOLDER = Path(__file__).resolve().parent / "configs" / "published"
# What a paper may have reported that is measured here too.
METRICS = ("macro_f1", "weighted_f1", "accuracy", "balanced_accuracy", "mcc")
_LONGEST = 80


def read_published(name: str) -> dict[str, Any]:
    """What a file says, or one of those that ship with the project.

    Args:
        name: of a file, or ``tfns`` or ``tweeteval``.

    Returns:
        ``about`` (the test rows in words), ``rows`` (how many), ``tables`` (``metric``, ``source`` and ``results``, the
        name of a system -> its score).

    Raises:
        PipelineError: there is no such file, or it holds something else.
    """
    known = sorted(path.stem for path in _FOLDER.glob("*.yaml"))
    path = _FOLDER / f"{name}.yaml" if name in known else Path(name)
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise PipelineError(
            f"--published {name}: expected a YAML file, or one of {', '.join(known)}{did_you_mean(name, known)}"
        ) from error
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise PipelineError(f"--published {path}: expected a YAML file in UTF-8; {first_line(error)}") from error
    _check(path, found, {"about": str, "rows": int, "tables": list})
    for table in found["tables"]:
        _check(path, table, {"metric": str, "source": str, "results": dict})
        if table["metric"] not in METRICS:
            raise PipelineError(f"{path}: metric: expected one of {', '.join(METRICS)}; got {table['metric']!r}")
        for system, score in table["results"].items():
            if not isinstance(system, str) or len(system) > _LONGEST:
                raise PipelineError(f"{path}: results: expected names of at most {_LONGEST} letters, got {system!r}")
            if isinstance(score, bool) or not isinstance(score, int | float) or not -1 <= score <= 1:
                raise PipelineError(f"{path}: {system}: expected a share such as 0.903, got {score!r}")
    return {key: found[key] for key in ("about", "rows", "tables")}


def _check(path: Path, found: object, kinds: Mapping[str, type]) -> None:
    """Makes sure that a mapping has these keys with values of these kinds, and no others."""
    keys = ", ".join(kinds)
    if not isinstance(found, dict):
        raise PipelineError(f"{path}: expected the keys {keys}; got {str(found)[:40]!r}")
    if strange := [key for key in found if key not in kinds]:
        raise PipelineError(f"{path}: expected the keys {keys}; got {strange[0]!r}")
    for key, kind in kinds.items():
        if not isinstance(found.get(key), kind) or not found[key]:
            raise PipelineError(f"{path}: {key}: expected a {kind.__name__} that is not empty, got {found.get(key)!r}")
