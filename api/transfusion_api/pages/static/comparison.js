// A similarity report: layers against layers as a heat map, or layer by layer as points beside their nulls.
import { ENDED, api, byId, element, number, watch } from "./api.js";
import { draw } from "./charts.js";

const root = byId("comparison");
const PATH = `/v1/comparisons/${encodeURIComponent(root.dataset.id)}`;
const PAUSE = 2000;
const EVERY = "every layer";

const is = (chosen, layer) => chosen === EVERY || chosen === layer;

function heatMap(rows, comparison) {
  return {
    data: { values: rows },
    width: Math.min(640, 34 * comparison.layers_b.length + 40),
    height: Math.min(640, 26 * comparison.layers_a.length + 40),
    mark: "rect",
    encoding: {
      x: { field: "layer_b", type: "nominal", sort: comparison.layers_b, title: "layers of the second", axis: { labelLimit: 120 } },
      y: { field: "layer_a", type: "nominal", sort: comparison.layers_a, title: "layers of the first", axis: { labelLimit: 120 } },
      color: { field: "value", type: "quantitative", scale: { scheme: "viridis" }, title: null },
      tooltip: ["layer_a", "layer_b", "value", "null_iid", "null_permutation", "null_untrained"].map((field) => ({ field, format: field.startsWith("layer") ? undefined : ".3f" })),
    },
  };
}

function besideNulls(rows, layers, field) {
  const kinds = { value: "value", null_iid: "null: iid", null_permutation: "null: permutation", null_untrained: "null: untrained" };
  const points = rows.flatMap((row) => Object.entries(kinds).filter(([kind]) => row[kind] !== null && row[kind] !== undefined).map(([kind, what]) => ({ layer: row[field], what, value: row[kind] })));
  const bars = rows.filter((row) => row.interval).map((row) => ({ layer: row[field], low: row.interval[0], high: row.interval[1] }));
  const x = { field: "layer", type: "nominal", sort: layers, title: null, axis: { labelLimit: 120 } };
  return {
    width: Math.min(760, 70 * layers.length + 60),
    height: 280,
    layer: [
      { data: { values: bars }, mark: "rule", encoding: { x, y: { field: "low", type: "quantitative", title: "similarity" }, y2: { field: "high" } } },
      { data: { values: points }, mark: { type: "point", filled: true, size: 70 }, encoding: { x, y: { field: "value", type: "quantitative" }, color: { field: "what", type: "nominal", title: null, sort: Object.values(kinds) }, shape: { field: "what", type: "nominal", title: null, sort: Object.values(kinds) }, tooltip: [{ field: "layer" }, { field: "what" }, { field: "value", format: ".4f" }] } },
    ],
  };
}

async function show(comparison) {
  const [measure, layer] = [byId("measure").value, byId("layer").value];
  const rows = comparison.results.filter((row) => row.measure === measure && is(layer, row.layer_a));
  const isSquare = comparison.results.some((row) => row.measure === measure && comparison.layers_a.indexOf(row.layer_a) !== comparison.layers_b.indexOf(row.layer_b));
  const spec = layer === EVERY && isSquare ? heatMap(rows, comparison) : besideNulls(rows, layer === EVERY ? comparison.layers_a : comparison.layers_b, layer === EVERY ? "layer_a" : "layer_b");
  await draw(byId("map"), spec);
  byId("numbers").tBodies[0].replaceChildren(...rows.slice(0, 500).map((row) => element("tr", {},
    ...[row.layer_a, row.layer_b].map((text) => element("td", {}, text)),
    element("td", { class: "number" }, number(row.value)),
    element("td", { class: "nowrap" }, row.interval ? `${number(row.interval[0])} to ${number(row.interval[1])}` : ""),
    ...[row.null_iid, row.null_permutation, row.null_untrained].map((value) => element("td", { class: "number" }, number(value))),
    element("td", { class: "number" }, String(row.n)),
    element("td", {}, [row.reason, ...(row.warnings ?? [])].filter(Boolean).join("; ")))));
}

async function look() {
  const comparison = await api(PATH);
  if (!ENDED.has(comparison.state)) return false;
  if (comparison.state !== root.dataset.state) location.reload();
  else if (comparison.state === "succeeded") await fill(comparison);
  return true;
}

async function fill(comparison) {
  byId("measure").replaceChildren(...[...new Set(comparison.results.map((row) => row.measure))].map((name) => element("option", {}, name)));
  byId("layer").replaceChildren(...[EVERY, ...comparison.layers_a].map((name) => element("option", {}, name)));
  for (const id of ["measure", "layer"]) byId(id).addEventListener("change", () => show(comparison));
  await show(comparison);
}

await watch(look, PAUSE);
