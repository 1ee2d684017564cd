"""Which texts are copies of each other: equal templates first, then templates with nearly the same characters.

The search for near-duplicates is exact at every size. Two sets with Jaccard similarity t or more share at least
``t * size`` elements of each, hence at least one among the ``size - ceil(t * size) + 1`` rarest of each (the prefix
filter of Bayardo, Ma and Srikant, "Scaling up all pairs similarity search", WWW 2007). Candidates therefore come from
a product of matrices that hold only rare n-grams, which is small; every candidate is then verified.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array, triu
from scipy.sparse.csgraph import connected_components
from sklearn.feature_extraction.text import CountVectorizer
from tqdm import tqdm

THRESHOLD = 0.8
_N = 5
# Candidates found at once, at most (about 200 MB), and verified at once. Between two chunks the groups are updated, so
# that of a thousand copies a thousand pairs are verified and not half a million.
_BLOCK = 10_000_000
_CHUNK = 50_000

_Ints = NDArray[np.int64]


def group_duplicates(templates: Sequence[str], threshold: float = THRESHOLD) -> list[int]:
    """The number of each text's group of duplicates, counted from 0 in order of first appearance.

    Texts with equal templates are in one group, and so are texts whose templates' sets of character 5-grams have a
    Jaccard similarity of ``threshold`` or more; groups are closed under both.
    """
    number = {template: i for i, template in enumerate(dict.fromkeys(templates))}
    component = _components(list(number), threshold)
    order: dict[int, int] = {}
    return [order.setdefault(component[number[template]], len(order)) for template in templates]


def grams(template: str) -> set[str]:
    """The 5-grams of characters of a template; one that is shorter is its own only gram."""
    return {template[i : i + _N] for i in range(len(template) - _N + 1)} or {template}


def _components(templates: list[str], threshold: float) -> list[int]:
    """Group number of each of different templates, in no particular order."""
    n = len(templates)
    if n < 2:
        return list(range(n))
    component: _Ints = np.arange(n)
    X = _gram_matrix(templates)
    sizes = np.diff(X.indptr)
    with tqdm(total=n, desc="near-duplicates", unit="text", disable=None, leave=False) as bar:
        for rows, i, j in _candidates(_prefixes(X, sizes, threshold)):
            for at in range(0, len(i), _CHUNK):
                near = _verified(X, sizes, component, i[at : at + _CHUNK], j[at : at + _CHUNK], threshold)
                if len(near[0]):
                    _, joined = connected_components(coo_array((np.ones(len(near[0])), near), shape=(n, n)))
                    component = joined[component]
            bar.update(rows)
    return [int(number) for number in component]


def _gram_matrix(templates: list[str]) -> Any:
    """Sparse ``(templates, grams)``, 1 where the gram occurs, the rarest gram in column 0."""
    X = CountVectorizer(analyzer=grams, binary=True, dtype=np.int32).fit_transform(templates)
    rarest_first = np.argsort(np.bincount(X.indices, minlength=X.shape[1]), kind="stable")
    X = csr_array(X)[:, rarest_first]
    X.sort_indices()
    return X


def _prefixes(X: Any, sizes: _Ints, threshold: float) -> Any:
    """``X`` with only the rarest grams of every row: as many as a near-duplicate cannot all lack."""
    # The small number keeps rounding on the safe side: a gram too many costs time, one too few costs a pair.
    kept = sizes - np.ceil(threshold * sizes - 1e-9).astype(np.int64) + 1
    place = np.arange(X.nnz) - np.repeat(X.indptr[:-1], sizes)
    indices = X.indices[place < np.repeat(kept, sizes)]
    return csr_array((np.ones(len(indices), np.int32), indices, np.concatenate([[0], np.cumsum(kept)])), shape=X.shape)


def _candidates(P: Any) -> Iterator[tuple[int, _Ints, _Ints]]:
    """Pairs ``i < j`` of rows that share a gram, in blocks: the number of rows done, ``i`` and ``j``."""
    transposed = P.T.tocsr()
    pairs_of_row = np.add.reduceat(np.diff(transposed.indptr)[P.indices].astype(np.int64), P.indptr[:-1])
    block_of_row = np.cumsum(pairs_of_row) // _BLOCK
    bounds = [0, *(np.flatnonzero(np.diff(block_of_row)) + 1).tolist(), P.shape[0]]
    for start, end in pairwise(bounds):
        shared = triu(P[start:end] @ transposed, k=start + 1, format="coo")
        yield end - start, shared.row.astype(np.int64) + start, shared.col.astype(np.int64)


def _verified(X: Any, sizes: _Ints, component: _Ints, i: _Ints, j: _Ints, threshold: float) -> tuple[_Ints, _Ints]:
    """Group numbers of those pairs that are near-duplicates and not in one group yet."""
    smaller, larger = np.minimum(sizes[i], sizes[j]), np.maximum(sizes[i], sizes[j])
    open_ = (component[i] != component[j]) & (smaller >= threshold * larger - 1e-9)
    i, j = i[open_], j[open_]
    shared = np.asarray(X[i].multiply(X[j]).sum(axis=1)).ravel()
    near = shared / (sizes[i] + sizes[j] - shared) >= threshold
    return component[i[near]], component[j[near]]
