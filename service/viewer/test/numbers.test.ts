import assert from "node:assert/strict";
import { test } from "node:test";

import { DEFAULT_LOOK, placeFromQuery, queryFromPlace } from "../src/permalink";
import { areaAbove } from "../src/statistics";
import { areaText, bytesText, durationText, lengthText, scaleLength } from "../src/units";

const CMAPS = ["viridis", "magma"];
const plain = (text: string): string => text.replace("\u202f", " ");

test("the area above a threshold is the sum of its steps", () => {
  const tissue_mm2 = Array.from({ length: 200 }, () => 0);
  tissue_mm2[83] = 1;
  tissue_mm2[84] = 2;
  tissue_mm2[199] = 4;
  const histogram = { bins: 200, tissue_mm2 };
  assert.equal(areaAbove(histogram, 0), 7);
  assert.equal(areaAbove(histogram, 0.42), 6);
  assert.equal(areaAbove(histogram, 0.425), 4);
  assert.equal(areaAbove(histogram, 1), 0);
});

test("every step of the slider is a step of the histogram", () => {
  const histogram = { bins: 200, tissue_mm2: Array.from({ length: 200 }, () => 1) };
  for (let step = 0; step <= 200; step++) {
    assert.equal(areaAbove(histogram, Number((step / 200).toFixed(3))), 200 - step);
  }
});

test("a scale bar is 1, 2 or 5 of a power of ten, and as long as fits", () => {
  assert.equal(scaleLength(0.5, 140), 50);
  assert.equal(scaleLength(1, 140), 100);
  assert.equal(scaleLength(1, 200), 200);
  assert.equal(scaleLength(10, 140), 1000);
});

test("numbers come with their units", () => {
  assert.equal(plain(lengthText(200)), "200 µm");
  assert.equal(plain(lengthText(1500)), "1.5 mm");
  assert.equal(plain(bytesText(999)), "999 B");
  assert.equal(plain(bytesText(1_234_567)), "1.23 MB");
  assert.equal(plain(areaText(0.147)), "0.15 mm²");
  assert.equal(plain(areaText(12.34)), "12.3 mm²");
  assert.equal(plain(durationText(0.2)), "1 s");
  assert.equal(plain(durationText(90)), "2 min");
});

test("a place survives its address", () => {
  const query = "?result=res_1&x=10.5&y=20&zoom=0.25&cmap=magma&threshold=0.42&opacity=0.3&heatmap=off&class=idc";
  assert.equal(queryFromPlace(placeFromQuery(query, CMAPS), ""), query);
});

test("what is as usual is not in the address, what is not ours stays", () => {
  const place = { result: "r", view: null, look: { ...DEFAULT_LOOK } };
  assert.equal(queryFromPlace(place, "?theme=x&cmap=magma"), "?theme=x&result=r");
});

test("nonsense in an address is left out", () => {
  const query = "?x=1&y=2&zoom=-1&cmap=no&threshold=7&opacity=abc&vmin=0.9&vmax=0.1";
  assert.deepEqual(placeFromQuery(query, CMAPS), { result: null, view: null, look: DEFAULT_LOOK });
});
