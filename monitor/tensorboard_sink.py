"""Writes a run's numbers as TensorBoard event files, with TensorBoard's own writer; neither torch nor TensorFlow.

``tensorboard --logdir runs`` shows every run; needs the extra ``tensorboard``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from monitor.scalars import scalars_of
from shared.events import Envelope, RunEnded, RunStarted

FOLDER = "tensorboard"  # inside the run's


class TensorBoardSink:
    """An event sink that writes to ``OUTPUT/RUN/tensorboard``; put it behind ``InBackground``."""

    def __init__(self, output: Path) -> None:
        """Write into the folders of runs in ``output``."""
        self._output = output
        self._writer: Any = None  # tensorboard has no types

    def write(self, envelope: Envelope) -> None:
        """Write the event's numbers, if it has any."""
        if self._writer is None:
            self._writer = _writer(self._output / envelope.run / FOLDER)
        event = envelope.event
        if isinstance(event, RunStarted):
            if event.first_round > 1:
                self._add(_restart(event.first_round, envelope.ts))
            self._add(_text("settings", _as_markdown(event), envelope.ts))
        elif isinstance(event, RunEnded):
            self._add(_text("end", event.state + (f": {event.error}" if event.error else ""), envelope.ts))
        server_round, scalars = scalars_of(event)
        if scalars:
            self._add(_scalars(server_round, scalars, envelope.ts))

    def close(self) -> None:
        """Write what is pending and close the file."""
        if self._writer is not None:
            self._writer.close()

    def _add(self, record: Any) -> None:
        self._writer.add_event(record)


def _writer(folder: Path) -> Any:
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    return EventFileWriter(str(folder))


def _scalars(step: int, scalars: dict[str, float] | Any, ts: float) -> Any:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    values = [Summary.Value(tag=name, simple_value=value) for name, value in scalars.items()]
    return Event(wall_time=ts, step=step, summary=Summary(value=values))


def _restart(first_round: int, ts: float) -> Any:
    """Tell readers to drop what an earlier start of the run wrote for this round and later ones."""
    from tensorboard.compat.proto.event_pb2 import Event, SessionLog

    return Event(wall_time=ts, step=first_round, session_log=SessionLog(status=SessionLog.START))


def _text(tag: str, text: str, ts: float) -> Any:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.compat.proto.types_pb2 import DT_STRING

    metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
    tensor = TensorProto(dtype=DT_STRING, string_val=[text.encode(errors="replace")])
    return Event(wall_time=ts, summary=Summary(value=[Summary.Value(tag=tag, metadata=metadata, tensor=tensor)]))


def _as_markdown(event: RunStarted) -> str:
    """Show the settings as a table; what stands in one cannot end it."""
    rows = [f"| {key} | `{_cell(value)}` |" for key, value in sorted(event.config.items())]
    return "\n".join(["| setting | value |", "|---|---|", *rows])


def _cell(value: object) -> str:
    return json.dumps(value).replace("|", "\\|").replace("`", "'")
