"""What the client decides without I/O: retries, the meaning of failures, the choice of an endpoint."""

from __future__ import annotations

from random import Random

import grpc
import pytest

from tallystick import errors
from tallystick._backoff import ATTEMPT_S, FIRST_ATTEMPT_S, INITIAL_S, MAX_S, Failure, Retry, wait_s
from tallystick._channel import Endpoint
from tallystick._endpoints import MAX_ENDPOINTS, Endpoints
from tallystick._failures import failure_of
from tallystick.errors import Reason, StatusCode
from tests.unit.client_kit import rich_status

NOTHING = Failure(errors.NoLeader("no leader"))
MAYBE = Failure(errors.Unavailable("broken"), maybe_applied=True)


def rpc(code: grpc.StatusCode, details: bytes | None = None) -> grpc.aio.AioRpcError:
    trailing = grpc.aio.Metadata(*((("grpc-status-details-bin", details),) if details is not None else ()))
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailing, "text", None)


def test_waits_have_full_jitter_and_a_limit() -> None:
    rng = Random(1)
    for attempt, limit_s in ((0, INITIAL_S), (1, 2 * INITIAL_S), (5, 32 * INITIAL_S), (6, MAX_S), (10_000, MAX_S)):
        waits = [wait_s(attempt, rng) for _ in range(200)]
        assert 0 <= min(waits) < limit_s * 0.1
        assert limit_s * 0.9 < max(waits) <= limit_s


def test_attempts_are_shorter_than_the_whole() -> None:
    retry = Retry(deadline_s=10.0, rng=Random(1))
    assert retry.attempt_s(now_s=0.0) == FIRST_ATTEMPT_S
    assert retry.attempt_s(now_s=9.5) == 0.5
    retry.after(Failure(errors.NoLeader("nobody")), now_s=1.5)
    assert retry.attempt_s(now_s=2.0) == ATTEMPT_S, "a node that is only slow must be let finish"


def test_a_refusal_is_final() -> None:
    refused = Failure(errors.Conflict("log ends at 4"))
    with pytest.raises(errors.Conflict):
        Retry(10.0, Random(1)).after(refused, now_s=0.0)


def test_a_refusal_has_a_short_traceback() -> None:
    retry, refused = Retry(10.0, Random(1)), Failure(errors.Conflict("log ends at 4"))
    with pytest.raises(errors.Conflict) as raised:
        retry.after(refused, now_s=0.0)
    assert raised.value.__suppress_context__


def test_a_node_says_how_long_to_wait() -> None:
    pause_s = Retry(10.0, Random(1)).after(Failure(errors.Overloaded("busy"), retry_after_s=3.0), now_s=0.0)
    assert pause_s == 3.0


@pytest.mark.parametrize(
    ("failures", "raised"),
    [([NOTHING], errors.NoLeader), ([MAYBE, NOTHING], errors.Undecided), ([NOTHING, MAYBE], errors.Undecided)],
)
def test_in_the_end_no_word_is_said_that_may_be_wrong(
    failures: list[Failure], raised: type[errors.TallystickError]
) -> None:
    retry = Retry(10.0, Random(1), key="k1")
    for failure in failures[:-1]:
        retry.after(failure, now_s=0.0)
    with pytest.raises(raised) as caught:
        retry.after(failures[-1], now_s=10.0)
    if raised is errors.Undecided:
        assert caught.value.metadata["idempotency_key"] == "k1"


def test_damage_is_told_if_nobody_else_answers() -> None:
    retry = Retry(10.0, Random(1))
    retry.after(Failure(errors.Corrupt("position 8")), now_s=0.0)
    with pytest.raises(errors.Corrupt, match="position 8"):
        retry.after(NOTHING, now_s=10.0)


def test_every_reason_travels() -> None:
    for reason, row in errors.REASONS.items():
        code = next(code for code in grpc.StatusCode if code.value[0] == row.status)
        failure = failure_of(rpc(code, rich_status(reason, {"limit": "7"}, 1.5)), writes=True, endpoint="n1")
        assert type(failure.error) is row.error
        assert failure.error.reason is reason
        assert failure.error.metadata == {"limit": "7"}
        assert failure.retry_after_s == 1.5
        assert failure.maybe_applied == (row.error in (errors.Undecided, errors.Corrupt))
        assert failure.is_final == (not issubclass(row.error, errors.Unavailable | errors.Undecided | errors.Corrupt))


