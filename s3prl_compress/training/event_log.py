"""TensorBoard's logs, written at once.

tensorboardX's `SummaryWriter` writes in a thread. When that dies, as on a full disk, the training
waits for it forever.
"""

from __future__ import annotations

import time
from pathlib import Path

from ..common.files import writing


class EventLog:
    """An event file of scalars.

    Args:
        folder: of the event files of all starts of a run.
        step: number of updates so far. What earlier starts have logged beyond it is replaced.

    Raises:
        InputError: it cannot be written, as by the other methods.
    """

    def __init__(self, folder: Path, step: int) -> None:
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import SessionLog

        self._folder = folder
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._events = EventsWriter(str(folder / "events"))
        self._write(step + 1, session_log=SessionLog(status=SessionLog.START))

    def add_scalar(self, name: str, value: float, step: int) -> None:
        """Write one value."""
        from tensorboardX.summary import scalar

        self._write(step, summary=scalar(name, value))

    def close(self) -> None:
        """Close the file, all of which has been written."""
        self._events.close()

    def _write(self, step: int, **content: object) -> None:
        from tensorboardX.proto.event_pb2 import Event

        with writing(self._folder):
            self._events.write_event(Event(wall_time=time.time(), step=step, **content))
            self._events.flush()
