// Vega-Lite drawn in the page. `ast`: expressions are interpreted, so that the policy needs no eval.

const OPTIONS = { ast: true, renderer: "svg", logLevel: 1, actions: { export: true, source: false, compiled: false, editor: false } };
const LOOK = { $schema: "https://vega.github.io/schema/vega-lite/v6.json", background: "white" };

export async function draw(place, spec) {
  if (!window.vegaEmbed) await new Promise((ready) => addEventListener("load", ready, { once: true }));
  await window.vegaEmbed(place, { ...LOOK, ...spec }, OPTIONS);
  document.documentElement.dataset.drawn = "yes";
}

// Lines over steps: points {step, value, line}.
export function curves(place, points, title) {
  return draw(place, {
    width: Math.max(220, Math.min(620, place.parentElement.clientWidth - 190)),
    height: 240,
    data: { values: points },
    mark: { type: "line", point: true },
    encoding: {
      x: { field: "step", type: "quantitative", title: "step" },
      y: { field: "value", type: "quantitative", title, scale: { zero: false } },
      color: { field: "line", type: "nominal", title: null, legend: { orient: "right", labelLimit: 150 } },
      tooltip: [{ field: "line" }, { field: "step" }, { field: "value", format: ".4g" }],
    },
  });
}
