"use strict";

// True if a mark of this objective and seed is shown. What stands for all seeds goes where one of them is switched off.
function shows(mark, objectives, seeds, all) {
  if (mark.objective !== undefined && !objectives.has(mark.objective)) return false;
  if (mark.seed === undefined) return true;
  return mark.seed === "all" ? all : seeds.has(mark.seed);
}

// The point of a polyline that is nearest to x, as [x, y] of the data. plot: left, right, bottom, top of the plot; scale:
// the data there.
function read(points, x, plot, scale) {
  const pairs = points.trim().split(" ").map((pair) => pair.split(",").map(Number));
  const near = pairs.reduce((best, pair) => (Math.abs(pair[0] - x) < Math.abs(best[0] - x) ? pair : best));
  const [left, right, bottom, top] = plot;
  const [x0, x1, y0, y1] = scale;
  return [
    x0 + ((near[0] - left) / (right - left)) * (x1 - x0),
    y0 + ((bottom - near[1]) / (bottom - top)) * (y1 - y0),
  ];
}

function chosen(boxes, filter) {
  return new Set(boxes.filter((box) => box.dataset.filter === filter && box.checked).map((box) => box.value));
}

function filter() {
  const boxes = [...document.querySelectorAll("input[data-filter]")];
  const objectives = chosen(boxes, "objective");
  const seeds = chosen(boxes, "seed");
  const all = boxes.every((box) => box.dataset.filter !== "seed" || box.checked);
  for (const mark of document.querySelectorAll("[data-objective], [data-seed]")) {
    mark.classList.toggle("off", !shows(mark.dataset, objectives, seeds, all));
  }
  document.body.classList.toggle("some-seeds", !all);
}

function tell(event) {
  const svg = event.currentTarget;
  const box = svg.getBoundingClientRect();
  const x = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
  const numbers = (text) => text.split(" ").map(Number);
  const shown = [...svg.querySelectorAll("polyline:not(.off)")].filter((line) => line.getAttribute("points"));
  const means = shown.filter((line) => line.dataset.seed === "all");
  const values = (means.length ? means : shown).map((line) => {
    const [at, value] = read(line.getAttribute("points"), x, numbers(svg.dataset.plot), numbers(svg.dataset.scale));
    const seed = line.dataset.seed === "all" ? "" : ` (${line.dataset.seed})`;
    return { at, text: `${line.dataset.objective}${seed} ${value.toPrecision(3)}` };
  });
  if (!values.length) return;
  const at = svg.dataset.doubling ? Math.round(2 ** values[0].at) : Math.round(values[0].at);
  const said = `${svg.dataset.x} ${at}: ${values.map((value) => value.text).join(", ")}`;
  svg.parentElement.querySelector("output").textContent = said;
}

for (const box of document.querySelectorAll("input[data-filter]")) box.addEventListener("change", filter);
for (const svg of document.querySelectorAll("svg.chart")) svg.addEventListener("pointermove", tell);
for (const svg of document.querySelectorAll("svg.chart")) svg.addEventListener("pointerdown", tell);
filter();
