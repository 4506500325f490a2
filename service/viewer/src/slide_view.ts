/** Slide and heatmap on one frame, in OpenSeadragon. */

import OpenSeadragon from "openseadragon";

import type { Look, View } from "./permalink";
import { styleQuery, tileSource, type Pyramid } from "./pyramids";

/** So long the old colours stay while tiles of the new ones come. */
const SWAP_LIMIT_MS = 5000;
const OWN_KEYS = ["KeyR", "KeyF", "KeyJ", "KeyK"]; // turn, flip and change the image otherwise

export interface Layers {
  slide: { pyramid: Pyramid; folder: string } | null; // null: the slide is gone
  heatmap: { pyramid: Pyramid; folder: string };
}

export interface SlideViewEvents {
  onPointer: (x0: number, y0: number) => void;
  onLeave: () => void;
  onMove: (view: View, byKeyboard: boolean) => void;
  onLoaded: (loaded: boolean) => void;
}

export class SlideView {
  private readonly viewer: OpenSeadragon.Viewer;
  private layers: Layers | null = null;
  private heatmap: OpenSeadragon.TiledImage | null = null;
  private opacity = 1;
  private swap = 0; // counts the changes of style: only the last one is shown
  private byKeyboard = false;
  private wanted: View | "all" | null = null; // kept when the window changes; null: the user moved
  private resized = false;
  private frameRequest = 0;

  constructor(
    element: HTMLElement,
    private readonly headers: () => Record<string, string>,
    private readonly events: SlideViewEvents,
  ) {
    keepStylesOut();
    this.viewer = OpenSeadragon(viewerOptions(element));
    this.viewer.canvas.setAttribute("role", "application");
    this.viewer.canvas.setAttribute(
      "aria-label",
      "Slide. Arrow keys move it, plus and minus zoom, 0 shows all of it.",
    );
    this.listen();
  }

  /** Puts both layers on the frame of level 0 and goes to `view`, or shows all. */
  open(layers: Layers, look: Look, view: View | null): void {
    this.close();
    this.layers = layers;
    this.opacity = look.shown ? look.opacity : 0;
    this.viewer.setAjaxHeaders(this.headers());
    const { slide } = layers;
    if (slide) this.add(tileSource(slide.pyramid, slide.folder, ""), 1, () => undefined);
    this.add(this.heatmapSource(look), this.opacity, (item) => (this.heatmap = item));
    this.wanted = view ?? "all";
    this.whenPlaced(() => this.moveToWanted());
  }

  close(): void {
    this.swap += 1;
    this.layers = null;
    this.heatmap = null;
    this.viewer.world.removeAll();
  }

  /** New colours: the old ones stay until the new are there. */
  restyle(look: Look): void {
    if (!this.layers || !this.heatmap) return;
    const turn = ++this.swap;
    this.add(this.heatmapSource(look), 0, (item) => {
      item.setPreload(this.opacity > 0);
      const show = (): void => this.replace(item, turn);
      setTimeout(show, SWAP_LIMIT_MS);
      if (this.opacity > 0) item.whenFullyLoaded(show);
      else show();
    });
  }

  setOpacity(opacity: number): void {
    this.opacity = opacity;
    this.heatmap?.setOpacity(opacity);
    this.changed();
  }

  get view(): View | null {
    const item = this.frame;
    if (!item) return null;
    const { viewport } = this.viewer;
    const centre = item.viewportToImageCoordinates(viewport.getCenter(true), true);
    return { x0: centre.x, y0: centre.y, zoom: item.viewportToImageZoom(viewport.getZoom(true)) };
  }

  private moveToWanted(): void {
    const item = this.frame;
    const { viewport } = this.viewer;
    const view = this.wanted;
    if (!item || !view) return;
    if (view === "all") return void viewport.goHome(true);
    viewport.zoomTo(item.imageToViewportZoom(view.zoom), undefined, true);
    viewport.panTo(item.imageToViewportCoordinates(view.x0, view.y0), true);
  }

  zoomBy(factor: number): void {
    this.wanted = null;
    this.viewer.viewport.zoomBy(factor).applyConstraints();
  }

  home(): void {
    this.wanted = "all";
    this.viewer.viewport.goHome();
  }

  /** A new key: tiles that were refused are asked for again. */
  renewHeaders(): void {
    this.viewer.setAjaxHeaders(this.headers(), true);
    this.viewer.world.resetItems();
  }

  private get frame(): OpenSeadragon.TiledImage | null {
    return this.viewer.world.getItemCount() ? this.viewer.world.getItemAt(0) : null;
  }

  private heatmapSource(look: Look): OpenSeadragon.TileSource {
    const { pyramid, folder } = this.layers!.heatmap;
    return tileSource(pyramid, folder, styleQuery(look));
  }

  private add(
    source: OpenSeadragon.TileSource,
    opacity: number,
    onAdded: (item: OpenSeadragon.TiledImage) => void,
  ): void {
    const layers = this.layers;
    const success = (event: Event): void => {
      const { item } = event as unknown as { item: OpenSeadragon.TiledImage };
      if (this.layers === layers) onAdded(item);
      else this.viewer.world.removeItem(item);
    };
    this.viewer.addTiledImage({ tileSource: source, x: 0, y: 0, width: 1, opacity, success });
  }

