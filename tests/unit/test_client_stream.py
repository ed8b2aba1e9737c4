"""The pipeline: order, the window, refusals in between, and what a failover leaves of it."""

from __future__ import annotations

import asyncio
import time
from random import Random

import pytest

import tallystick
from tallystick import Mutation, ops
from tallystick.errors import Reason
from tests.unit.client_kit import DEADLINE_S, endpoints, freezes, nodes, refuses


async def test_answers_come_in_order() -> None:
    async with nodes(1) as started, tallystick.connect(endpoints(started), namespace="demo") as client:
        async with client.agent("migrator").stream(window=8) as stream:
            pending = [await stream.append(ops.increment("/n"), cause=f"c{number}") for number in range(100)]
            assert (await pending[0]).seq == 1
        answers = [await item.result() for item in pending]
        assert [answer.seq for answer in answers] == list(range(1, 101))
        assert [item.mutation.cause for item in started[0].history.of("migrator")] == [f"c{n}" for n in range(100)]
        assert client.session == (answers[-1].revision,)


async def test_several_mutations_are_one_append_of_the_pipeline() -> None:
    async with nodes(1) as started, tallystick.connect(endpoints(started), namespace="demo") as client:
        started[0].stream_errors["bad"] = Reason.INVALID_OPERATION
        async with client.agent("migrator").stream(window=2) as stream:
            many = [Mutation.of(ops.increment("/n"), cause=f"c{number}") for number in range(3)]
            first = await stream.append_many(many, idempotency_key="three")
            refused = await stream.append_many([Mutation.of(ops.delete("/none"), cause="bad"), *many])
            last = await stream.append_many([Mutation.event("note", {"n": 1})], expected_seq=3)
            with pytest.raises(tallystick.Invalid):
                await refused.result()
        assert ((await first).first_seq, (await first).seq, (await last).seq) == (1, 3, 4)
        assert [len(request.mutations) for request in started[0].streamed] == [3, 4, 1]
        assert started[0].streamed[0].idempotency_key == "three"
        assert started[0].streamed[2].expected_seq == 3
        assert [item.mutation.kind for item in started[0].history.of("migrator")] == ["state"] * 3 + ["note"]


@pytest.mark.parametrize("seed", range(8))
async def test_a_pipeline_that_breaks_anywhere_is_whole_and_in_order(seed: int) -> None:
    rng = Random(seed)
    async with nodes(3) as started, tallystick.connect(endpoints(started), namespace="demo") as client:
        for node in started:
            node.stream_faults.extend(rng.choice((0, 1, 3, 10)) for _ in range(4))
        async with client.agent("migrator").stream(window=rng.choice((1, 4, 32))) as stream:
            pending = [await stream.append(ops.increment("/n"), cause=f"c{number}") for number in range(60)]
        assert [(await item).seq for item in pending] == list(range(1, 61))
        assert [item.mutation.cause for item in started[0].history.of("migrator")] == [f"c{n}" for n in range(60)]
        assert sum(len(node.streamed) for node in started) > 60


async def test_the_window_bounds_what_is_unanswered() -> None:
    thaw = asyncio.Event()
    async with nodes(1) as started, tallystick.connect(endpoints(started), namespace="demo") as client:
        started[0].faults.append(freezes(thaw))
        async with client.agent("migrator").stream(window=4) as stream:
            for _ in range(4):
                await stream.append(ops.increment("/n"))
            fifth = asyncio.create_task(stream.append(ops.increment("/n")))
            await started[0].until(lambda: len(started[0].streamed) >= 1)
            assert not fifth.done()
            thaw.set()
            assert (await (await fifth)).seq == 5


async def test_a_refusal_is_one_appends_affair() -> None:
    async with nodes(1) as started, tallystick.connect(endpoints(started), namespace="demo") as client:
        started[0].stream_errors["bad"] = Reason.INVALID_OPERATION
        async with client.agent("migrator").stream() as stream:
            bad = await stream.append(ops.delete("/none"), cause="bad")
            good = await stream.append(ops.increment("/n"), cause="good")
            with pytest.raises(tallystick.Invalid):
                await bad.result()
            assert (await good).seq == 1
        assert len(started[0].streamed) == 2


