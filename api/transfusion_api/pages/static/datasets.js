// Adding a dataset: the file goes up first, then the spec that names it.
import { api, byId, say, send, showFaults } from "./api.js";

const form = byId("add");

function fold() {
  const kind = byId("kind").value;
  for (const part of form.querySelectorAll("[data-for]")) part.hidden = !(part.dataset.for === kind || (part.dataset.for === "files" && kind !== "recipe"));
}

async function upload(file) {
  const bar = byId("sent");
  bar.hidden = false;
  const announced = await api("/v1/uploads", { method: "POST", body: { filename: file.name.replace(/[^A-Za-z0-9._-]/g, "_").replace(/^\.+/, "") || "upload", size_bytes: file.size } });
  const here = `/v1/uploads/${encodeURIComponent(announced.id)}/content`;
  await send(here, file, { "Content-Type": "application/octet-stream" }, (share) => {
    bar.value = share;
    say(`${Math.round(100 * share)} % sent`);
  });
  return `upload:${announced.id}`;
}

function columns(text) {
  const pairs = text.split(",").map((part) => part.split("=").map((word) => word.trim())).filter((pair) => pair[0]);
  return Object.fromEntries(pairs.map(([name, value]) => [name, name === "label" && value?.includes("|") ? value.split("|") : value ?? ""]));
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const words = new FormData(form);
  const spec = { name: words.get("name"), kind: words.get("kind") };
  if (words.get("task")) spec.task = words.get("task");
  if (words.get("skip_unreadable")) spec.skip_unreadable = true;
  try {
    if (spec.kind === "recipe") spec.recipe = { name: words.get("recipe"), images: Number(words.get("images")) };
    else {
      if (spec.kind === "csv" && words.get("columns")) spec.columns = columns(words.get("columns"));
      const file = words.get("file");
      if (!file?.size) return say("Choose a file with the images.", true);
      spec.location = await upload(file);
    }
    const made = await api("/v1/datasets", { method: "POST", body: spec });
    location.assign(`/datasets/${encodeURIComponent(made.name)}`);
  } catch (problem) {
    const rest = showFaults(form, problem.errors ?? []);
    say(rest.length || !problem.errors?.length ? (problem.line ?? String(problem)) : "Some fields need another look.", true);
  }
});

byId("kind").addEventListener("change", fold);
fold();
