"""Labels that a classifier doubts, for a person to look at. Nothing is changed here."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.dataset.held_out import HeldOut
from pipeline.dataset.records import Example
from pipeline.dataset.spreadsheet import to_csv

FILE = "suspects.csv"
_MOST = 200
_COLUMNS = ("id", "label", "suggested", "probability_of_label", "text")


@dataclass(frozen=True)
class Suspect:
    """A row whose label may be wrong, the label that the classifier would give, and its probability for the given."""

    example: Example
    suggested: str
    probability: float

    def to_json(self) -> dict[str, object]:
        """The row as the list shows it."""
        values = (self.example.id, self.example.label, self.suggested, round(self.probability, 4), self.example.text)
        return dict(zip(_COLUMNS, values, strict=True))


@dataclass(frozen=True)
class Suspects:
    """The most doubtful of ``found`` suspects among ``searched`` rows, the most doubtful first."""

    listed: Sequence[Suspect]
    found: int
    searched: int

    def to_json(self) -> dict[str, object]:
        """The numbers as they stand in the manifest."""
        return {"n_listed": len(self.listed), "n_found": self.found, "searched": self.searched, "file": FILE}

    def to_csv(self) -> str:
        """The list with its texts. With the column ``label`` corrected, or emptied, it can be given back."""
        return to_csv(_COLUMNS, (list(suspect.to_json().values()) for suspect in self.listed))


def find_suspects(found: HeldOut, most: int = _MOST) -> Suspects:
    """The rows off the diagonal of the confident joint (Northcutt, Jiang and Chuang 2021, JAIR 70, section 3.1).

    A row belongs to a class if its probability reaches the mean probability that rows with that label have for it, so
    classes that are hard or rare are not suspected for it. Where several reach it, the most probable one holds. Rows
    that belong to another class than their label are suspects, ranked by the probability of their label.
    """
    n, k = found.probabilities.shape
    thresholds = np.array([found.probabilities[found.given == i, i].mean() for i in range(k)])
    reached = np.where(found.probabilities >= thresholds, found.probabilities, -1.0)
    class_of = reached.argmax(axis=1)
    confident = reached.max(axis=1) >= 0
    of_label = found.probabilities[np.arange(n), found.given]
    rows = np.flatnonzero(confident & (class_of != found.given))
    ranked = sorted(rows.tolist(), key=lambda row: (of_label[row], row))
    listed = [Suspect(found.examples[i], found.labels[class_of[i]], float(of_label[i])) for i in ranked[:most]]
    return Suspects(listed, len(ranked), n)
