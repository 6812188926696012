"""A process that computes previews: it may import torch, and may be slow, hungry or hang; we may not.

It answers one JSON line for each JSON line it gets, and ends when its standard input does: with us, whatever happens.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from shared.errors import ConfigError, ConstellationError, DatasetError, PluginError, PreviewFailed

COMMAND = (sys.executable, "-m", "constellation", "preview")
MAX_ANSWER_BYTES = 4 * 1024 * 1024  # 200 clients of 1,000 classes; more is not a preview
MAX_WAITING = 4  # requests beyond the one in work: each holds a thread of the web server
_KINDS: Mapping[str, type[ConstellationError]] = {"config": ConfigError, "dataset": DatasetError, "plugin": PluginError}


class PreviewWorker:
    """One such process, started when it is needed; requests take turns.

    Args:
        command: What to start.
        time_limit_s: For one answer, the start of the process included.
        idle_s: After so long without a request the process is ended: it holds half a gigabyte.
    """

    def __init__(
        self,
        command: Sequence[str] = COMMAND,
        *,
        time_limit_s: float = 30.0,
        idle_s: float = 120.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._command = list(command)
        self._time_limit_s = time_limit_s
        self._idle_s = idle_s
        self._clock = clock
        self._turn = threading.Lock()
        self._places = threading.BoundedSemaphore(MAX_WAITING + 1)
        self._process: subprocess.Popen[bytes] | None = None
        self._used_at = 0.0

    def ask(self, question: Mapping[str, object], *, is_fresh: bool = False) -> Mapping[str, object]:
        """Return the answer to one question.

        Args:
            question: What to compute.
            is_fresh: In a process that is started for it and ended with it: a person's own code and files may change.

        Raises:
            UsageError: The settings cannot be used.
            PreviewFailed: There was no answer in time, or the process ended.
        """
        if not self._places.acquire(blocking=False):
            raise PreviewFailed("too many previews at once; try again in a moment")
        try:
            if not self._turn.acquire(timeout=self._time_limit_s):
                raise PreviewFailed("other previews take long; try again in a moment")
            try:
                if is_fresh:
                    self._end()
                answer = self._ask(question)
                if is_fresh:
                    self._end()
                return answer
            finally:
                self._turn.release()
        finally:
            self._places.release()

    def tick(self) -> None:
        """End the process when nobody has asked for a while."""
        if self._process is not None and self._turn.acquire(blocking=False):
            try:
                if self._clock() - self._used_at > self._idle_s:
                    self._end()
            finally:
                self._turn.release()

    def close(self) -> None:
        """End the process."""
        with self._turn:
            self._end()

    def _ask(self, question: Mapping[str, object]) -> Mapping[str, object]:
        deadline = self._clock() + self._time_limit_s
        process = self._started()
        self._used_at = self._clock()
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(question).encode() + b"\n")
            process.stdin.flush()
            answer = json.loads(self._line(process, deadline))
        except (OSError, ValueError) as error:
            self._end()
            raise PreviewFailed(
                "the preview's process ended without an answer: it may need more memory than it is given"
            ) from error
        except PreviewFailed:
            self._end()
            raise
        self._used_at = self._clock()
        if isinstance(answer, dict) and isinstance(answer.get("answer"), dict):
            found: Mapping[str, object] = answer["answer"]
            return found
        refusal = answer if isinstance(answer, dict) else {}
        raise _KINDS.get(str(refusal.get("kind")), PreviewFailed)(str(refusal.get("error", "no answer")))

    def _line(self, process: subprocess.Popen[bytes], deadline: float) -> bytes:
        assert process.stdout is not None
        descriptor = process.stdout.fileno()
        line = bytearray()
        while not line.endswith(b"\n"):
            readable, _, _ = select.select([descriptor], [], [], max(0.0, deadline - self._clock()))
            if not readable:
                raise PreviewFailed(f"the preview took longer than {self._time_limit_s:g} s")
            part = os.read(descriptor, 65_536)
            if not part or len(line) + len(part) > MAX_ANSWER_BYTES:
                raise ValueError("no whole answer")
            line += part
        return bytes(line)

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self._end()
        try:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise PreviewFailed(f"the preview's process cannot be started: {error.strerror or error}") from error
        return self._process

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        process.wait()
