"""Steps and turns: side effects that happen once, and the stretches between which an agent rests. DESIGN.md says why.

Example:
    from tallystick.steps import Happened

    async def did_it_send(step):
        message = await mail.find(step.effect_key)
        return Happened(message.id) if message else None

    await agent.step("mail", send_mail, "you@example.org", on_ambiguous=did_it_send)
"""

from tallystick.steps.running import OnAmbiguous, OnFailed
from tallystick.steps.steps import BegunStep, Steps
from tallystick.steps.turn import OnOpen, Turn
from tallystick.steps.values import Happened, Step, StepError, StepStatus

__all__ = [
    "BegunStep",
    "Happened",
    "OnAmbiguous",
    "OnFailed",
    "OnOpen",
    "Step",
    "StepError",
    "StepStatus",
    "Steps",
    "Turn",
]
