"""Ways to find near-duplicate texts, all with one signature: texts to a group number for each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array, csr_array, vstack
from scipy.sparse.csgraph import connected_components
from sklearn.feature_extraction.text import CountVectorizer

from pipeline.dataset.duplicates import THRESHOLD, grams, group_duplicates
from pipeline.errors import PipelineError, first_line
from pipeline.model.base import cache_folder
from pipeline.model.counting import BASE_MODEL

Finder = Callable[[Sequence[str]], list[int]]

# 20 bands of 6 rows find a pair of similarity 0.8 with probability 0.998.
_PERMUTATIONS, _BANDS = 120, (20, 6)
_BLOCK = 1_000


@dataclass(frozen=True)
class Entrant:
    """A finder with its name; ``finder`` is None where it cannot run here, for the reason in ``lacking``."""

    name: str
    finder: Finder | None
    lacking: str = ""


def entrants(semhash_model: str | None) -> list[Entrant]:
    """All finders, this project's first."""
    return [
        Entrant("this project", group_duplicates),
        _optional("datasketch, MinHashLSH 20 x 6 and verification", datasketch_finder),
        _optional("semhash, default threshold 0.9", lambda: semhash_finder(semhash_model)),
    ]


def every_pair(texts: Sequence[str]) -> list[int]:
    """Compares every text with every other one, by a product of matrices; time grows with the square."""
    X = csr_array(CountVectorizer(analyzer=grams, binary=True, dtype=np.int32).fit_transform(texts))
    sizes, transposed = np.diff(X.indptr), X.T.tocsr()
    found = []
    for start in range(0, len(texts), _BLOCK):
        shared = (X[start : start + _BLOCK] @ transposed).tocoo()
        near = shared.data / (sizes[shared.row + start] + sizes[shared.col] - shared.data) >= THRESHOLD
        pairs = (np.ones(int(near.sum()), np.int8), (shared.row[near], shared.col[near]))
        found.append(coo_array(pairs, shape=(min(_BLOCK, len(texts) - start), len(texts))))
    _, groups = connected_components(vstack(found), directed=False)
    return [int(group) for group in groups]


def datasketch_finder() -> Finder:
    """The plain loop of its documentation: ask the index, verify, insert."""
    from datasketch import MinHash, MinHashLSH

    def find(texts: Sequence[str]) -> list[int]:
        index = MinHashLSH(num_perm=_PERMUTATIONS, params=_BANDS)
        sets = [grams(text) for text in texts]
        pairs: list[tuple[int, int]] = []
        for i, own in enumerate(sets):
            signature = MinHash(num_perm=_PERMUTATIONS)
            signature.update_batch([gram.encode() for gram in own])
            for j in index.query(signature):
                shared = len(own & sets[j])
                if shared >= THRESHOLD * (len(own) + len(sets[j]) - shared):
                    pairs.append((i, j))
            index.insert(i, signature)
        return _closed(len(texts), pairs)

    return find


def semhash_finder(model: str | None) -> Finder:
    """As its README shows it. Compares meanings, so its groups are other ones by intention.

    Its default model is on a hub. Without ``model``, a folder, the token vectors of this project's base model stand in:
    they take the same steps, so the time can be compared, and the groups even less.
    """
    from model2vec import StaticModel
    from safetensors.torch import load_file
    from semhash import SemHash
    from tokenizers import Tokenizer

    if model is not None:
        try:
            encoder = StaticModel.from_pretrained(model)
        except Exception as error:  # a model that cannot be had comes as many kinds of error
            raise PipelineError(f"{model}: expected a folder with a model2vec model; {first_line(error)}") from error
    else:
        folder = cache_folder() / BASE_MODEL
        if not folder.is_dir():
            raise PipelineError(f"{folder} is not there yet; run make demo, or give a folder by --semhash_model")
        weights = load_file(folder / "model.safetensors")["model.embed_tokens.weight"]
        encoder = StaticModel(weights.float().numpy(), Tokenizer.from_file(str(folder / "tokenizer.json")))

    def find(texts: Sequence[str]) -> list[int]:
        place = {text: i for i, text in enumerate(texts)}
        found = SemHash.from_records(records=list(texts), model=encoder).self_deduplicate()
        return _closed(len(texts), [(place[row.record], place[row.duplicate_of]) for row in found.filtered])

    return find


def _optional(name: str, make: Callable[[], Finder]) -> Entrant:
    try:
        return Entrant(name, make())
    except ImportError as error:
        return Entrant(name, None, f"not installed ({error.name}); uv pip install --group bench")
    except PipelineError as error:
        return Entrant(name, None, str(error))


def _closed(n: int, pairs: Sequence[tuple[int, int]]) -> list[int]:
    """Group numbers: what is linked by pairs is one group."""
    rows = np.array(pairs, np.int64).reshape(-1, 2)
    _, groups = connected_components(coo_array((np.ones(len(rows)), (rows[:, 0], rows[:, 1])), shape=(n, n)))
    return [int(group) for group in groups]


def agreement(found: Sequence[int], truth: Sequence[int]) -> tuple[int, float, float]:
    """Pairs of texts in one group, and their recall and precision against other groups (1 where there are none).

    Raises:
        PipelineError: the two number different texts.
    """
    if len(found) != len(truth):
        raise PipelineError(f"expected {len(truth)} group numbers, got {len(found)}")
    pairs, true, both = (_pairs(np.array(groups)) for groups in (found, truth, _crossed(found, truth)))
    return pairs, both / true if true else 1.0, both / pairs if pairs else 1.0


def _crossed(a: Sequence[int], b: Sequence[int]) -> list[int]:
    numbers: dict[tuple[int, int], int] = {}
    return [numbers.setdefault(pair, len(numbers)) for pair in zip(a, b, strict=True)]


def _pairs(groups: np.ndarray[tuple[int], np.dtype[np.int64]]) -> int:
    sizes = np.unique(groups, return_counts=True)[1].astype(np.int64)
    return int((sizes * (sizes - 1) // 2).sum())
