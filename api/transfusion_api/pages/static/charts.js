// Vega-Lite drawn in the page. `ast`: expressions are interpreted, so that the policy needs no eval.

const OPTIONS = { ast: true, renderer: "svg", logLevel: 1, actions: { export: true, source: false, compiled: false, editor: false } };
const NARROW = 460;
const SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json";

// The page's own colours. Charts of a report, which say what they are of, have theirs, on white.
function look() {
  const style = getComputedStyle(document.documentElement);
  const [text, soft, line] = ["--text", "--soft", "--line"].map((name) => style.getPropertyValue(name).trim());
  const words = { labelColor: text, titleColor: text };
  return {
    $schema: SCHEMA,
    background: "transparent",
    config: { axis: { ...words, gridColor: line, domainColor: soft, tickColor: soft }, legend: words, header: words, title: { color: text }, rule: { color: text }, view: { stroke: line } },
  };
}

// Large, and first needed when the page is there: it would take a fifth of a second before the rest.
let loading = null;
function vega() {
  loading ??= new Promise((ready, failed) => {
    const script = Object.assign(document.createElement("script"), { src: document.querySelector("meta[name=vega]").content, onload: ready, onerror: failed });
    document.head.append(script);
  });
  return loading;
}

export async function draw(place, spec) {
  place.classList.toggle("paper", Boolean(spec.$schema));
  await vega();
  await window.vegaEmbed(place, spec.$schema ? spec : { ...look(), ...spec }, OPTIONS);
  place.querySelector("summary")?.setAttribute("aria-label", "Save this chart");
  document.documentElement.dataset.drawn = "yes";
}

// Lines over steps: points {step, value, line}.
export function curves(place, points, title) {
  const room = place.parentElement.clientWidth;
  const isNarrow = room < NARROW;
  return draw(place, {
    width: isNarrow ? room - 100 : Math.min(620, room - 210),
    height: 240,
    data: { values: points },
    mark: { type: "line", point: true },
    encoding: {
      x: { field: "step", type: "quantitative", title: "step" },
      y: { field: "value", type: "quantitative", title, scale: { zero: false } },
      color: { field: "line", type: "nominal", title: null, legend: { orient: isNarrow ? "bottom" : "right", columns: isNarrow ? 2 : 1, labelLimit: 150 } },
      tooltip: [{ field: "line" }, { field: "step" }, { field: "value", format: ".4g" }],
    },
  });
}
