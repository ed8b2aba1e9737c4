"""How much of agents' logs a namespace keeps: `client.retention`.

Rules of this file: nothing here has a key: each request is, by what it names, the same when it is repeated.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Final

from tallystick._calls import Calls
from tallystick._methods import (
    get_retention_method,
    plan_retention_method,
    run_retention_method,
    set_retention_method,
)
from tallystick._values import Consistency
from tallystick.retention.values import (
    RetainedLog,
    RetentionInfo,
    RetentionPlan,
    RetentionPolicy,
    info_of,
    plan_of,
    policy_message,
    retained_of,
)
from tallystick.v1 import retention_pb2

PAGE: Final = 100


class Retention:
    """How much of its agents' logs a namespace keeps. Made by `Client.retention`; holds no connection.

    The leader removes what a policy lets go, from time to time: the oldest mutations of each log, and the checkpoints
    among them that are not pinned. What is left begins with the state that was there, so an agent goes on as before.
    """

    def __init__(self, calls: Calls, *, namespace: str, actor: str, consistency: Consistency) -> None:
        self._calls = calls
        self._namespace = namespace
        self._actor = actor
        self._consistency = consistency

    async def set(self, policy: RetentionPolicy, *, timeout_s: float | None = None) -> RetentionInfo:
        """Sets the policy of the namespace. Nothing is removed by that: look at `plan` before the leader's next run.

        Example:
            await client.retention.set(RetentionPolicy(max_age_s=30 * 86400, archive="cold"))

        Raises:
            Unavailable: nothing happened.
            Undecided: it may be set: set it again.
        """
        request = retention_pb2.SetRetentionRequest(
            namespace=self._namespace, policy=policy_message(policy), actor=self._actor
        )
        answer = await self._calls.write(set_retention_method, request, key="", timeout_s=timeout_s)
        self._calls.session.saw(answer.retention.revision)
        return info_of(answer.retention)

    async def get(self, *, consistency: Consistency | None = None, timeout_s: float | None = None) -> RetentionInfo:
        """The policy of the namespace; one without bounds where none was set."""
        chosen = consistency or self._consistency
        request = retention_pb2.GetRetentionRequest(
            namespace=self._namespace, options=self._calls.session.read_options(chosen)
        )
        answer = await self._calls.read(get_retention_method, request, consistency=chosen, timeout_s=timeout_s)
        return info_of(answer.retention)

    def plan(
        self,
        policy: RetentionPolicy | None = None,
        *,
        prefix: str = "",
        consistency: Consistency | None = None,
        timeout_s: float | None = None,
    ) -> AsyncGenerator[RetentionPlan, None]:
        """What would go now, log by log, and what holds the rest: of each log of which a policy would remove anything.

        Nothing is changed.

        Args:
            policy: in place of the one that is set: what would be if it were.
            prefix: only agents whose names begin so.
            timeout_s: limits the fetch of each page.
        """
        return self._plan(policy, prefix, consistency or self._consistency, timeout_s)

    def run(self, *, prefix: str = "", timeout_s: float | None = None) -> AsyncGenerator[RetainedLog, None]:
        """Has the leader do now what it does from time to time, and tells what went, log by log, until no more is due.

        Who leaves it early is told no more; the leader goes on.

        Args:
            prefix: only agents whose names begin so.
            timeout_s: limits each request: the leader answers from time to time, with what it did since.

        Raises:
            Unavailable: nobody leads, or the leader cannot decide now.
        """
        return self._run(prefix, timeout_s)

    async def _plan(
        self, policy: RetentionPolicy | None, prefix: str, consistency: Consistency, timeout_s: float | None
    ) -> AsyncGenerator[RetentionPlan, None]:
        request = retention_pb2.PlanRetentionRequest(namespace=self._namespace, prefix=prefix, limit=PAGE)
        if policy is not None:
            request.policy.CopyFrom(policy_message(policy))
        while True:
            request.options.CopyFrom(self._calls.session.read_options(consistency))
            page = await self._calls.read(plan_retention_method, request, consistency=consistency, timeout_s=timeout_s)
            for message in page.logs:
                yield plan_of(message)
            if not page.more:
                return
            request.after.CopyFrom(page.last)

    async def _run(self, prefix: str, timeout_s: float | None) -> AsyncGenerator[RetainedLog, None]:
        request = retention_pb2.RunRetentionRequest(namespace=self._namespace, prefix=prefix)
        while True:
            answer = await self._calls.write(run_retention_method, request, key="", timeout_s=timeout_s)
            for message in answer.logs:
                yield retained_of(message)
            if not answer.more:
                return