async def test_a_refusal_that_nobody_asks_for_is_raised_by_flush_and_at_the_end() -> None:
    async with nodes(1) as started, tallystick.connect(endpoints(started), namespace="demo") as client:
        for number in range(2):
            started[0].stream_errors[f"bad{number}"] = Reason.INVALID_OPERATION

        async def leave_one_unasked() -> None:
            async with client.agent("migrator").stream() as stream:
                await stream.append(ops.delete("/none"), cause="bad0")
                await stream.append(ops.increment("/n"))
                with pytest.raises(tallystick.Invalid):
                    await stream.flush()
                await stream.flush()
                await stream.append(ops.delete("/none"), cause="bad1")

        with pytest.raises(tallystick.Invalid):
            await leave_one_unasked()


async def test_what_could_not_be_done_now_is_not_overtaken() -> None:
    async with nodes(1) as started, tallystick.connect(endpoints(started), namespace="demo") as client:
        started[0].stream_errors["c1"] = Reason.NO_LEADER
        async with client.agent("migrator").stream(window=1) as stream:
            pending = [await stream.append(ops.increment("/n"), cause=f"c{number}") for number in range(4)]
        assert [(await item).seq for item in pending] == [1, 2, 3, 4]
        keys = [item.idempotency_key for item in started[0].streamed if item.mutations[0].cause == "c1"]
        assert len(keys) == 2
        assert len(set(keys)) == 1


async def test_a_frozen_node_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tallystick._stream.ATTEMPT_S", 0.2)
    thaw = asyncio.Event()
    async with nodes(2) as started, tallystick.connect(endpoints(started), namespace="demo") as client:
        for node in started:
            node.leader_endpoint = started[0].endpoint
        await client.agent("other").append(ops.set("/a", 1))
        started[0].faults.append(freezes(thaw))
        began_s = time.monotonic()
        async with client.agent("migrator").stream() as stream:
            await stream.append(ops.increment("/n"))
        assert 0.2 <= time.monotonic() - began_s < 2.0
        assert len(started[0].history.of("migrator")) == 1
        thaw.set()


async def test_a_stream_without_a_cluster_fails_as_a_whole() -> None:
    async with tallystick.connect("127.0.0.1:1", namespace="demo") as client:
        stream = client.agent("migrator").stream(timeout_s=0.3)
        async with stream:
            pending = await stream.append(ops.increment("/n"))
            with pytest.raises(tallystick.Unavailable) as caught:
                await pending.result()
            assert caught.value.metadata["idempotency_key"]
            with pytest.raises(tallystick.Unavailable):
                await stream.append(ops.increment("/n"))


async def test_what_was_sent_and_not_answered_is_undecided() -> None:
    thaw = asyncio.Event()
    async with nodes(1) as started, tallystick.connect(endpoints(started), namespace="demo") as client:
        started[0].faults.append(freezes(thaw))
        stream = client.agent("migrator").stream()
        async with stream:
            pending = await stream.append(ops.increment("/n"))
            await started[0].until(lambda: len(started[0].streamed) == 1)
            await stream.close()
            assert pending.done()
            with pytest.raises(tallystick.Undecided) as caught:
                await pending.result()
        assert caught.value.metadata["idempotency_key"] == started[0].streamed[0].idempotency_key
        with pytest.raises(tallystick.Unavailable):
            await stream.append(ops.increment("/n"))
        thaw.set()


async def test_closing_the_client_ends_its_streams() -> None:
    thaw = asyncio.Event()
    async with nodes(1) as started:
        client = tallystick.connect(endpoints(started), namespace="demo")
        started[0].faults.append(freezes(thaw))
        async with client.agent("migrator").stream() as stream:
            await stream.append(ops.increment("/n"))
            await started[0].until(lambda: len(started[0].streamed) == 1)
            await client.close()
            with pytest.raises(tallystick.Undecided):
                await asyncio.wait_for(stream.flush(), DEADLINE_S)
        thaw.set()


async def test_an_error_in_the_block_is_not_hidden() -> None:
    async with nodes(1) as started, tallystick.connect(endpoints(started), namespace="demo") as client:
        started[0].faults.append(refuses(Reason.NO_LEADER))

        async def fail() -> None:
            async with client.agent("migrator").stream() as stream:
                await stream.append(ops.increment("/n"))
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await fail()


async def test_a_stream_is_used_once_and_inside_its_block() -> None:
    async with nodes(1) as started, tallystick.connect(endpoints(started), namespace="demo") as client:
        stream = client.agent("migrator").stream()
        with pytest.raises(RuntimeError):
            await stream.append(ops.increment("/n"))
        async with stream:
            pass
        with pytest.raises(RuntimeError):
            await stream.__aenter__()
        for window in (0, 5000):
            with pytest.raises(tallystick.Invalid):
                client.agent("migrator").stream(window=window)
