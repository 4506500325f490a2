"""What works off the queue: a light supervisor, and a runner that holds the model.

The supervisor claims, beats, asks, commits; it imports no torch and opens no slide. The runner is
its child process, and does one job at a time. They speak JSON lines (`channel`).
"""

__all__ = [
    "attempt",
    "channel",
    "failure",
    "faults",
    "fleet",
    "folder",
    "lifeline",
    "naming",
    "opener",
    "process",
    "runner",
    "runner_process",
    "scrubbing",
    "supervisor",
]
