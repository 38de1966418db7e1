"""Answers requests to the index of the service."""

from typing import TYPE_CHECKING

from textsiam.interfaces.service import bodies
from textsiam.interfaces.service.bodies import fault_bodies, match_bodies
from textsiam.interfaces.service.limits import Limits, Refused, asked_for
from textsiam.matching.duplicates import check_threshold

if TYPE_CHECKING:
    from textsiam.indexing.index import Index


class IndexAnswers:
    """The answers of an index, opened with the shared model. Each request runs in its own thread."""

    def __init__(self, index: "Index | None", limits: Limits) -> None:
        self.index, self.limits = index, limits

    @property
    def opened(self) -> "Index":
        """The index; Refused with 404 if the service has none."""
        if self.index is None:
            raise Refused(404, "This service has no index. Start it with one: textsiam serve --index FOLDER.")
        return self.index

    def told(self) -> bodies.IndexBody:
        """The size of the index and its threshold."""
        index = self.opened
        return bodies.IndexBody(**index.counts(), threshold=index.threshold)

    def add(self, asked: bodies.AddRequest) -> bodies.AddBody:
        """Adds texts to the index, and returns their matches."""
        ids, texts = [one.id for one in asked.items], [one.text for one in asked.items]
        self.limits.check(ids, "items", self.limits.texts)
        self.limits.check(texts, "items", self.limits.texts)
        index = self.opened
        found = self.limits.matched(
            lambda: index.add(ids, texts, max_matches=self.limits.pairs), "Add fewer texts at a time."
        )
        return bodies.AddBody(
            added=found.added or 0,
            in_index=len(index),
            pairs=match_bodies(found, by_id=True),
            set_aside=[bodies.FaultBody(position=fault.row - 1, reason=fault.reason) for fault in found.set_aside],
            truncated=sorted(found.cut),
        )

    def search(self, asked: bodies.SearchRequest) -> bodies.SearchBody:
        """Searches texts in the index, and returns their matches."""
        self.limits.check(asked.texts, "texts", self.limits.texts)
        index = self.opened
        if asked.threshold is not None:
            with asked_for("threshold"):
                check_threshold(asked.threshold, index.settings["similarity"])
        found = self.limits.matched(
            lambda: index.search(asked.texts, k=asked.k, threshold=asked.threshold, max_matches=self.limits.pairs)
        )
        return bodies.SearchBody(
            threshold=asked.threshold if asked.threshold is not None or asked.k else index.threshold,
            pairs=match_bodies(found, by_id=True),
            recall=found.recall,
            set_aside=fault_bodies(asked.texts),
            truncated=sorted(found.cut),
        )

    def remove(self, asked: bodies.RemoveRequest) -> bodies.RemoveBody:
        """Removes texts from the index."""
        self.limits.check(asked.ids, "ids", self.limits.duplicates)
        index = self.opened
        return bodies.RemoveBody(removed=index.remove(asked.ids), in_index=len(index))
