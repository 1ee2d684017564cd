from pathlib import Path

import pytest

from pipeline.errors import PipelineError
from pipeline.task import SENTIMENT_LABELS
from pipeline.teacher.scenes import Scenes, read_scenes

BITCOIN = Path(__file__).resolve().parents[2] / "pipeline" / "configs" / "scenes" / "bitcoin.yaml"
GOOD = """about: tweets about tea
labels:
  Bad: the tea is bad
  Good: the tea is good
scenes:
  - a cup is served
  - a cup falls
voices:
  - a cook
prompts:
  - "Write {about} of class {label}: {meaning}. {scene}, by {voice}."
styles:
  Bad:
    - cold again
"""


def read(tmp_path: Path, text: str) -> Scenes:
    path = tmp_path / "tea.yaml"
    path.write_text(text, encoding="utf-8")
    return read_scenes(path, ("Bad", "Good"))


def test_a_good_file(tmp_path: Path) -> None:
    scenes = read(tmp_path, GOOD)
    assert scenes.meanings == {"Bad": "the tea is bad", "Good": "the tea is good"}
    assert scenes.styles == {"Bad": ["cold again"]}
    assert (
        scenes.prompt(0, "Bad", "a {voice} falls", "a cook")
        == "Write tweets about tea of class Bad: the tea is bad. a {voice} falls, by a cook."
    )


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("voices:\n", "voises:\n", "line 8: unknown key 'voises' (did you mean voices?)"),
        ("about: tweets about tea\n", "", "expected the key 'about'"),
        ("about: tweets about tea", "about: [a]", "line 1: expected about to be a text, got a list"),
        ("about: tweets about tea", "about:", "line 1: expected about to be a text, got nothing"),
        ("  Bad: the tea is bad\n", "", "line 2: expected what each of Bad, Good means, got nothing for 'Bad'"),
        ("  Bad: the tea is bad\n", "  Bd: the tea is bad\n", "line 3: unknown key 'Bd' (did you mean Bad?)"),
        ("  Good: the tea is good\n", "  Bad: again\n", "line 4: 'Bad' is there twice"),
        ("  - a cup falls\n", "  - a cup is served\n", "line 7: 'a cup is served' is there twice"),
        ("  - a cook\n", "  a: cook\n", "line 9: expected voices to be a list of texts, got keys with values"),
        ("  - a cook\n", "  []\n", "line 9: expected voices to be a list of texts, got nothing"),
        ("  - a cup falls\n", "  - [a]\n", "line 7: expected each of scenes to be a text, got a list"),
        ("{voice}", "{mood}", "line 11: expected the slots {about}, {label}, {meaning}, {scene}, {voice}, got {mood}"),
        ("{scene}, ", "", "line 11: expected {scene} in the prompt"),
        ("  Bad:\n    - cold again", "  Ugly:\n    - cold again", "line 13: unknown key 'Ugly'"),
        ("scenes:\n", "scenes: [\n", "expected a YAML file in UTF-8"),
        (GOOD, "- a\n", "line 1: expected the file to be keys with values, got a list"),
        (GOOD, "", "expected the file to be keys with values, got nothing"),
        (GOOD, "a: &a [*a]\n", "unknown key 'a'"),
        ("tweets about tea", "!!python/object/apply:os.system [x]", "line 1: expected about to be a text"),
    ],
)
def test_a_fault_is_told_with_its_line(tmp_path: Path, old: str, new: str, said: str) -> None:
    with pytest.raises(PipelineError) as refused:
        read(tmp_path, GOOD.replace(old, new, 1))
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"about: \xff\n")
    with pytest.raises(PipelineError, match="expected a YAML file in UTF-8"):
        read_scenes(tmp_path / "a.yaml", ("Bad", "Good"))


def test_the_scenes_that_are_there_are_enough_for_thousands_of_calls() -> None:
    scenes = read_scenes(BITCOIN, SENTIMENT_LABELS)
    assert len(scenes.scenes) * len(scenes.voices) * len(scenes.prompts) > 2_000
    assert all(len(scenes.styles[label]) >= 5 for label in SENTIMENT_LABELS)
    for number in range(len(scenes.prompts)):
        for label in SENTIMENT_LABELS:
            assert "{" not in scenes.prompt(number, label, scenes.scenes[0], scenes.voices[0])
