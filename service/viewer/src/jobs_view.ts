/** One list item a job, changed in place so that the focus stays where it is. */

import { button, make } from "./dom";
import { slideName } from "./names";
import type { Thumbnails } from "./thumbnails";
import { isFinal, isProblemOf, sentences, type Job, type Problem } from "./types";
import { durationText, wholeText } from "./units";

export interface JobActions {
  open: (job: Job) => void;
  cancel: (job: Job) => void;
  setResolution: (job: Job) => void;
}

interface Item {
  root: HTMLLIElement;
  body: HTMLElement;
  state: string; // what its buttons and texts were made for
}

export class JobsView {
  private readonly items = new Map<string, Item>();
  private current: string | null = null;

  constructor(
    private readonly list: HTMLElement,
    private readonly empty: HTMLElement,
    private readonly thumbnails: Thumbnails,
    private readonly actions: JobActions,
  ) {}

  show(jobs: Job[]): void {
    const kept = new Set(jobs.map((job) => job.id));
    for (const [id, item] of this.items) if (!kept.has(id)) (item.root.remove(), this.items.delete(id));
    jobs.forEach((job, index) => {
      const { root } = this.update(job);
      if (this.list.children[index] !== root) this.list.insertBefore(root, this.list.children[index] ?? null);
    });
    this.empty.hidden = jobs.length > 0;
  }

  update(job: Job): Item {
    const item = this.items.get(job.id) ?? this.create(job);
    const state = [job.state, job.result_id, job.error?.type].join();
    if (item.state !== state) {
      const focused = item.root.contains(document.activeElement);
      item.state = state;
      item.root.dataset["state"] = job.state;
      item.body.replaceChildren(...this.parts(job));
      if (focused) item.root.querySelector("button")?.focus();
    }
    showProgress(item.body, job);
    return item;
  }

  /** Marks the job whose result is on the stage. */
  mark(jobId: string | null): void {
    this.current = jobId;
    for (const [id, { root }] of this.items) {
      setCurrent(root, id === this.current);
    }
  }

  private create(job: Job): Item {
    const body = make("div", { class: "job-body" });
    const root = make("li", { class: "job" }, this.thumbnails.frame(job.slide_id), body);
    setCurrent(root, job.id === this.current);
    const item = { root, body, state: "" };
    this.items.set(job.id, item);
    return item;
  }

  private parts(job: Job): (Node | string)[] {
    const name = slideName(job.slide_id);
    const actions = make("div", { class: "row" }, ...this.buttons(job, name));
    const head = make("div", { class: "job-head" },
      make("span", { class: "job-name" }, name),
      make("span", { class: "chip" }, job.cached ? "done before" : stateText(job.state)));
    const made = make("time", { class: "muted", datetime: job.created_at }, timeText(job.created_at));
    const live = [
      make("p", { class: "job-stage" }),
      make("progress", { max: 1, "aria-label": `Progress of ${name}` }),
    ];
    return [head, made, ...(isFinal(job) ? [] : live), ...reason(job.error), actions];
  }

  private buttons(job: Job, name: string): HTMLButtonElement[] {
    const made: HTMLButtonElement[] = [];
    const add = (text: string, act: (job: Job) => void): void => {
      made.push(button(text, () => act(job), { "aria-label": `${text}: ${name}` }));
    };
    if (job.result_id && job.state === "succeeded") add("Open", this.actions.open);
    if (!isFinal(job)) add("Cancel", this.actions.cancel);
    if (isProblemOf(job.error, "no-mpp")) add("Set resolution…", this.actions.setResolution);
    return made;
  }
}

/** The title and the detail of a problem, as text. */
export function reason(problem: Problem | null): HTMLElement[] {
  if (!problem) return [];
  const { title, detail } = sentences(problem);
  if (isProblemOf(problem, "no-mpp")) return [make("p", { class: "reason" }, title)]; // a button helps
  return [make("p", { class: "reason" }, make("strong", {}, title), detail && ` ${detail}`)];
}

function setCurrent(item: HTMLElement, current: boolean): void {
  if (current) item.setAttribute("aria-current", "true");
  else item.removeAttribute("aria-current");
}

function showProgress(body: HTMLElement, job: Job): void {
  const stage = body.querySelector(".job-stage");
  const bar = body.querySelector("progress");
  if (!stage || !bar) return;
  stage.textContent = stageText(job);
  if (job.total && job.done !== null) bar.value = job.done / job.total;
  else bar.removeAttribute("value");
}

function stageText(job: Job): string {
  const parts: string[] = [];
  if (job.stage) parts.push(job.stage);
  if (job.total) parts.push(`${wholeText(job.done ?? 0)} of ${wholeText(job.total)}`);
  if (job.state === "queued" && job.queue_position) parts.push(`place ${job.queue_position} in the queue`);
  if (job.eta_s !== null && job.eta_s !== undefined) parts.push(`about ${durationText(job.eta_s)} left`);
  return parts.join(" · ") || "waiting";
}

function stateText(state: string): string {
  return state === "succeeded" ? "done" : state;
}

function timeText(time: string): string {
  const date = new Date(time);
  return Number.isNaN(date.getTime())
    ? time
    : date.toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" });
}