@pytest.mark.parametrize("code", ["UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "INTERNAL", "UNKNOWN"])
def test_a_broken_connection_leaves_a_write_unknown(code: str) -> None:
    failed = rpc(grpc.StatusCode[code])
    write, read = (failure_of(failed, writes=writes, endpoint="n1") for writes in (True, False))
    assert isinstance(write.error, errors.Undecided)
    assert write.maybe_applied
    assert isinstance(read.error, errors.Unavailable)
    assert not read.maybe_applied


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("RESOURCE_EXHAUSTED", errors.Overloaded),
        ("PERMISSION_DENIED", errors.Denied),
        ("UNAUTHENTICATED", errors.Denied),
        ("DATA_LOSS", errors.Corrupt),
        ("INVALID_ARGUMENT", errors.Invalid),
        ("UNIMPLEMENTED", errors.TallystickError),
    ],
)
def test_bare_statuses(code: str, error: type[errors.TallystickError]) -> None:
    assert type(failure_of(rpc(grpc.StatusCode[code]), writes=False, endpoint="n1").error) is error


@pytest.mark.parametrize(
    "details", [b"\xff", b"", rich_status(Reason.DENIED, None).replace(b"tallystick", b"tallistyck")]
)
def test_details_of_others_are_not_believed(details: bytes) -> None:
    failure = failure_of(rpc(grpc.StatusCode.UNAVAILABLE, details), writes=False, endpoint="n1")
    assert type(failure.error) is errors.Unavailable


def test_the_table_names_real_statuses() -> None:
    assert {code.value for code in StatusCode} <= {code.value[0] for code in grpc.StatusCode}


def pool(*addresses: str, seed: int = 1) -> Endpoints:
    return Endpoints(addresses, lambda address: Endpoint(address, None), Random(seed))


def test_reads_stay_with_one_node_until_it_fails() -> None:
    endpoints = pool("a:1", "b:1", "c:1")
    first = endpoints.for_any(0.0)
    assert endpoints.for_any(1.0) is first
    first.failed(1.0)
    second = endpoints.for_any(1.0)
    assert second is not first
    assert endpoints.for_any(100.0) is second


def test_clients_spread() -> None:
    chosen = {pool("a:1", "b:1", "c:1", seed=seed).for_any(0.0).address for seed in range(30)}
    assert chosen == {"a:1", "b:1", "c:1"}


def test_writes_go_to_the_leader_while_it_answers() -> None:
    endpoints = pool("a:1", "b:1", "c:1")
    endpoints.learn_leader("c:1")
    leader = endpoints.for_leader(0.0)
    assert leader.address == "c:1"
    leader.failed(0.0)
    assert endpoints.for_leader(0.0).address != "c:1"
    assert endpoints.for_leader(100.0).address == "c:1"
    endpoints.forget_leader(leader)
    leader.failed(100.0)
    assert endpoints.for_leader(100.0).address != "c:1"


def test_a_rest_grows_and_concurrent_failures_count_once() -> None:
    endpoint = Endpoint("a:1", None)
    for _ in range(64):
        endpoint.failed(0.0)
    assert endpoint.rests_until_s == pytest.approx(0.05)
    now_s, rests = 0.0, []
    for _ in range(12):
        now_s = endpoint.rests_until_s
        endpoint.failed(now_s)
        rests.append(endpoint.rests_until_s - now_s)
    assert rests[0] == pytest.approx(0.1)
    assert rests[-1] == pytest.approx(5.0)
    endpoint.succeeded()
    assert endpoint.rests_until_s == 0.0


def test_when_all_rest_the_first_to_wake_is_asked() -> None:
    endpoints = pool("a:1", "b:1")
    first = endpoints.for_any(0.0)
    first.failed(0.0)
    endpoints.for_any(0.0).failed(0.01)
    assert endpoints.for_any(0.02) is first


def test_leaders_are_learned_within_a_bound() -> None:
    endpoints = pool("a:1")
    for number in range(100):
        endpoints.learn_leader(f"n{number}:1")
    endpoints.learn_leader("not an address")
    assert len(endpoints.all()) == MAX_ENDPOINTS
    assert endpoints.all()[0].address == "a:1"
