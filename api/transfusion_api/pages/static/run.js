// One run as it happens: its curves by metric, its log.
import { ENDED, api, byId, element } from "./api.js";
import { draw } from "./charts.js";

const root = byId("run");
const PATH = `/v1/runs/${encodeURIComponent(root.dataset.id)}`;
const PAUSE = 2000;

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

async function follow() {
  const run = await api(PATH);
  byId("state").textContent = run.state;
  byId("state").className = `state ${run.state}`;
  const { step, steps, phase, images_per_second: speed } = run.progress ?? {};
  byId("step").textContent = [phase, step === undefined ? null : `step ${step} of ${steps}`, speed ? `${Math.round(speed)} images/s` : null].filter(Boolean).join(", ");
  await show();
  if (!ENDED.has(run.state)) setTimeout(follow, PAUSE);
  else if (!ENDED.has(root.dataset.state)) location.reload();
  const pictures = run.metrics?.filter_pictures ?? [];
  if (pictures.length) {
    byId("filters").replaceChildren(...pictures.map((picture) => element("img", { src: picture, alt: "First-layer filters", class: "samples" })));
    byId("filters").closest("section").hidden = false;
  }
}

await follow();
