// One run as it happens: its curves by metric, its log.
import { ENDED, api, byId, element, number, watch } from "./api.js";
import { draw } from "./charts.js";

const root = byId("run");
const PATH = `/v1/runs/${encodeURIComponent(root.dataset.id)}`;
const PAUSE = 2000;
const WHEN = { init: "before training", final: "after training" };

async function show() {
  const [{ series }, { lines }] = await Promise.all([api(`${PATH}/metrics`), api(`${PATH}/log`)]);
  byId("log").textContent = lines.slice(-400).join("\n") || "Nothing yet.";
  const points = series.flatMap((one) => one.steps.map((step, place) => ({ step, value: one.values[place], metric: one.name, split: one.split })));
  byId("no-curves").hidden = points.length > 0;
  if (!points.length) return;
  await draw(byId("curves"), {
    data: { values: points },
    facet: { field: "metric", type: "nominal", title: null },
    columns: root.clientWidth > 700 ? 2 : 1,
    resolve: { scale: { y: "independent" } },
    spec: {
      width: Math.min(420, root.clientWidth - 130),
      height: 180,
      mark: { type: "line", point: true },
      encoding: {
        x: { field: "step", type: "quantitative" },
        y: { field: "value", type: "quantitative", title: null, scale: { zero: false } },
        color: { field: "split", type: "nominal", title: null },
        tooltip: [{ field: "split" }, { field: "step" }, { field: "value", format: ".4g" }],
      },
    },
  });
}

// Filters as they were drawn and as they became, and how far from themselves that is.
async function showFilters() {
  const { filters, reason } = await api(`${PATH}/filters`);
  if (!filters) return byId("filters").replaceChildren(element("p", { class: "soft" }, `None: ${reason}.`));
  const [count, , height, width] = filters.shape;
  const told = `${count} filters of ${height} × ${width} in ${filters.layer}`;
  const known = filters.correlations.filter((one) => one !== null);
  const mean = known.reduce((sum, one) => sum + one, 0) / known.length;
  const moved = known.length ? ` Their correlation with themselves before training is ${number(mean, 3)} in the mean, ${number(Math.min(...known), 3)} at the least.` : "";
  byId("filters").replaceChildren(element("p", {}, `${told}.${moved}`), element("div", { class: "row start" }, ...filters.pictures.map(({ checkpoint, picture }) =>
    element("figure", {}, element("img", { src: picture, alt: `${told}, ${WHEN[checkpoint] ?? checkpoint}`, class: "samples" }), element("figcaption", {}, WHEN[checkpoint] ?? checkpoint)))));
}

async function look() {
  const run = await api(PATH);
  byId("state").textContent = run.state;
  byId("state").className = `state ${run.state}`;
  const { step, steps, phase, images_per_second: speed } = run.progress ?? {};
  byId("step").textContent = [phase, step === undefined ? null : `step ${step} of ${steps}`, speed ? `${Math.round(speed)} images/s` : null].filter(Boolean).join(", ");
  await show();
  if (!ENDED.has(run.state)) return false;
  if (ENDED.has(root.dataset.state)) await showFilters();
  else location.reload();
  return true;
}

await watch(look, PAUSE);