  private replace(item: OpenSeadragon.TiledImage, turn: number): void {
    if (item === this.heatmap || this.viewer.world.getIndexOfItem(item) < 0) return;
    if (turn === this.swap) {
      const old = this.heatmap;
      this.heatmap = item;
      item.setOpacity(this.opacity);
      item.setPreload(false);
      if (old) this.viewer.world.removeItem(old);
    } else this.viewer.world.removeItem(item);
  }

  /** After all layers of `open` are in the world. */
  private whenPlaced(act: () => void): void {
    const layers = this.layers;
    const expected = layers?.slide ? 2 : 1;
    const placed = (): void => {
      if (this.layers === layers && this.viewer.world.getItemCount() < expected) return;
      this.viewer.world.removeHandler("add-item", placed);
      if (this.layers === layers) setTimeout(act); // addTiledImage goes home after this event
    };
    this.viewer.world.addHandler("add-item", placed);
  }

  private listen(): void {
    const { viewer, events } = this;
    const point = (position: OpenSeadragon.Point): OpenSeadragon.Point | undefined =>
      this.frame?.viewerElementToImageCoordinates(position);
    const probe = (position: OpenSeadragon.Point): void => {
      const at = point(position);
      if (at) events.onPointer(at.x, at.y);
    };
    viewer.addHandler("canvas-click", (event) => event.quick && probe(event.position));
    viewer.addHandler("canvas-key", (event) => {
      this.takenOver(true);
      event.preventDefaultAction ||= OWN_KEYS.includes((event.originalEvent as KeyboardEvent).code);
    });
    viewer.addHandler("canvas-press", () => this.takenOver(false));
    viewer.addHandler("canvas-scroll", () => this.takenOver(false));
    viewer.canvas.addEventListener("pointermove", (event) => {
      const box = viewer.canvas.getBoundingClientRect();
      probe(new OpenSeadragon.Point(event.clientX - box.left, event.clientY - box.top));
    });
    viewer.canvas.addEventListener("pointerleave", events.onLeave);
    viewer.addHandler("viewport-change", () => this.moved());
    viewer.addHandler("resize", () => (this.resized = true));
    viewer.world.addHandler("add-item", ({ item }) => {
      item.addHandler("fully-loaded-change", () => this.changed());
      this.changed();
    });
    viewer.world.addHandler("remove-item", () => this.changed());
  }

  private takenOver(byKeyboard: boolean): void {
    this.byKeyboard = byKeyboard;
    this.wanted = null;
  }

  private moved(): void {
    if (this.resized) {
      this.resized = false;
      this.moveToWanted();
    }
    this.changed();
    const view = this.view;
    if (view) this.events.onMove(view, this.byKeyboard);
  }

  /** OpenSeadragon knows one frame later what there is to load, and draws in the next one. */
  private changed(): void {
    this.events.onLoaded(false);
    cancelAnimationFrame(this.frameRequest);
    this.frameRequest = requestAnimationFrame(() => {
      this.frameRequest = requestAnimationFrame(() => this.events.onLoaded(this.isLoaded));
    });
  }

  private get isLoaded(): boolean {
    const { world } = this.viewer;
    const items = Array.from({ length: world.getItemCount() }, (_, index) => world.getItemAt(index));
    const swapping = items.length > (this.layers?.slide ? 2 : 1);
    const settled = items.every((item) => item.getOpacity() === 0 || item.getFullyLoaded());
    return items.length > 0 && settled && !swapping;
  }
}

/** OpenSeadragon adds a style element unless it finds one, which the page's policy forbids, and
 * which takes the keyboard's focus from sight on touch devices. Of no namespace it is no style. */
function keepStylesOut(): void {
  const placeholder = document.createElementNS("", "style");
  placeholder.setAttribute("data-openseadragon-mobile-css", "none");
  document.head.append(placeholder);
}

function viewerOptions(element: HTMLElement): OpenSeadragon.Options {
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const gestures = { clickToZoom: false, dblClickToZoom: true };
  return {
    element,
    drawer: "canvas", // OpenSeadragon 6 draws tiles that are partly transparent too bright by WebGL
    showNavigationControl: false,
    showNavigator: false,
    loadTilesWithAjax: true, // an <img> can send no key
    preserveViewport: true,
    preserveImageSizeOnResize: true,
    animationTime: calm ? 0 : 0.5,
    minZoomImageRatio: 0.8,
    maxZoomPixelRatio: 4,
    visibilityRatio: 0.2,
    imageLoaderLimit: 6,
    maxTilesPerFrame: 6,
    maxImageCacheCount: 600,
    timeout: 120_000, // a cold slide takes its time
    tileRetryMax: 2,
    gestureSettingsMouse: gestures,
    gestureSettingsPen: gestures,
    silenceMultiImageWarnings: true,
  };
}
