"""`tallystick serve` without a node behind it: flags, logs, usage errors."""

from __future__ import annotations

import json
import logging
import os
import select
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from tallystick.errors import Corrupt, NoLeader, NotFound, TallystickError, Undecided
from tallystick_node.cli import exits, logs, main
from tallystick_node.cli.exits import ExitCode
from tallystick_node.config.settings import ENVIRONMENT_PREFIX, SETTINGS
from tallystick_node.config.values import ConfigError


@pytest.fixture(autouse=True)
def no_settings_around(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(ENVIRONMENT_PREFIX):
            monkeypatch.delenv(name)


def test_help_shows_every_setting() -> None:
    result = CliRunner().invoke(main, ["serve", "--help"])
    assert result.exit_code == 0
    for setting in SETTINGS:
        assert setting.flag in result.output, setting.name
    assert "exit-with-parent" not in result.output


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ([], "node_id"),
        (["--node-id", "a"], "data_folder"),
        (["--node-id", "A", "--data-folder", "x"], "lower-case"),
        (["--node-id", "a", "--data-folder", "x", "--client-address", "0.0.0.0:7420"], "client"),
        (["--node-id", "a", "--data-folder", "x", "--member", "b=h:1,h:2"], "members"),
        (["--config", "none.toml"], "none.toml"),
        (["--no-such-flag"], "--no-such-flag"),
    ],
)
def test_wrong_settings_are_usage_errors(args: list[str], says: str) -> None:
    result = CliRunner().invoke(main, ["serve", *args])
    assert result.exit_code == ExitCode.USAGE
    assert says in result.stderr
    assert "Traceback" not in result.output


def test_an_environment_variable_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TALLYSTICK_HEARTBEAT_S", "often")
    result = CliRunner().invoke(main, ["serve", "--node-id", "a", "--data-folder", "x"])
    assert result.exit_code == ExitCode.USAGE
    assert "heartbeat_s" in result.stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("node_id", "is missing"), ExitCode.USAGE),
        (NotFound("no agent"), ExitCode.REFUSED),
        (NoLeader("no leader"), ExitCode.UNAVAILABLE),
        (Undecided("who knows"), ExitCode.UNDECIDED),
        (Corrupt("damaged"), ExitCode.CORRUPT),
        (TallystickError("a bug"), ExitCode.REFUSED),
        (PermissionError(13, "Permission denied", "/data"), ExitCode.REFUSED),
        (OSError(98, "Address already in use"), ExitCode.UNAVAILABLE),
    ],
)
def test_each_kind_of_failure_has_its_exit_code(error: TallystickError | ConfigError | OSError, code: ExitCode) -> None:
    failure = exits.failure_for(error)
    assert failure.exit_code == code
    assert failure.message


def record(message: str, **extra: object) -> logging.LogRecord:
    made = logging.makeLogRecord({"name": "tallystick_node.consensus", "levelno": 20, "levelname": "INFO", **extra})
    made.msg = message
    made.created = 1_700_000_000.5
    return made


def test_a_log_line_is_json_with_its_fields() -> None:
    line = logs.JsonFormatter().format(
        record("leader elected", event="leader_elected", term=4, path=Path("/x"), text="a\nb")
    )
    assert "\n" not in line
    assert json.loads(line) == {
        "time": "2023-11-14T22:13:20.500Z",
        "level": "info",
        "logger": "tallystick_node.consensus",
        "event": "leader_elected",
        "message": "leader elected",
        "term": 4,
        "path": "/x",
        "text": "a\nb",
    }


def test_without_a_word_of_its_own_the_event_is_the_message() -> None:
    assert json.loads(logs.JsonFormatter().format(record("it happened")))["event"] == "it happened"


def test_a_field_cannot_pass_for_the_time_or_the_level() -> None:
    line = json.loads(logs.JsonFormatter().format(record("real", time="never", level="none", logger="forged")))
    assert (line["time"], line["level"]) == ("2023-11-14T22:13:20.500Z", "info")
    assert line["logger"] == "tallystick_node.consensus"


def test_an_exception_is_a_field() -> None:
    error = ValueError("broken")
    line = logs.JsonFormatter().format(record("failed", exc_info=(ValueError, error, None)))
    assert "ValueError: broken" in json.loads(line)["error"]
    assert "\n" not in line


def test_a_line_of_text_has_its_fields_too() -> None:
    assert logs.TextFormatter().format(record("leader elected", event="x", term=4)) == (
        "22:13:20.500 info    consensus: leader elected term=4"
    )


PARENT = """
import os, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", '''
import os, sys, time
from tallystick_node.cli import serve
serve._die_with(int(sys.argv[1]))
print("armed", flush=True)
time.sleep(600)
''', str(os.getpid())], stdout=subprocess.PIPE, text=True)
print(child.pid, child.stdout.readline().strip(), flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can tell a child that its parent died")
def test_a_child_dies_with_a_parent_that_is_killed() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    assert parent.stdin is not None
    pid, armed = parent.stdout.readline().split()
    assert armed == "armed"
    watched = os.pidfd_open(int(pid))
    try:
        parent.kill()
        parent.communicate(timeout=10)
        assert select.select([watched], [], [], 10)[0] == [watched], "the child lives on"
    finally:
        os.close(watched)


def test_a_child_whose_parent_died_before_it_asked_does_not_start(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tallystick_node.cli", "serve", "--exit-with-parent", "1"]
    ended = subprocess.run(
        [*command, "--node-id", "a", "--data-folder", str(tmp_path)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ended.returncode == ExitCode.UNAVAILABLE
    assert "gone" in ended.stderr
    assert list(tmp_path.iterdir()) == []
