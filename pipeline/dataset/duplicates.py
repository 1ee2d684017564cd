"""Which texts are copies of each other: equal templates first, then templates with nearly the same characters.

The search for near-duplicates is exact at every size: it finds what comparing every pair would find.

Two sets of sizes a and b have a Jaccard similarity of t or more if and only if they share at least
``o = t / (1 + t) * (a + b)`` elements. Then they share one among the ``a - o + 1`` rarest of the first and the
``b - o + 1`` rarest of the second (the prefix filter of Chaudhuri, Ganti and Kaushik, ICDE 2006, with the bound by
sizes of Xiao et al., "Efficient similarity joins for near duplicate detection", WWW 2008). Texts are therefore sorted
into classes of similar size; for every two classes, the rare grams that two texts share make them candidates, sketches
of the sets rule out most of these, and the rest is verified. Pairs that are in one group already are not even listed,
so that twenty thousand variants of one tweet cost twenty thousand steps and not two hundred million.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pipeline.dataset.bars import bar
from pipeline.dataset.grams import GramSets, Ints, gram_sets, grams, ranges

__all__ = ["THRESHOLD", "grams", "group_duplicates"]

THRESHOLD = 0.8
# A class holds texts whose sizes differ by at most so much, but no fewer texts than this if there are as many.
_SPREAD = 1.04
_SMALLEST_CLASS = 1_000
# Pairs listed at once, which fit into a processor's cache, and pairs verified at once.
_BLOCK = 1 << 17
_CHUNK = 4_000
# Keeps rounding on the safe side: a candidate too many costs time, one too few costs a pair.
_SLACK = 1e-9


def group_duplicates(templates: Sequence[str], threshold: float = THRESHOLD) -> list[int]:
    """The number of each text's group of duplicates, counted from 0 in order of first appearance.

    Texts with equal templates are in one group, and so are texts whose templates' sets of character 5-grams have a
    Jaccard similarity of ``threshold`` or more; groups are closed under both.
    """
    number = {template: i for i, template in enumerate(dict.fromkeys(templates))}
    component = _components(list(number), threshold)
    order: dict[int, int] = {}
    return [order.setdefault(component[number[template]], len(order)) for template in templates]


def _components(templates: list[str], threshold: float) -> list[int]:
    """Group number of each of different templates, in no particular order."""
    if len(templates) < 2:
        return list(range(len(templates)))
    join = _Join(gram_sets(templates), threshold, np.arange(len(templates)))
    classes = _classes(join.sets.sizes)
    with bar("near-duplicates", len(templates)) as progress:
        for at, larger in enumerate(classes):
            for smaller in reversed(classes[: at + 1]):
                if join.sets.sizes[smaller].max() < threshold * join.sets.sizes[larger].min() - _SLACK:
                    break
                join.classes(smaller, larger)
            progress.update(len(larger))
    component: list[int] = join.roots(np.arange(len(templates))).tolist()
    return component


def _classes(sizes: Ints) -> list[Ints]:
    """Numbers of texts, divided into classes of similar size, the smallest sizes first."""
    order = np.argsort(sizes, kind="stable")
    ascending = sizes[order]
    bounds = [0]
    while bounds[-1] < len(sizes):
        size = max(ascending[bounds[-1]] * _SPREAD, ascending[min(bounds[-1] + _SMALLEST_CLASS, len(sizes)) - 1])
        bounds.append(int(np.searchsorted(ascending, size, "right")))
    return [order[start:end] for start, end in pairwise(bounds)]


@dataclass(frozen=True)
class _Postings:
    """Which text has which rare gram: text ``texts[k]`` has ``grams[k]``, sorted by gram and group of the text."""

    grams: Ints
    texts: Ints
    keys: Ints
    """``grams * n + group of the text``, ascending."""

    def rest(self, start: int) -> "_Postings":
        """The postings from ``start`` on."""
        return _Postings(self.grams[start:], self.texts[start:], self.keys[start:])


@dataclass(frozen=True)
class _Join:
    """The search under way. ``parents`` is a forest over the texts; the root of a text's tree stands for its group."""

    sets: GramSets
    threshold: float
    parents: Ints

    def roots(self, texts: Ints) -> Ints:
        """The roots of texts; shortens the paths to them."""
        found = self.parents[texts]
        while not np.array_equal(found, above := self.parents[found]):
            found = above
        self.parents[texts] = found
        return found

    def classes(self, smaller: Ints, larger: Ints) -> None:
        """Joins all near-duplicates between two classes, or within one class that is given twice."""
        same = smaller is larger
        sizes = self.sets.sizes
        least = self.threshold / (1 + self.threshold) * int(sizes[smaller].min() + sizes[larger].min())
        others = self._postings(smaller, least)
        postings = others if same else self._postings(larger, least)
        while len(postings.keys):
            others = self._sorted(others)
            postings = others if same else self._sorted(postings)
            done = self._pass(others, postings, same)
            postings = postings.rest(done)
            # Within a class the pairs of a posting are those with later ones.
            others = postings if same else others

    def _postings(self, texts: Ints, least: float) -> _Postings:
        """As many of every text's rarest grams as a near-duplicate cannot all lack; ``least`` grams must be shared."""
        sizes = self.sets.sizes[texts]
        needed = np.ceil(np.maximum(least, self.threshold * sizes) - _SLACK).astype(np.int64)
        counts = np.maximum(sizes - needed + 1, 0)
        grams = self.sets.ids[ranges(self.sets.starts[texts], counts)].astype(np.int64)
        common = grams >= self.sets.lone
        return _Postings(grams[common], np.repeat(texts, counts)[common], np.empty(int(common.sum()), np.int64))

    def _sorted(self, postings: _Postings) -> _Postings:
        keys = postings.grams * len(self.parents) + self.roots(postings.texts)
        order = np.argsort(keys)
        return _Postings(postings.grams[order], postings.texts[order], keys[order])

    def _pass(self, others: _Postings, postings: _Postings, same: bool) -> int:
        """Joins near-duplicates with a common gram and different groups; ends early when the groups have changed much.

        Returns the number of postings done.
        """
        gram = postings.grams * len(self.parents)
        start, end = np.searchsorted(others.keys, gram), np.searchsorted(others.keys, gram + len(self.parents))
        before = np.searchsorted(others.keys, postings.keys)
        after = np.searchsorted(others.keys, postings.keys, "right")
        # Pairs of a posting: with all others of its gram but those of its own group.
        spans = [(after, end - after)] if same else [(after, end - after), (start, before - start)]
        total = np.cumsum(np.sum([counts for _, counts in spans], axis=0))
        done = 0
        while done < len(total):
            listed = total[done - 1] if done else 0
            stop = max(done + 1, int(np.searchsorted(total, listed + _BLOCK, "right")))
            at = np.concatenate([np.repeat(np.arange(done, stop), counts[done:stop]) for _, counts in spans])
            other = np.concatenate([ranges(first[done:stop], counts[done:stop]) for first, counts in spans])
            in_vain = self._join_similar(others.texts[other], postings.texts[at])
            done = stop
            if in_vain > _BLOCK // 8:
                break
        return done

    def _join_similar(self, i: Ints, j: Ints) -> int:
        """Joins the near-duplicates among pairs of texts; returns how many similar pairs were in one group already."""
        sets = self.sets
        # Two sets of which a share t is common differ in at most (1 - t) / (1 + t) of their elements.
        most = (1 - self.threshold) / (1 + self.threshold) * (sets.sizes[i] + sets.sizes[j]) + _SLACK
        near = np.bitwise_count(sets.folded[i] ^ sets.folded[j]) <= most
        i, j, most = i[near], j[near], most[near]
        near = np.bitwise_count(sets.sketches[i] ^ sets.sketches[j]).sum(axis=1) <= most
        i, j = i[near], j[near]
        apart = self.roots(i) != self.roots(j)
        in_vain = len(apart) - int(np.count_nonzero(apart))
        # Many pairs share several rare grams.
        pairs = np.unique(np.minimum(i, j)[apart] * len(self.parents) + np.maximum(i, j)[apart])
        i, j = np.divmod(pairs, len(self.parents))
        for start in range(0, len(i), _CHUNK):
            self._join_verified(i[start : start + _CHUNK], j[start : start + _CHUNK])
        return in_vain

    def _join_verified(self, i: Ints, j: Ints) -> None:
        apart = self.roots(i) != self.roots(j)
        i, j = i[apart], j[apart]
        shared = self.sets.shared(i, j)
        near = shared / (self.sets.sizes[i] + self.sets.sizes[j] - shared) >= self.threshold
        roots, place = np.unique(self.roots(np.concatenate([i[near], j[near]])), return_inverse=True)
        edges = coo_array((np.ones(len(place) // 2), np.split(place, 2)), shape=(len(roots), len(roots)))
        _, joined = connected_components(edges)
        _, first = np.unique(joined, return_index=True)
        self.parents[roots] = roots[first[joined]]
