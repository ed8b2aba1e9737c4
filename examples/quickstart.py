"""The first minute: start `tallystick dev` in another terminal, then run this. Run it again, and it goes on."""

import asyncio
import os

import tallystick
from tallystick import ops

ENDPOINTS = os.environ.get("TALLYSTICK_ENDPOINTS") or "127.0.0.1:7420,127.0.0.1:7430,127.0.0.1:7440"


async def main() -> None:
    """Rehydrates an agent, appends to its log, names the point, and watches what was decided."""
    async with tallystick.connect(ENDPOINTS, namespace="demo") as client:
        agent = client.agent("quickstart")
        snap = await agent.rehydrate()
        print(f"rehydrated at seq {snap.seq}: {snap.state}")
        done = await agent.append(
            ops.increment("/runs"), ops.append("/done", f"run {snap.seq + 1}"), cause="tool:copy#17"
        )
        ref = await agent.checkpoint(f"run-{done.seq}", metadata={"step": done.seq}, expected_seq=done.seq)
        print(f"checkpoint {ref.name} at seq {ref.seq}, state {ref.state_digest.hex()[:12]}")
        async for event in client.watch(agent="quickstart", after=snap.revision):
            print(f"watched {event.revision}: {type(event).__name__}")
            if event.revision == ref.revision:
                break


if __name__ == "__main__":
    asyncio.run(main())
