/** The buttons over the slide. */

import { button, byId, icon } from "./dom";

export interface ToolbarActions {
  zoomIn: () => void;
  zoomOut: () => void;
  home: () => void;
  toggleHeatmap: () => void;
  toggleFullScreen: () => void;
}

const ICONS = {
  zoomIn: "M12 5v14M5 12h14",
  zoomOut: "M5 12h14",
  home: "M4 11.5 12 4l8 7.5M6.5 9.5V20h11V9.5",
  heatmap: "M4 4h7v7H4zM13 4h7v7h-7zM4 13h7v7H4zM13 13h7v7h-7z",
  fullScreen: "M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5",
};

export class Toolbar {
  private readonly root = byId("toolbar");
  private readonly heatmap: HTMLButtonElement;

  constructor(actions: ToolbarActions) {
    this.heatmap = tool("Heatmap on or off (h)", ICONS.heatmap, actions.toggleHeatmap, "h");
    const fullScreen = tool("Full screen (f)", ICONS.fullScreen, actions.toggleFullScreen, "f");
    fullScreen.hidden = !document.fullscreenEnabled;
    this.root.append(
      tool("Zoom in (+)", ICONS.zoomIn, actions.zoomIn, "+"),
      tool("Zoom out (−)", ICONS.zoomOut, actions.zoomOut, "-"),
      tool("Show all (0)", ICONS.home, actions.home, "0"),
      this.heatmap,
      fullScreen,
    );
  }

  show(shown: boolean): void {
    this.root.hidden = !shown;
  }

  press(heatmapShown: boolean): void {
    this.heatmap.setAttribute("aria-pressed", String(heatmapShown));
  }
}

function tool(label: string, path: string, act: () => void, keys: string): HTMLButtonElement {
  const made = button("", act, { "aria-label": label, title: label, "aria-keyshortcuts": keys });
  made.append(icon(path));
  return made;
}
