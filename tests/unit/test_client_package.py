"""The package `tallystick`: all of its names, and no more loaded than is asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

import tallystick


def test_every_public_name_is_there() -> None:
    for name in tallystick.__all__:
        assert getattr(tallystick, name) is not None, name


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        getattr(tallystick, "nonsense")  # noqa: B009 - mypy would refuse the plain form


def test_the_errors_alone_load_no_grpc() -> None:
    code = "import sys, tallystick.errors, tallystick.testing; assert 'grpc' not in sys.modules, 'grpc is loaded'"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
