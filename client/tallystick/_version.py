"""The version of the distribution, for the wheel and for `tallystick --version`."""

__version__ = "0.1.0"
