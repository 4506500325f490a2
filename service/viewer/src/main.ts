/** The page: jobs on one side, the slide with its heatmap in the middle. */

import { ApiError, Api } from "./api";
import { askKey, askResolution, showHelp } from "./dialogs";
import { announce, byId, debounce } from "./dom";
import { Inspector } from "./inspector";
import { Intake } from "./intake";
import { JobList } from "./jobs";
import { JobsView } from "./jobs_view";
import { CMAPS } from "./legend";
import { slideName } from "./names";
import { placeFromQuery, queryFromPlace, type Look, type View } from "./permalink";
import { Probe } from "./probe";
import { pyramidFromXml } from "./pyramids";
import { Scale } from "./scale";
import { Shortcuts } from "./shortcuts";
import { SlideView, type Layers } from "./slide_view";
import { Thumbnails } from "./thumbnails";
import { Toolbar } from "./toolbar";
import { isProblemOf, sentences, type Job, type Result } from "./types";

const NARROW = matchMedia("(max-width: 700px)"); // where the panels stand above each other
const OPACITY_STEP = 0.1;
const RESTYLE_QUIET_MS = 200;
const ADDRESS_QUIET_MS = 250;

const api = new Api(askKey);
const place = placeFromQuery(location.search, CMAPS);
const startedHere = new Set<string>(); // jobs that this tab began
let result: Result | null = null;
let turn = 0; // counts the results asked for: only the last one is shown

const scale = new Scale();
const inspector = new Inspector(byId("inspector"), api, place.look, changeLook);
const probe = new Probe(api, inspector.legend, () => result && { result, className: inspector.className });
const slideView = new SlideView(byId("slide"), () => api.headers, {
  onPointer: (x0, y0) => (byId("crosshair").hidden = true, probe.at(x0, y0, false)),
  onLeave: () => probe.clear(),
  onMove: moved,
  onLoaded: (loaded) => byId("stage").setAttribute("aria-busy", String(!loaded)),
});
const restyle = debounce(() => slideView.restyle(place.look), RESTYLE_QUIET_MS);
const writeAddress = debounce(() => {
  history.replaceState(null, "", location.pathname + queryFromPlace(place, location.search));
}, ADDRESS_QUIET_MS);
const toolbar = new Toolbar({
  zoomIn: () => slideView.zoomBy(1.5),
  zoomOut: () => slideView.zoomBy(1 / 1.5),
  home: () => slideView.home(),
  toggleHeatmap,
  toggleFullScreen,
});
const jobsView = new JobsView(byId("jobs"), byId("no-jobs"), new Thumbnails(api), {
  open: (job) => job.result_id && void openResult(job.result_id, null),
  cancel: (job) => void api.cancel(job.id).then(() => jobs.refreshSoon(), report),
  setResolution: (job) => void tryWithResolution(job),
});
const jobs = new JobList(api, { onList: showJobs, onJob: showJob, onFailure: report });
new Intake(api, (job) => (startedHere.add(job.id), jobs.take(job)));
const shortcuts = new Shortcuts({
  h: toggleHeatmap,
  f: toggleFullScreen,
  "[": () => changeOpacity(-OPACITY_STEP),
  "]": () => changeOpacity(OPACITY_STEP),
  "+": () => slideView.zoomBy(1.5),
  "-": () => slideView.zoomBy(1 / 1.5),
  "0": () => slideView.home(),
  "?": () => showHelp(shortcuts),
});
byId("help").addEventListener("click", () => showHelp(shortcuts));
api.onKey = () => (slideView.renewHeaders(), jobs.refreshSoon());
void jobs.watch();
if (place.result) void openResult(place.result, place.view);

async function openResult(id: string, view: View | null): Promise<void> {
  const own = ++turn;
  closeResult("Opening…");
  try {
    const opened = await api.result(id);
    const layers = await layersOf(opened);
    if (own === turn) showResult(opened, layers, view);
  } catch (error) {
    if (own === turn) closeResult(reasonText(error));
  }
}

