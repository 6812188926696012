"""The one error tree: every deliberate error says what is wrong, where, and what to do about it.

ConstellationError              the run fails: exit code 1
├── UsageError                  what the user asked for cannot be done: exit code 2, before anything is written
│   ├── ConfigError             a setting is out of range, unknown, or contradicts another
│   ├── DatasetError            a data set cannot be loaded or does not fit the federation
│   └── PluginError             a "pkg.mod:attr" cannot be imported or is not what the seam needs
├── KeyStoreError               a key is missing, unreadable, too weak, or readable by others
├── CheckpointError             a checkpoint is corrupt, or cannot carry the state it would have to
├── UpdateRejected              one client's reply is refused; the round goes on (``reason`` is stable)
├── RequestRefused              a client refuses a request that the server did not sign, or not for it
├── StoreError                  the run store cannot be opened, read or written
│   ├── NotFound                there is no such run, model or event
│   ├── SeqGap                  events of a run are missing before those that were sent (``last_seq`` is known)
│   ├── BadEvent                an event is not of the form that events have (``field`` names where)
│   └── BadQuery                a question to the store is not of the form it has (``field`` names where)
├── Conflict                    what was asked of a run does not go with its state
├── Unreachable                 another process gave no answer; caught where it is tried again
├── PrivacyRefused              a client does not train: its privacy budget is spent, or its ledger cannot be trusted
├── PreviewFailed               a preview of a run took too long or too much, or its process ended
├── ProtocolError               a message of secure aggregation is not what it has to be: its receiver goes no further
├── WorkerError                 a worker process cannot be started or kept alive
└── RunFailed                   the federation cannot go on: no client is left, or the disk is full
"""

from __future__ import annotations


class ConstellationError(Exception):
    """Base of every deliberate error; its text is one sentence for a person."""

    exit_code = 1


class UsageError(ConstellationError):
    """What was asked for cannot be done as asked."""

    exit_code = 2


class ConfigError(UsageError):
    """A setting is out of range, unknown, or contradicts another."""


class DatasetError(UsageError):
    """A data set cannot be loaded, or does not fit the federation."""


class PluginError(UsageError):
    """A ``"pkg.mod:attr"`` cannot be imported or is not what the seam needs."""


class KeyStoreError(ConstellationError):
    """A key is missing, unreadable, too weak, or readable by others."""


class CheckpointError(ConstellationError):
    """A checkpoint is corrupt, or cannot carry the state it would have to."""


class UpdateRejected(ConstellationError):
    """One client's reply is refused.

    Attributes:
        reason: A stable code from ``shared.reasons.Reason``, for events, reports and tests.
        detail: What was seen, for a person; never array contents.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class RequestRefused(ConstellationError):
    """A client refuses a request that the server did not sign, or not for this client: nothing is trained."""


class StoreError(ConstellationError):
    """The run store cannot be opened, read or written."""


class NotFound(StoreError):
    """There is no such run, model or event."""


class SeqGap(StoreError):
    """Events of a run are missing before those that were sent.

    Attributes:
        last_seq: The newest event that is known; the sender goes on at the next one.
    """

    def __init__(self, run: str, last_seq: int) -> None:
        super().__init__(f"events of run {run} after {last_seq} are missing; send from {last_seq + 1} on")
        self.last_seq = last_seq


class BadEvent(StoreError):
    """An event is not of the form that events have.

    Attributes:
        field: Where, as a path: ``events[3].seq``.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


class BadQuery(StoreError):
    """A question to the store is not of the form it has.

    Attributes:
        field: Which part: ``cursor``, ``sort``.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


class Conflict(ConstellationError):
    """What was asked of a run does not go with its state."""


class Unreachable(ConstellationError):
    """No answer came: refused, cut, timed out, or not of the protocol."""


class PrivacyRefused(ConstellationError):
    """A client does not train: its privacy budget is spent, or what it spent cannot be trusted.

    Attributes:
        reason: A stable code from ``shared.reasons.Reason``, which the server is told.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class PreviewFailed(ConstellationError):
    """A preview of a run took too long or too much, or its process ended."""


class ProtocolError(ConstellationError):
    """A message of secure aggregation is not what it has to be; its receiver goes no further."""


class WorkerError(ConstellationError):
    """A worker process cannot be started or kept alive."""


class RunFailed(ConstellationError):
    """The federation cannot go on."""
