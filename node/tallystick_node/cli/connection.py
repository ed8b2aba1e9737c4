"""The options that every command has which talks to a cluster."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeVar

import click

import tallystick
from tallystick.schemas import SchemaKnowledge
from tallystick_node.cli.exits import ExitCode, Failure

DEFAULT_ENDPOINTS: Final = "127.0.0.1:7420,127.0.0.1:7430,127.0.0.1:7440"
"""Where `tallystick dev` listens."""

ACTOR: Final = "cli"
"""Who writes, where a command does not ask for it."""

R = TypeVar("R")
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@dataclass(frozen=True, slots=True)
class Connection:
    """How to reach the cluster, and how to show what it says."""

    endpoints: str
    endpoints_given: bool
    namespace: str
    consistency: tallystick.Consistency
    timeout_s: float
    tls: tallystick.TLS | None
    as_json: bool
    schemas: tuple[SchemaKnowledge, ...] = ()

    def knowing(self, schemas: Iterable[SchemaKnowledge]) -> Connection:
        """The same, for a client that knows these."""
        return replace(self, schemas=tuple(schemas))

    def open(self, *, actor: str = ACTOR) -> tallystick.Client:
        """A client, for `async with`; what it writes is by this actor."""
        return self._open(self.endpoints, self.consistency, actor=actor, pinned=False)

    def open_node(self, endpoint: str) -> tallystick.Client:
        """A client of this node alone, whose reads wait for what its session has seen."""
        return self._open(endpoint, tallystick.Consistency.SESSION, actor="", pinned=True)

    def _open(
        self, endpoints: str, consistency: tallystick.Consistency, *, actor: str, pinned: bool
    ) -> tallystick.Client:
        return tallystick.connect(
            endpoints,
            namespace=self.namespace,
            consistency=consistency,
            timeout_s=self.timeout_s,
            tls=self.tls,
            actor=actor,
            pinned=pinned,
            schemas=self.schemas,
        )


_OPTIONS: Final = (
    click.option(
        "-e", "--endpoints", "--endpoint", envvar="TALLYSTICK_ENDPOINTS", metavar="HOST:PORT,...",
        help=f"Nodes to connect to.  [default: {DEFAULT_ENDPOINTS}]",
    ),
    click.option(
        "-n", "--namespace", default="default", show_default=True, envvar="TALLYSTICK_NAMESPACE",
        help="Whose agents and contexts.",
    ),
    click.option(
        "--consistency", type=click.Choice([str(one) for one in tallystick.Consistency]),
        default="linearizable", show_default=True, help="What reads promise.",
    ),
    click.option(
        "--timeout", "timeout_s", type=click.FloatRange(0.1, 3600), default=10.0, show_default=True,
        metavar="SECONDS", envvar="TALLYSTICK_TIMEOUT", help="Give up a call after this long.",
    ),
    click.option("--tls-ca", type=_FILE, envvar="TALLYSTICK_TLS_CA", help="PEM file of the CA of the nodes."),
    click.option("--tls-cert", type=_FILE, envvar="TALLYSTICK_TLS_CERT", help="PEM file of our certificate."),
    click.option("--tls-key", type=_FILE, envvar="TALLYSTICK_TLS_KEY", help="PEM file of its private key."),
    click.option("--json", "as_json", is_flag=True, help="JSON on stdout, for programs."),
)  # fmt: skip


def connection_options(command: Callable[..., R]) -> Callable[..., R]:
    """Adds the options; the command's first argument becomes the Connection made from them."""

    @functools.wraps(command)
    def with_connection(
        *args: object,
        endpoints: str | None,
        namespace: str,
        consistency: str,
        timeout_s: float,
        tls_ca: Path | None,
        tls_cert: Path | None,
        tls_key: Path | None,
        as_json: bool,
        **kwargs: object,
    ) -> R:
        connection = Connection(
            endpoints=endpoints or DEFAULT_ENDPOINTS,
            endpoints_given=endpoints is not None,
            namespace=namespace,
            consistency=tallystick.Consistency(consistency),
            timeout_s=timeout_s,
            tls=_tls(tls_ca, tls_cert, tls_key),
            as_json=as_json,
        )
        return command(connection, *args, **kwargs)

    made: Callable[..., R] = with_connection
    for option in reversed(_OPTIONS):
        made = option(made)
    return made


def _tls(ca: Path | None, cert: Path | None, key: Path | None) -> tallystick.TLS | None:
    if ca is None and (cert or key):
        raise Failure("--tls-ca is missing: say whose certificates to believe", ExitCode.USAGE)
    if (cert is None) != (key is None):
        raise Failure("--tls-cert and --tls-key go together", ExitCode.USAGE)
    return None if ca is None else tallystick.TLS(ca=ca, cert=cert, key=key)