function showResult(opened: Result, layers: Layers, view: View | null): void {
  result = opened;
  place.result = opened.id;
  place.view = view;
  if (place.look.class !== null && !opened.classes.includes(place.look.class)) place.look.class = null;
  byId("empty").hidden = true;
  toolbar.show(true);
  toolbar.press(place.look.shown);
  inspector.show(opened, place.look);
  slideView.open(layers, place.look, view);
  jobsView.mark(opened.job_id);
  if (NARROW.matches) byId<HTMLDetailsElement>("panel").open = false;
  document.title = `${slideName(opened.slide_id)} – Heatmap viewer`;
  if (!layers.slide) announce("The slide itself is gone; its heatmap is shown alone.");
  writeAddress();
}

function closeResult(text: string): void {
  result = null;
  jobsView.mark(null);
  slideView.close();
  probe.clear();
  inspector.hide();
  toolbar.show(false);
  scale.draw(null, 0);
  byId("empty").textContent = text;
  byId("empty").hidden = false;
}

/** Both pyramids have level 0 of the slide as their frame. */
async function layersOf(opened: Result): Promise<Layers> {
  const heatmap = `/v1/results/${encodeURIComponent(opened.id)}/heatmap`;
  const slide = `/v1/slides/${encodeURIComponent(opened.slide_id)}/slide`;
  const [heatmapXml, slideXml] = await Promise.all([
    api.text(`${heatmap}.dzi`),
    api.text(`${slide}.dzi`).catch((error: unknown) => {
      if (error instanceof ApiError && [404, 410].includes(error.problem.status ?? 0)) return null;
      throw error;
    }),
  ]);
  return {
    heatmap: { pyramid: pyramidFromXml(heatmapXml), folder: `${heatmap}_files/` },
    slide: slideXml === null ? null : { pyramid: pyramidFromXml(slideXml), folder: `${slide}_files/` },
  };
}

function changeLook(look: Look): void {
  const before = place.look;
  place.look = look;
  const colours = (["cmap", "vmin", "vmax", "threshold", "class"] as const).some((name) => before[name] !== look[name]);
  slideView.setOpacity(look.shown ? look.opacity : 0);
  toolbar.press(look.shown);
  if (colours) restyle();
  if (before.class !== look.class) probe.clear();
  if (result) writeAddress();
}

function changeOpacity(change: number): void {
  const opacity = Math.min(1, Math.max(0, Number((place.look.opacity + change).toFixed(2))));
  inspector.change({ opacity, shown: true });
}

function toggleHeatmap(): void {
  inspector.change({ shown: !place.look.shown });
}

function toggleFullScreen(): void {
  if (document.fullscreenElement) void document.exitFullscreen();
  else void document.querySelector("main")?.requestFullscreen().catch(() => undefined);
}

function moved(view: View, byKeyboard: boolean): void {
  place.view = view;
  scale.draw(result?.slide.mpp?.[0] ?? null, view.zoom);
  byId("crosshair").hidden = !byKeyboard;
  if (byKeyboard) probe.at(view.x0, view.y0, true);
  writeAddress();
}

function showJobs(all: Job[]): void {
  byId("offline").hidden = true;
  jobsView.show(all);
}

function showJob(job: Job, before: Job | undefined): void {
  jobsView.update(job);
  if (before?.state === job.state) return;
  const name = slideName(job.slide_id);
  announce(`${name}: ${job.state}`);
  if (!startedHere.has(job.id)) return;
  if (job.state === "succeeded" && job.result_id && !result) void openResult(job.result_id, null);
  if (job.state === "failed" && isProblemOf(job.error, "no-mpp")) void tryWithResolution(job);
}

async function tryWithResolution(job: Job): Promise<void> {
  const slide_mpp = await askResolution(slideName(job.slide_id));
  if (slide_mpp === null) return;
  try {
    const next = await api.startJob(job.slide_id, slide_mpp);
    startedHere.add(next.id);
    jobs.take(next);
  } catch (error) {
    report(error);
  }
}

function report(error: unknown): void {
  byId("offline").textContent = reasonText(error);
  byId("offline").hidden = false;
}

function reasonText(error: unknown): string {
  if (error instanceof ApiError) {
    const { title, detail } = sentences(error.problem);
    return `${title} ${detail}`.trim();
  }
  if (error instanceof TypeError) return "The service does not answer. This page keeps trying.";
  return error instanceof Error ? error.message : String(error);
}
