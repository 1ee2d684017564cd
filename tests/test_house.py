"""The rules of the house, read from the source: who may import whom, how long a file may be, what no file may do."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in [*sorted((ROOT / "pipeline").rglob("*.py")), ROOT / "app.py"]
}
TEMPLATES = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "pipeline").rglob("templates/*.html")}

CORE = ("task", "text", "mojibake", "artifacts", "families", "errors", "locking", "trackers")
STAGES = ("dataset", "model", "scoring", "teacher")
LONGEST = 560
# Where a heavy library may be imported; one that is not named here may be imported anywhere outside the core.
HOMES = {
    **dict.fromkeys(("torch", "transformers", "peft", "bitsandbytes", "accelerate"), ("model",)),
    **dict.fromkeys(("safetensors", "gguf", "tokenizers", "sentencepiece"), ("model",)),
    **dict.fromkeys(("huggingface_hub", "optuna"), ("model",)),
    **dict.fromkeys(("pandas", "datasets", "datasketch", "pyarrow"), ("dataset",)),
    **dict.fromkeys(("seaborn", "matplotlib", "jinja2", "markupsafe"), ("scoring",)),
    **dict.fromkeys(("sklearn", "scipy"), ("dataset", "scoring")),
    "numpy": ("dataset", "scoring", "model"),
    **dict.fromkeys(("charset_normalizer", "kagglehub", "textblob", "vaderSentiment"), ("dataset",)),
    "ftfy": ("mojibake", "dataset"),
    "py3langid": ("dataset",),
    **dict.fromkeys(("openai", "httpx", "httpx2"), ("teacher",)),
    **dict.fromkeys(("gradio", "starlette"), ("demo",)),
    **dict.fromkeys(("jsonargparse", "argparse"), ("cli", "helppage")),
}


def part_of(path: str) -> str:
    """``dataset`` for ``pipeline/dataset/reading.py``, ``cli`` for ``pipeline/cli.py``, ``app`` for ``app.py``."""
    return path.removeprefix("pipeline/").split("/")[0].removesuffix(".py")


def imports(path: str, source: str) -> Iterator[tuple[str, bool]]:
    """Every imported module, by its full name, and whether it is loaded as soon as the file is."""

    def visit(node: ast.AST, at_once: bool) -> Iterator[tuple[str, bool]]:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or (
            isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        ):
            at_once = False
        if isinstance(node, ast.Import):
            yield from ((alias.name, at_once) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = path.removesuffix(".py").split("/")[: -node.level] if node.level else []
            base = ".".join([*package, *([node.module] if node.module else [])])
            yield from ((f"{base}.{alias.name}", at_once) for alias in node.names)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, at_once)

    yield from visit(ast.parse(source), True)


def broken_imports(path: str, source: str) -> list[str]:
    """What in a file breaks the import rule that the docstring of ``pipeline`` states."""
    here = part_of(path)
    found = []
    for name, at_once in imports(path, source):
        library, *rest = name.split(".")
        target = rest[0] if library == "pipeline" and rest else None
        if library == "app":
            found.append(f"{here} imports app")
        elif target is not None:
            if here in CORE and target not in CORE:
                found.append(f"core {here} imports {target}")
            elif here in STAGES and target not in (*CORE, here):
                found.append(f"stage {here} imports {target}")
            elif here == "cli" and target not in (*CORE, "helppage"):
                found.append(f"cli imports {target}")
            elif here not in (*CORE, *STAGES) and target in STAGES and at_once:
                found.append(f"command {here} imports {target} at module level")
        elif library not in sys.stdlib_module_names or library in HOMES:
            if here in CORE and here not in HOMES.get(library, ()):
                found.append(f"core {here} imports {library}")
            elif here not in HOMES.get(library, (here,)):
                found.append(f"{here} imports {library}")
    return found


def dangers(source: str) -> list[str]:
    """Calls that run what a file contains, or hand a line to a shell."""
    found = []
    tree = ast.parse(source)
    harmless = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call) and _loads_weights_only(node)}
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                modules = {alias.name.split(".")[0] for alias in names}
                found += sorted(modules & {"pickle", "cPickle", "dill", "joblib", "marshal", "shelve"})
            case ast.ImportFrom(module=str(module), names=names):
                if module.split(".")[0] in ("pickle", "dill", "joblib", "marshal", "shelve"):
                    found.append(module)
                found += [f"{module}.{alias.name}" for alias in names if f"{module}.{alias.name}" in LOADERS]
            case ast.Name(id="eval" | "exec" | "__import__" as name):
                found.append(name)
            case ast.Attribute() if ast.unparse(node) in LOADERS and id(node) not in harmless:
                found.append(ast.unparse(node))
            case ast.keyword(arg="shell" | "trust_remote_code" as name, value=value) if _may_be_true(value):
                found.append(name)
            case ast.Dict(keys=keys, values=values):
                for key, value in zip(keys, values, strict=True):
                    if isinstance(key, ast.Constant) and key.value in ("shell", "trust_remote_code"):
                        found += [str(key.value)] if _may_be_true(value) else []
    return found


LOADERS = {
    "torch.load",
    "yaml.load",
    "yaml.unsafe_load",
    "yaml.full_load",
    "os.system",
    "os.popen",
    "pandas.read_pickle",
}


def _loads_weights_only(call: ast.Call) -> bool:
    """Whether it is ``torch.load`` in the mode that builds tensors and calls nothing, switched on for good."""
    return ast.unparse(call.func) == "torch.load" and any(
        keyword.arg == "weights_only" and isinstance(keyword.value, ast.Constant) and keyword.value.value is True
        for keyword in call.keywords
    )


def _may_be_true(value: ast.expr) -> bool:
    return not (isinstance(value, ast.Constant) and value.value is False)


def unescaped(template: str) -> list[str]:
    """Places where a template switches escaping off."""
    return re.findall(r"\|\s*safe\b|\bautoescape\s+false\b|\bMarkup\b", template)


def test_there_is_something_to_check() -> None:
    assert {part_of(path) for path in SOURCES} >= {
        *CORE,
        *STAGES,
        "app",
        "cli",
        "prepare",
        "train",
        "evaluate",
        "doctor",
    }
    assert TEMPLATES
    loaded = [library for path, source in SOURCES.items() for library in HOMES if re.search(rf"\b{library}\b", source)]
    assert {"torch", "pandas", "jinja2", "gradio", "jsonargparse"} <= set(loaded)


@pytest.mark.parametrize("path", SOURCES)
def test_imports(path: str) -> None:
    assert broken_imports(path, SOURCES[path]) == []


@pytest.mark.parametrize("path", SOURCES)
def test_no_dangerous_call(path: str) -> None:
    assert dangers(SOURCES[path]) == []


@pytest.mark.parametrize("path", SOURCES)
def test_length(path: str) -> None:
    assert len(SOURCES[path].splitlines()) <= LONGEST


@pytest.mark.parametrize("name", TEMPLATES)
def test_templates_escape(name: str) -> None:
    assert unescaped(TEMPLATES[name]) == []


@pytest.mark.parametrize(
    ("path", "source", "offence"),
    [
        ("pipeline/dataset/a.py", "from pipeline.model.base import x", "stage dataset imports model"),
        ("pipeline/dataset/a.py", "from pipeline import scoring", "stage dataset imports scoring"),
        ("pipeline/model/a.py", "def f():\n    import pipeline.scoring.metrics", "stage model imports scoring"),
        ("pipeline/model/a.py", "from ..scoring import metrics", "stage model imports scoring"),
        ("pipeline/scoring/a.py", "from pipeline import train", "stage scoring imports train"),
        ("pipeline/scoring/a.py", "from pipeline.cli import run", "stage scoring imports cli"),
        ("pipeline/scoring/a.py", "import app", "scoring imports app"),
        ("pipeline/task.py", "from pipeline.dataset import records", "core task imports dataset"),
        ("pipeline/text.py", "from pipeline import cli", "core text imports cli"),
        ("pipeline/text.py", "import regex", "core text imports regex"),
        ("pipeline/artifacts.py", "def f():\n    import yaml", "core artifacts imports yaml"),
        ("pipeline/errors.py", "from . import prepare", "core errors imports prepare"),
        ("pipeline/cli.py", "from pipeline.model import base", "cli imports model"),
        ("pipeline/train.py", "from pipeline.model import base", "command train imports model at module level"),
        ("pipeline/train.py", "try:\n    import pipeline.scoring.metrics\nexcept ImportError:\n    pass",
         "command train imports scoring at module level"),
        ("pipeline/train.py", "if True:\n    from .dataset import a", "command train imports dataset at module level"),
        ("app.py", "from pipeline.model.classifier import x", "command app imports model at module level"),
        ("pipeline/train.py", "def f():\n    import torch.nn", "train imports torch"),
        ("pipeline/scoring/a.py", "import torch", "scoring imports torch"),
        ("pipeline/dataset/a.py", "from transformers import x", "dataset imports transformers"),
        ("pipeline/model/a.py", "import pandas as pd", "model imports pandas"),
        ("pipeline/model/a.py", "from sklearn import metrics", "model imports sklearn"),
        ("pipeline/dataset/a.py", "from matplotlib import pyplot", "dataset imports matplotlib"),
        ("pipeline/evaluate.py", "def f():\n    import numpy", "evaluate imports numpy"),
        ("pipeline/model/a.py", "import gradio", "model imports gradio"),
        ("pipeline/teacher/a.py", "from pipeline.model import base", "stage teacher imports model"),
        ("pipeline/model/a.py", "import openai", "model imports openai"),
        ("pipeline/train.py", "import argparse", "train imports argparse"),
        ("app.py", "def build():\n    import gradio", "app imports gradio"),
        ("pipeline/scoring/a.py", "from pipeline.demo import page", "stage scoring imports demo"),
        ("pipeline/task.py", "from pipeline.demo import page", "core task imports demo"),
        ("pipeline/demo/a.py", "from pipeline.scoring import page", "command demo imports scoring at module level"),
    ],
)  # fmt: skip
def test_checker_sees_a_broken_import(path: str, source: str, offence: str) -> None:
    assert broken_imports(path, source) == [offence]


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("pipeline/dataset/a.py", "import pandas\nfrom pipeline.dataset.b import x\nfrom pipeline.task import Task"),
        ("pipeline/dataset/a.py", "from .b import x\nfrom ..errors import PipelineError"),
        (
            "pipeline/train.py",
            "import yaml\ndef f():\n    from pipeline.model import a\n    from pipeline.scoring import b",
        ),
        ("pipeline/train.py", "if TYPE_CHECKING:\n    from pipeline.model import a"),
        ("pipeline/model/a.py", "import torch\nimport numpy as np\nimport tqdm"),
        ("pipeline/task.py", "import re\nfrom pipeline.text import fold"),
        ("pipeline/demo/page.py", "import gradio\nfrom pipeline.artifacts import Run\nfrom pipeline.demo import shelf"),
        (
            "pipeline/demo/shelf.py",
            "def f():\n    from pipeline.model import classifier\n    from pipeline.scoring import x",
        ),
        ("pipeline/cli.py", "import argparse\nimport jsonargparse"),
    ],
)
def test_checker_lets_good_imports_pass(path: str, source: str) -> None:
    assert broken_imports(path, source) == []


@pytest.mark.parametrize(
    ("source", "offence"),
    [
        ("import pickle", "pickle"),
        ("from pickle import loads", "pickle"),
        ("torch.load(path)", "torch.load"),
        ("torch.load(path, weights_only=False)", "torch.load"),
        ("torch.load(path, weights_only=config.strict)", "torch.load"),
        ("torch.load(path, **{'weights_only': True})", "torch.load"),
        ("from torch import load", "torch.load"),
        ("eval(text)", "eval"),
        ("run = exec", "exec"),
        ("yaml.load(text, Loader=yaml.Loader)", "yaml.load"),
        ("subprocess.run(line, shell=True)", "shell"),
        ("AutoModel.from_pretrained(name, trust_remote_code=True)", "trust_remote_code"),
        ("AutoModel.from_pretrained(name, trust_remote_code=config.trust)", "trust_remote_code"),
        ("options = {'trust_remote_code': True}", "trust_remote_code"),
    ],
)
def test_checker_sees_a_dangerous_call(source: str, offence: str) -> None:
    assert dangers(source) == [offence]


def test_checker_lets_harmless_calls_pass() -> None:
    assert dangers("torch.load(path, mmap=True, weights_only=True)") == []
    assert dangers("model.eval()\nyaml.safe_load(t)\nrun(a, shell=False)\nf(trust_remote_code=False)\n'eval(x)'") == []


@pytest.mark.parametrize(
    "template", ["{{ tweet|safe }}", "{{ x | safe }}", "{% autoescape false %}", "{{ Markup(x) }}"]
)
def test_checker_sees_a_template_that_does_not_escape(template: str) -> None:
    assert len(unescaped(template)) == 1
    assert unescaped("{{ tweet }} is safe | safely {{ x|length }}") == []
