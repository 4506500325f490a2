/** Files from the user: dropped or picked, sent one after the other, a job for each. */

import { ApiError, type Api } from "./api";
import { announce, button, byId, make } from "./dom";
import { reason } from "./jobs_view";
import { rememberName } from "./names";
import type { Job } from "./types";
import { bytesText, percentText } from "./units";

export class Intake {
  private line: Promise<void> = Promise.resolve();

  constructor(
    private readonly api: Api,
    private readonly onJob: (job: Job) => void,
  ) {
    this.listenToButton();
    this.listenToDrops();
  }

  add(files: Iterable<File>): void {
    for (const file of files) {
      const row = new UploadRow(file, () => this.add([file]));
      this.line = this.line.then(() => this.process(file, row));
    }
  }

  private async process(file: File, row: UploadRow): Promise<void> {
    if (row.stop.signal.aborted) return;
    try {
      const job = await this.start(file, row);
      row.remove();
      announce(`${file.name}: uploaded, job started`);
      this.onJob(job);
    } catch (error) {
      row.fail(error);
    }
  }

  private async start(file: File, row: UploadRow): Promise<Job> {
    const slide = await this.api.upload({ file, onProgress: row.progress, signal: row.stop.signal });
    rememberName(slide.id, file.name);
    return this.api.startJob(slide.id, null); // where the resolution is missing, the job says so
  }

  private listenToButton(): void {
    const input = byId<HTMLInputElement>("file");
    byId("pick").addEventListener("click", () => input.click());
    input.addEventListener("change", () => {
      this.add([...(input.files ?? [])]);
      input.value = ""; // the same file again is a change
    });
  }

  private listenToDrops(): void {
    const veil = byId("drop");
    let depth = 0; // of elements entered and not left
    const holdsFiles = (event: DragEvent): boolean => event.dataTransfer?.types.includes("Files") ?? false;
    const listen = (name: "dragenter" | "dragover" | "dragleave" | "drop", change: number): void =>
      window.addEventListener(name, (event) => {
        if (!holdsFiles(event)) return;
        event.preventDefault();
        depth = name === "drop" ? 0 : Math.max(0, depth + change);
        veil.hidden = depth === 0;
        if (name === "drop") this.add([...(event.dataTransfer?.files ?? [])]);
      });
    listen("dragenter", 1);
    listen("dragover", 0);
    listen("dragleave", -1);
    listen("drop", 0);
  }
}

/** A file on its way. */
class UploadRow {
  readonly stop = new AbortController();
  private readonly bar = make("progress", { max: 1, value: 0 });
  private readonly text = make("p", { class: "job-stage" }, "waiting for its turn");
  private readonly actions = make("div", { class: "row" });
  private readonly chip = make("span", { class: "chip" }, "uploading");
  private readonly body = make("div", { class: "job-body" });
  private readonly root = make("li", { class: "job", "data-state": "uploading" }, this.body);

  constructor(file: File, private readonly again: () => void) {
    this.bar.setAttribute("aria-label", `Upload of ${file.name}`);
    this.actions.append(button("Cancel", () => this.cancel(), { "aria-label": `Cancel: ${file.name}` }));
    const head = make("div", { class: "job-head" }, make("span", { class: "job-name" }, file.name), this.chip);
    this.body.append(head, this.text, this.bar, this.actions);
    byId("uploads").append(this.root);
  }

  readonly progress = (sent: number, total: number): void => {
    this.bar.value = total ? sent / total : 0;
    this.text.textContent = sent < total
      ? `${percentText(sent / total)} of ${bytesText(total)}`
      : `${bytesText(total)} sent, the service looks at them`;
  };

  remove(): void {
    this.root.remove();
  }

  fail(error: unknown): void {
    if (this.stop.signal.aborted) return this.remove();
    const problem = error instanceof ApiError
      ? error.problem
      : { type: "about:blank", title: "The upload failed.", detail: error instanceof Error ? error.message : "" };
    this.root.dataset["state"] = "failed";
    this.chip.textContent = "failed";
    this.actions.replaceChildren(
      button("Try again", () => (this.remove(), this.again())),
      button("Dismiss", () => this.remove()),
    );
    this.text.remove();
    this.bar.replaceWith(...reason(problem));
    announce(problem.title);
  }

  private cancel(): void {
    this.stop.abort();
    this.remove();
  }
}
