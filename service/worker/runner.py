"""The child that holds the model and makes heatmaps, one at a time: `-m service.worker.runner`.

Standard input brings {"do": "run" | "write" | "stop", …}, standard output answers {"say": "ready" |
"opened" | "progress" | "done" | "stopped" | "failed", …}. It ends with its supervisor.
"""

import argparse
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from service.errors import SlideChanged, Stopped
from service.operations.logs import configure_logs
from service.settings import Settings
from service.storage.pinned import CHANGED, require_unchanged
from service.worker.channel import Channel, ChannelClosed
from service.worker.failure import failure_of
from service.worker.faults import Fault, no_fault
from service.worker.lifeline import end_with_parent
from service.worker.naming import neutral_name, telling_names
from service.worker.scrubbing import scrub_logs

if TYPE_CHECKING:
    from models.card import ModelCard
    from models.infer import Classifier
    from wsi.slide import SlideInfo

__all__ = ["JobProgress", "ResidentModel", "Runner", "serve"]

logger = logging.getLogger(__name__)

SPEAK_EVERY_S = 0.1
"""Between two messages about the same stage."""


class ResidentModel:
    """The classifier of the last job, kept while the next one wants the same."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._precision = ""
        self._loaded: Classifier | None = None

    def resolve(self, model: str) -> "ModelCard":
        from models.registry import resolve_model

        return resolve_model(model).card

    def get(self, model: str, precision: str) -> "Classifier":
        """Raises ModelError. TorchScript, which runs its author's code, is never loaded."""
        from models.infer import load_classifier

        card = self.resolve(model)
        if self._loaded is None or (card, precision) != (self._loaded.card, self._precision):
            self.close()
            settings = self._settings
            self._loaded = load_classifier(
                model,
                settings.device,
                batch_size=settings.batch_size,
                precision=precision,
                tuning=settings.tunings,
            )
            self._precision = precision
        return self._loaded

    def close(self) -> None:
        if self._loaded is not None:
            self._loaded.close()
        self._loaded = None


class JobProgress:
    """Tells the supervisor where a job is, not too often, and knows whether it was stopped."""

    def __init__(self, runner: "Runner", job: str, fault: Fault) -> None:
        from wsi.store.scores import SCORE_SHARD

        self._runner, self._job, self._fault = runner, job, fault
        self._stage, self._done, self._total = "", 0, 0
        self._shard = SCORE_SHARD
        self._spoken_at = 0.0

    def start(self, stage: str, total: int) -> None:
        self._stage, self._done, self._total = stage, 0, total
        self._speak()
        if stage == "publish":
            self._fault("before-rename")

    def advance(self, done: int) -> None:
        before, self._done = self._done, self._done + done
        if time.monotonic() - self._spoken_at >= SPEAK_EVERY_S:
            self._speak()
        if self._stage == "score" and before // self._shard < self._done // self._shard:
            self._fault("after-shard")

    def should_stop(self) -> bool:
        return self._runner.is_stopped(self._job)

    def _speak(self) -> None:
        self._spoken_at = time.monotonic()
        self._runner.say(
            "progress", self._job, stage=self._stage, done=self._done, total=self._total
        )


