"""`/metrics`: what a node counts, for Prometheus.

Rules of this file:
- Of each document only those that somebody has open here, and of these at most `DOCUMENTS`: labels are not free.
- Names and sizes, never content.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tallystick.errors import TallystickError
from tallystick.v1 import cluster_pb2
from tallystick_node.context_store.merged.contexts import MergedContexts
from tallystick_node.contexts.hub.hub import Hub
from tallystick_node.contexts.port import Documents
from tallystick_node.core.outcomes import ContextRecord

DOCUMENTS: Final = 100
"""Documents of which the figures are told one by one."""

_DESCRIBE_S: Final = 2.0

_NODE: Final = {
    "term": "Raft's term",
    "commit_index": "The last entry that is decided, as far as this node knows",
    "applied_index": "The last entry applied",
    "durable_index": "The last entry of the journal that is synced",
    "last_index": "The last entry of the journal",
    "journal_bytes": "The journal's size",
    "database_bytes": "The state machine's size",
    "disk_free_bytes": "Room left where the data is",
    "uptime_s": "Since the node started",
    "agents": "Agents stored",
    "watchers": "Watches open here",
}
_RETENTION: Final = {
    "run_unix_ms": "When the last run of retention ended here; 0: none did since the node started",
    "mutations": "Mutations that runs here removed since the node started",
    "size_bytes": "The bytes of those",
    "failed_unix_ms": "When a run here last left something that was due; 0: never since the node started",
}
_DOCUMENT: Final = {
    "document_bytes": "A document that is open here, encoded",
    "stored_bytes": "The same with its update log",
    "updates": "Updates in its log",
    "writers": "Writer ids in it",
    "tombstones": "Deleted items that it still carries",
}


class _Figures(NamedTuple):
    """What a document comes to; `values` in the order of `_DOCUMENT`."""

    record: ContextRecord
    values: list[int]
    subscribers: int


class Metrics:
    """See the module.

    Args:
        report: the node's status, but for the header.
    """

    def __init__(
        self,
        report: Callable[[], cluster_pb2.StatusResponse],
        contexts: MergedContexts,
        hub: Hub,
        documents: Documents,
    ) -> None:
        self._report = report
        self._contexts = contexts
        self._hub = hub
        self._documents = documents

    async def text(self) -> bytes:
        """All of it, in Prometheus' text format."""
        figures = [figures async for figures in self._figures()]
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Once([*self._of_node(), *self._of_worker(), *_of_documents(figures)]))
        return generate_latest(registry)

    def _of_node(self) -> Iterator[Metric]:
        report = self._report()
        for name, help_text in _NODE.items():
            yield GaugeMetricFamily(f"tallystick_{name}", help_text, value=getattr(report, name))
        is_leader = report.role == cluster_pb2.ROLE_LEADER
        yield GaugeMetricFamily("tallystick_is_leader", "1 where the node leads", value=int(is_leader))
        alarms = GaugeMetricFamily("tallystick_alarm", "1 for each alarm of the node's status", labels=["alarm"])
        for alarm in report.alarms:
            alarms.add_metric([alarm], 1)
        yield alarms
        for name, help_text in _RETENTION.items():
            value = getattr(report.retention, name)
            yield GaugeMetricFamily(f"tallystick_retention_{name}", help_text, value=value)

    def _of_worker(self) -> Iterator[Metric]:
        status = self._documents.status
        values = {
            "up": ("1 where the worker of the documents answers", int(self._documents.is_up)),
            "restarts": ("How often it died and was started again", status.restarts),
            "set_aside": ("What is refused because it killed it", status.set_aside),
            "requests": ("Questions it has not answered", status.requests),
            "subscriptions": ("Documents open here, by subscriber", len(self._hub.audience)),
        }
        for name, (help_text, value) in values.items():
            yield GaugeMetricFamily(f"tallystick_contexts_{name}", help_text, value=value)

    async def _figures(self) -> AsyncIterator[_Figures]:
        for guid in self._hub.audience.documents()[:DOCUMENTS]:
            record = self._contexts.following.record(guid)
            if record is None:
                continue
            try:
                async with asyncio.timeout(_DESCRIBE_S):
                    size = (await self._contexts.described(record)).size
            except (TallystickError, TimeoutError):
                return  # the worker is down or busy; what is known already is told
            values = [int(getattr(size, name)) for name in _DOCUMENT]
            yield _Figures(record, values, self._hub.audience.of(guid))


class _Once(Collector):
    """Metrics that were taken already."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = list(metrics)

    def collect(self) -> Iterable[Metric]:
        """See `Collector`."""
        return self._metrics


def _of_documents(figures: list[_Figures]) -> Iterator[Metric]:
    labels = ["namespace", "context"]
    for at, (name, help_text) in enumerate(_DOCUMENT.items()):
        family = GaugeMetricFamily(f"tallystick_context_{name}", help_text, labels=labels)
        for figure in figures:
            family.add_metric([figure.record.namespace, figure.record.name], figure.values[at])
        yield family
    subscribers = GaugeMetricFamily("tallystick_context_subscribers", "Who has it open here", labels=labels)
    for figure in figures:
        subscribers.add_metric([figure.record.namespace, figure.record.name], figure.subscribers)
    yield subscribers
