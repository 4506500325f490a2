/** Deep Zoom pyramids of the API as tile sources of OpenSeadragon. */

import OpenSeadragon from "openseadragon";

import type { Look } from "./permalink";

export interface Pyramid {
  width: number; // level-0 px
  height: number;
  tile_px: number;
  overlap_px: number;
  format: string;
}

/** Reads a .dzi document. Throws where it is none. */
export function pyramidFromXml(xml: string): Pyramid {
  const root = new DOMParser().parseFromString(xml, "text/xml").documentElement;
  const size = root.getElementsByTagNameNS("*", "Size")[0];
  const number = (element: Element | undefined, name: string): number =>
    Number(element?.getAttribute(name) ?? NaN);
  const pyramid = {
    width: number(size, "Width"),
    height: number(size, "Height"),
    tile_px: number(root, "TileSize"),
    overlap_px: number(root, "Overlap"),
    format: root.getAttribute("Format") ?? "",
  };
  if (!(pyramid.width > 0 && pyramid.height > 0 && pyramid.tile_px > 0)) {
    throw new Error("The pyramid's description makes no sense.");
  }
  return pyramid;
}

/** Tiles below `folder`; `query` is added to each address. */
export function tileSource(pyramid: Pyramid, folder: string, query: string): OpenSeadragon.TileSource {
  const source = new OpenSeadragon.DziTileSource({
    width: pyramid.width,
    height: pyramid.height,
    tileSize: pyramid.tile_px,
    tileOverlap: pyramid.overlap_px,
    tilesUrl: folder,
    fileFormat: pyramid.format,
  });
  const suffix = query ? `.${pyramid.format}?${query}` : `.${pyramid.format}`;
  source.getTileUrl = (level, x, y) => `${folder}${level}/${x}_${y}${suffix}`;
  return source;
}

/** Low probabilities are thin, or all normal tissue would lie under a veil of the map's first colour. */
const FADE = "0.15";

/** Opacity is the page's own matter: the colours come opaque. */
export function styleQuery(look: Look): string {
  const query = new URLSearchParams({ cmap: look.cmap, alpha: "1", fade: FADE });
  query.set("vmin", String(look.vmin));
  query.set("vmax", String(look.vmax));
  if (look.threshold > 0) query.set("threshold", String(look.threshold));
  if (look.class !== null) query.set("class", look.class);
  return query.toString();
}