class Runner:
    """Reads orders in a thread of its own, so that one to stop is heard in the middle of a job."""

    def __init__(self, channel: Channel, settings: Settings, fault: Fault = no_fault) -> None:
        self._channel, self._settings, self._fault = channel, settings, fault
        self._orders: SimpleQueue[Mapping[str, Any]] = SimpleQueue()
        self._stopped: str | None = None  # the job that is to stop
        self._model = ResidentModel(settings)
        self._may_write = threading.Event()
        self._formatters = scrub_logs()

    def work(self) -> None:
        """Until the supervisor goes away, or a job ends in a way that nobody foresaw."""
        threading.Thread(target=self._listen, name="orders", daemon=True).start()
        self.say("ready", None, **self._facts())
        sound = True
        while sound:
            sound = self._run(self._orders.get())

    def is_stopped(self, job: str) -> bool:
        return self._stopped == job

    def say(self, what: str, job: str | None, **more: Any) -> None:
        self._channel.send({"say": what, "job": job, **more})

    def _listen(self) -> None:
        try:
            while True:
                order = self._channel.receive() or {}
                if order.get("do") == "stop":
                    self._stopped = str(order["job"])
                elif order.get("do") == "write":
                    self._may_write.set()
                else:
                    self._stopped = None  # that was an attempt of before, perhaps at the same job
                    self._orders.put(order)
        except ChannelClosed:  # nobody is left to work for
            os._exit(0)

    def _facts(self) -> dict[str, Any]:
        """The default model is loaded here: the first job need not wait for it."""
        from models.errors import ModelError
        from service.worker.opener import check_sandbox
        from wsi import __version__

        try:
            settings = self._settings
            device: str | None = self._model.get(settings.model, settings.precision).device
        except ModelError as error:  # each job will say the same
            logger.warning("model=%s cannot be loaded: %s", self._settings.model, error)
            device = None
        return {
            "device": device,
            "sandbox": check_sandbox(self._settings),
            "version": __version__,
        }

    def _run(self, order: Mapping[str, Any]) -> bool:
        """False where the process should not go on."""
        job, slide, folder = order["job"], Path(order["slide"]), Path(order["folder"])
        for formatter in self._formatters:
            formatter.hide(telling_names(slide))
        try:
            if order.get("sha256"):
                require_unchanged(slide, order["sha256"])
            self._make(job, order["request"], slide, folder, order.get("sha256"))
        except Stopped:
            self.say("stopped", job)
        except Exception as error:  # the process's edge: whatever it is, the job's owner reads it
            failure = failure_of(error, slide, folder)
            if not failure.is_foreseen:
                logger.exception("job failed", extra={"job": job})
            self.say("failed", job, **asdict(failure))
            return failure.is_foreseen
        return True

    def _make(
        self, job: str, fields: Mapping[str, Any], slide: Path, folder: Path, sha256: str | None
    ) -> None:
        from service.pipeline import make_heatmap
        from service.submission import heatmap_request, require_same_model
        from service.worker.opener import make_opener
        from service.worker.room import result_bytes
        from wsi import __version__

        settings, model = self._settings, str(fields["model"])
        card = self._model.resolve(model)
        require_same_model(fields, card, __version__)
        request = heatmap_request(
            {**fields, "model": card.name},  # what is recorded: a model's folder is a server's path
            neutral_name(slide),
            device=settings.device,
            batch_size=settings.batch_size,
        )

        def load() -> "Classifier":
            classifier = self._model.get(model, request.precision)
            require_same_model(fields, classifier.card, __version__)  # replaced meanwhile
            return classifier

        result = make_heatmap(
            request,
            folder,
            card,
            load,
            overwrite=True,  # what is there under this job's name, nobody has been given
            progress=JobProgress(self, job, self._fault),
            opener=make_opener(
                slide,
                settings,
                lambda info: self._await_room(job, info, result_bytes(info, request, card)),
            ),
        )
        self._fault("after-rename")
        if sha256 is not None and result.manifest["slide"]["id"] != sha256:
            raise SlideChanged(CHANGED)  # while it was read
        self.say("done", job, kept=result.kept)

    def _await_room(self, job: str, info: "SlideInfo", size_bytes: int) -> None:
        """Nothing is written before the supervisor, which knows whose job it is, holds room.

        Raises Stopped where it does not.
        """
        self._may_write.clear()
        self.say("opened", job, facts=_facts_of(info), room=size_bytes)
        self._may_write.wait()
        if self.is_stopped(job):
            raise Stopped("stopped before anything was written")


def _facts_of(info: "SlideInfo") -> dict[str, Any]:
    """What the slide says of itself: a resolution that one job was given is not every job's."""
    facts = {
        "size0": list(info.size),
        "bounds0": list(info.bounds) if info.bounds else None,
        "objective_power": info.objective_power,
        "vendor": info.vendor,
    }
    if info.mpp_source == "caller":
        return facts
    return facts | {"mpp": list(info.mpp) if info.mpp else None}


def serve(arguments: Sequence[str] | None = None, fault: Fault = no_fault) -> None:
    """The process: private pipes, no signals of a terminal, an end together with the parent."""
    parser = argparse.ArgumentParser(prog="runner")
    parser.add_argument("--parent", type=int, required=True)
    parent = parser.parse_args(arguments).parent
    # whoever stops the service stops the supervisor, which then tells this process
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    end_with_parent(parent)
    # a library that prints must not be taken for a message
    channel = Channel(os.dup(0), os.dup(1))
    os.dup2(2, 1)
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    settings = Settings.model_validate((channel.receive() or {})["settings"])
    configure_logs(settings.log_level, settings.log_format)
    Runner(channel, settings, fault).work()


if __name__ == "__main__":
    serve()
    sys.stderr.flush()
    os._exit(0)  # threads of libraries may still run; everything that counts is on disk
