"""Chaos: real processes killed, frozen and cut off from each other at random under load, and every answer judged.

    make chaos MINUTES=30

| file | one sentence |
|---|---|
| `run` | the whole: a cluster, its load, its faults, its judges |
| `workload`, `generations` | clients that append, compare and read; keys in use for a while, then judged and let go |
| `watcher` | a watch over all of it |
| `nemesis`, `connected` | faults from a seed; whether a majority is connected meanwhile |
| `progress` | the longest time without an acknowledgement while one was |
| `judge`, `log_model` | the checkers of `tallystick.testing` over finished keys; what operations on a log mean |
| `report` | the figures, for people, pages and programs |

A seed gives the faults and the load; when they meet is up to the machine.
"""
