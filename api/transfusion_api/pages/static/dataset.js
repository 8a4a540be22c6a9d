// A dataset's profile, once it has been looked at.
import { ENDED, api, byId, element, renewed, watch } from "./api.js";
import { draw } from "./charts.js";

const root = byId("dataset");
const PATH = `/v1/datasets/${encodeURIComponent(root.dataset.name)}`;
const PAUSE = 2000;
const GROUPS_SHOWN = 50;

const heading = (text) => element("h2", {}, text);

function table(caption, heads, rows) {
  return element("div", { class: "scroll" }, element("table", {}, element("caption", {}, caption),
    element("thead", {}, element("tr", {}, ...heads.map((head, place) => element("th", { scope: "col", class: typeof rows[0]?.[place] === "number" ? "number" : null }, head)))),
    element("tbody", {}, ...rows.map((row) => element("tr", {}, ...row.map((value) => element("td", { class: typeof value === "number" ? "number" : null }, String(value))))))));
}

function show(profile) {
  const chart = element("div", { class: "chart", role: "group", "aria-label": "Images of each class in each split; the numbers are in the table" });
  const brightness = element("div", { class: "chart", role: "group", "aria-label": "Share of pixels by how bright they are; mean and spread are in the table" });
  const shares = profile.intensities.flatMap(({ channel, histogram }) => histogram.map((share, place) => ({ channel, share, value: (place + 0.5) / histogram.length })));
  const missing = Object.values(profile.missing).some((labels) => Object.values(labels).some(Boolean));
  const splits = Object.keys(profile.splits);
  const counts = splits.flatMap((split) => Object.entries(profile.counts[split] ?? {}).map(([label, images]) => ({ split, label, images, order: splits.indexOf(split) })));
  byId("profile").replaceChildren(
    heading("Classes"), chart,
    table("Images of each class", ["Class", ...splits], profile.classes.map((name) => [name, ...splits.map((split) => profile.counts[split]?.[name] ?? 0)])),
    missing ? table("Images that do not say whether they have a label", ["Label", ...splits], profile.classes.map((name) => [name, ...splits.map((split) => profile.missing[split]?.[name] ?? 0)])) : "",
    profile.patients ? table(`${profile.patients.total} patients`, Object.keys(profile.patients.splits), [Object.values(profile.patients.splits)]) : "",
    table("Sizes of images", ["Size", "Images"], Object.entries(profile.resolutions)),
    heading("Brightness"), brightness,
    table("Pixels from 0 (black) to 1 (white), every image counting alike", ["Channel", "Mean", "Standard deviation"], profile.intensities.map((each) => [each.channel, Number(each.mean.toFixed(4)), Number(each.std.toFixed(4))])),
    heading("Found twice"),
    table("Groups of images that are the same, alike, or of one patient in several splits", ["Kind", "Groups", "Images", "Across splits", "Labelled differently"], profile.found.map((each) => [each.kind, each.groups, each.files, each.across_splits, each.across_labels])),
    profile.leaks.length ? table("Across splits, the first", ["Kind", "Images", "Splits", "Labels"], profile.leaks.slice(0, GROUPS_SHOWN).map((each) => [each.kind, each.files.slice(0, 6).join(", "), [...new Set(each.splits)].join(", "), [...new Set(each.labels)].join(", ")])) : "",
    heading("Samples"),
    ...profile.samples.map((each) => element("figure", {}, element("img", { class: "samples", src: each.picture, alt: `Train images of class ${each.label}` }), element("figcaption", {}, each.label))));
  return Promise.all([draw(brightness, {
    width: Math.min(640, root.clientWidth - 140), height: 160, data: { values: shares }, mark: { type: "line", interpolate: "step" },
    encoding: { x: { field: "value", type: "quantitative", title: "0 black, 1 white", scale: { domain: [0, 1] } }, y: { field: "share", type: "quantitative", title: "share of pixels" }, color: { field: "channel", type: "nominal", title: null, scale: { domain: ["grey", "red", "green", "blue"], range: ["#808080", "#d55e00", "#009e73", "#0072b2"] } }, tooltip: [{ field: "channel" }, { field: "value" }, { field: "share", format: ".3f" }] },
  }), draw(chart, {
    width: Math.min(640, root.clientWidth - 140), height: { step: 18 }, data: { values: counts }, mark: "bar",
    encoding: { y: { field: "label", type: "nominal", sort: profile.classes, title: null }, x: { field: "images", type: "quantitative" }, color: { field: "split", type: "nominal", sort: splits, title: null }, order: { field: "order" }, tooltip: [{ field: "split" }, { field: "label" }, { field: "images" }] },
  })]);
}

// The page itself says how far things are: an answer that is not there yet would be an error on the console.
async function look() {
  if (root.dataset.looked === "succeeded") {
    await show(await api(`${PATH}/profile`));
    return true;
  }
  const isDone = ENDED.has(root.dataset.state) && (root.dataset.state !== "succeeded" || ENDED.has(root.dataset.looked));
  if (isDone) return true;
  const now = (await renewed("dataset")).dataset;
  if (now.state === root.dataset.state && now.looked === root.dataset.looked) return false;
  location.reload();
  return true;
}

await watch(look, PAUSE);
