"""Typed views of a context: each root of the document as what it is, with values that survive the way."""

from tallystick.contexts.views.board import BoardView
from tallystick.contexts.views.claims import Claim, ClaimInfo
from tallystick.contexts.views.counter import CounterView
from tallystick.contexts.views.held import Held
from tallystick.contexts.views.list import ListView
from tallystick.contexts.views.map import MapView
from tallystick.contexts.views.register import RegisterView
from tallystick.contexts.views.set import Element, SetView
from tallystick.contexts.views.text import TextView
from tallystick.contexts.views.values import Value, ValueLike
from tallystick.contexts.views.views import Views

__all__ = [
    "BoardView",
    "Claim",
    "ClaimInfo",
    "CounterView",
    "Element",
    "Held",
    "ListView",
    "MapView",
    "RegisterView",
    "SetView",
    "TextView",
    "Value",
    "ValueLike",
    "Views",
]
