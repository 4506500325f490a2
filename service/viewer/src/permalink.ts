/** What is looked at, in the address: so that it can be sent to somebody. */

export interface View {
  x0: number; // of the middle of the view, level-0 px
  y0: number;
  zoom: number; // CSS px of the screen per level-0 px
}

export interface Look {
  cmap: string;
  vmin: number;
  vmax: number;
  threshold: number; // 0: everything is shown
  opacity: number;
  shown: boolean;
  class: string | null; // null: the positive one
}

export interface Place {
  result: string | null;
  view: View | null;
  look: Look;
}

export const DEFAULT_LOOK: Readonly<Look> = {
  cmap: "viridis",
  vmin: 0,
  vmax: 1,
  threshold: 0,
  opacity: 0.6,
  shown: true,
  class: null,
};

/** Reads an address' query; what is missing or makes no sense has its default. */
export function placeFromQuery(search: string, cmaps: readonly string[]): Place {
  const query = new URLSearchParams(search);
  return { result: query.get("result"), view: viewFrom(query), look: lookFrom(query, cmaps) };
}

/** The query of an address; names that are not ours are kept, defaults are left out. */
export function queryFromPlace(place: Place, search: string): string {
  const query = new URLSearchParams(search);
  const { view, look } = place;
  const write = (name: string, value: string | null): void =>
    value === null ? query.delete(name) : query.set(name, value);
  const number = (name: keyof Look, value: number): void =>
    write(name, value === DEFAULT_LOOK[name] ? null : compact(value, 4));
  write("result", place.result);
  write("x", view && compact(view.x0, 1));
  write("y", view && compact(view.y0, 1));
  write("zoom", view && String(Number(view.zoom.toPrecision(6))));
  write("cmap", look.cmap === DEFAULT_LOOK.cmap ? null : look.cmap);
  number("vmin", look.vmin);
  number("vmax", look.vmax);
  number("threshold", look.threshold);
  number("opacity", look.opacity);
  write("heatmap", look.shown ? null : "off");
  write("class", look.class);
  const text = query.toString();
  return text ? `?${text}` : "";
}

function viewFrom(query: URLSearchParams): View | null {
  const [x0, y0, zoom] = ["x", "y", "zoom"].map((name) => numberFrom(query, name, -1e7, 1e7));
  if (x0 === undefined || y0 === undefined || zoom === undefined) return null;
  return x0 === null || y0 === null || zoom === null || zoom <= 0 ? null : { x0, y0, zoom };
}

function lookFrom(query: URLSearchParams, cmaps: readonly string[]): Look {
  const fraction = (name: "vmin" | "vmax" | "threshold" | "opacity"): number =>
    numberFrom(query, name, 0, 1) ?? DEFAULT_LOOK[name];
  const [vmin, vmax] = [fraction("vmin"), fraction("vmax")];
  const cmap = query.get("cmap") ?? "";
  return {
    cmap: cmaps.includes(cmap) ? cmap : DEFAULT_LOOK.cmap,
    vmin: vmin < vmax ? vmin : DEFAULT_LOOK.vmin,
    vmax: vmin < vmax ? vmax : DEFAULT_LOOK.vmax,
    threshold: fraction("threshold"),
    opacity: fraction("opacity"),
    shown: query.get("heatmap") !== "off",
    class: query.get("class"),
  };
}

function numberFrom(query: URLSearchParams, name: string, low: number, high: number): number | null {
  const text = query.get(name);
  const value = text ? Number(text) : NaN;
  return value >= low && value <= high ? value : null;
}

function compact(value: number, digits: number): string {
  return String(Number(value.toFixed(digits)));
}
