"""`python -m tallystick_node.cli`: the command line without the installed script."""

from tallystick_node.cli import main

main(prog_name="tallystick")
