// A new experiment: the popular fields first, then all others from the schema; the plan as one types.
import { Problem, all, api, byId, element, say, seconds, showFaults } from "./api.js";
import { field, group, words } from "./form.js";
import { toYaml } from "./yaml.js";

const PAUSE = 500;
const AWAY = 3000;
const DRAFT = `draft of ${location.pathname}${location.search}`;
const POPULAR = ["name", "dataset", "models", "sources", "inits", "seeds", "train_sizes", "image_size", "sections"];
const RECIPE = ["steps", "batch_size", "lr", "optimizer", "eval_every"];
const INIT_FIELDS = { random: [], gabor: [], pretrained: ["source"], mean_var: ["source", "bn"], transfuse: ["source", "prefix", "rest"], slim: ["source", "prefix", "width"] };
const CHOICES = { bn: ["reset", "draw_affine", "copy"], rest: ["random", "mean_var"] };
const SOURCES = { pretrain: "trained here first, on a dataset", timm: "published weights: default, or a tag", weights: "a registered weight file", run: "a run's checkpoint, RUN@final" };

const root = byId("new");
const asked = new URLSearchParams(location.search);
const [schema, presets, models, datasets] = await Promise.all([api("/v1/schemas/experiment"), all("/v1/presets"), all("/v1/models"), all("/v1/datasets")]);
const knownDatasets = [...new Set([...datasets.map((one) => one.name), "demo-retina", "demo-chest", "demo-natural"])];
let spec = {};
let parent = null;
let planning = null;
let asking = null;
let token = freshToken();

// Not randomUUID, which browsers have on https and on the machine itself alone.
function freshToken() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

const changed = () => {
  token = freshToken();
  byId("submit").disabled = true;
  clearTimeout(planning);
  planning = setTimeout(plan, PAUSE);
};

function put(name, value) {
  if (value === undefined) delete spec[name];
  else spec[name] = value;
  changed();
}

function datasetField() {
  const box = element("input", { id: "dataset", list: "datasets", value: spec.dataset ?? "", "data-pointer": "/dataset", size: 36, oninput: () => put("dataset", box.value.trim() || undefined) });
  return element("div", { class: "field" }, element("label", { for: "dataset" }, "dataset"), box, element("datalist", { id: "datasets" }, ...knownDatasets.map((name) => element("option", { value: name }))));
}

function modelsField() {
  const box = element("input", { id: "model", list: "models", size: 28, placeholder: "resnet50" });
  const chips = element("div", { class: "choices" });
  const show = () => chips.replaceChildren(...(spec.models ?? []).map((name, place) => element("span", { class: "chip", "data-pointer": `/models/${place}` }, name, element("button", { type: "button", "aria-label": `Leave out ${name}`, onclick: () => {
    const left = spec.models.filter((one) => one !== name);
    put("models", left.length ? left : undefined);
    show();
  } }, "✕"))));
  const add = () => {
    const name = box.value.trim();
    if (!name) return;
    if (!(spec.models ?? []).includes(name)) put("models", [...(spec.models ?? []), name]);
    box.value = "";
    show();
  };
  box.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    add();
  });
  box.addEventListener("change", () => models.some((one) => one.name === box.value.trim()) && add());
  show();
  return element("div", { class: "field", "data-pointer": "/models" }, element("label", { for: "model" }, "models"), element("div", { class: "row" }, box, element("button", { type: "button", onclick: add }, "Add")), chips);
}

// A small row of labelled boxes for one init or one source.
function part(label, value, choices, pointer, edited) {
  const id = `part${pointer.replaceAll("/", "-")}`;
  const box = choices
    ? element("select", { id, "data-pointer": pointer }, ...choices.map((one) => element("option", { value: one, selected: one === (value ?? "") }, one)))
    : element("input", { id, value: value ?? "", size: 16, "data-pointer": pointer });
  box.addEventListener(choices ? "change" : "input", () => edited(box.value.trim() || undefined));
  return element("div", { class: "field" }, element("label", { for: id }, words(label)), box);
}

function initsField() {
  const place = element("fieldset", { "data-pointer": "/inits" });
  const write = (inits) => put("inits", inits.length ? inits : undefined);
  const show = () => {
    const inits = (spec.inits ?? ["random"]).map((one) => (typeof one === "string" ? { kind: one } : one));
    const edit = (index, name, value) => {
      const next = inits.map((one, at) => (at === index ? { ...one, [name]: value === undefined ? undefined : name === "width" ? Number(value) : value } : one));
      if (name === "kind") next[index] = { kind: value, ...(INIT_FIELDS[value].includes("source") ? { source: inits[index].source ?? Object.keys(spec.sources ?? {})[0] } : {}), ...(INIT_FIELDS[value].includes("prefix") ? { prefix: "all" } : {}) };
      write(next.map((one) => JSON.parse(JSON.stringify(one))));
      if (name === "kind") show();
    };
    place.replaceChildren(element("legend", {}, "inits"), ...inits.map((init, index) => element("div", { class: "row", "data-pointer": `/inits/${index}` },
      part("kind", init.kind, Object.keys(INIT_FIELDS), `/inits/${index}/kind`, (value) => edit(index, "kind", value)),
      ...INIT_FIELDS[init.kind].map((name) => part(name, init[name], name === "source" ? ["", ...Object.keys(spec.sources ?? {})] : CHOICES[name] && ["", ...CHOICES[name]], `/inits/${index}/${name}`, (value) => edit(index, name, value))),
      element("button", { type: "button", "aria-label": `Leave out init ${index + 1}`, onclick: () => { write(inits.filter((_, at) => at !== index)); show(); } }, "✕"))),
    element("div", {}, element("button", { type: "button", onclick: () => { write([...inits, { kind: "random" }]); show(); } }, "Add an init")));
  };
  show();
  return place;
}

function sourcesField(afterwards) {
  const place = element("fieldset", { "data-pointer": "/sources" });
  const write = (entries) => {
    put("sources", entries.length ? Object.fromEntries(entries) : undefined);
    afterwards();
  };
  const show = () => {
    const entries = Object.entries(spec.sources ?? {});
    const replaced = (index, entry) => entries.map((one, at) => (at === index ? entry : one));
    place.replaceChildren(element("legend", {}, "sources of pretrained weights"), ...entries.map(([name, source], index) => {
      const kind = Object.keys(SOURCES).find((one) => source[one] !== undefined && source[one] !== null) ?? "pretrain";
      const at = `/sources/${name}`;
      const inner = kind === "pretrain"
        ? [part("dataset", source.pretrain?.dataset, null, `${at}/pretrain/dataset`, (value) => { source.pretrain.dataset = value; changed(); }),
          part("steps", source.pretrain?.training?.steps, null, `${at}/pretrain/training/steps`, (value) => { source.pretrain.training = { ...source.pretrain.training, steps: value === undefined ? undefined : Number(value) }; changed(); })]
        : [part("which", source[kind], null, `${at}/${kind}`, (value) => { source[kind] = value; changed(); })];
      return element("div", { class: "row", "data-pointer": at },
        part("name", name, null, `${at}/name`, (value) => value && write(replaced(index, [value, source]))),
        part("kind", kind, Object.keys(SOURCES), `${at}/kind`, (value) => { write(replaced(index, [name, value === "pretrain" ? { pretrain: { dataset: "demo-natural" } } : { [value]: value === "timm" ? "default" : "" }])); show(); }),
        ...inner,
        element("span", { class: "hint" }, SOURCES[kind]),
        element("button", { type: "button", "aria-label": `Leave out source ${name}`, onclick: () => { write(entries.filter((_, other) => other !== index)); show(); } }, "✕"));
    }), element("div", {}, element("button", { type: "button", onclick: () => { write([...entries, [`source${entries.length + 1}`, { pretrain: { dataset: "demo-natural" } }]]); show(); } }, "Add a source")));
  };
  show();
  return place;
}

function build() {
  const form = byId("form");
  let inits = initsField();
  const renewInits = () => { const next = initsField(); inits.replaceWith(next); inits = next; };
  const special = { dataset: datasetField, models: modelsField, sources: () => sourcesField(renewInits), inits: () => inits };
  const popular = POPULAR.map((name) => special[name]?.() ?? field(name, schema.properties[name], schema, spec, `/${name}`, changed));
  const recipe = schema.$defs.Recipe;
  const training = spec.training ?? {};
  const trained = () => put("training", Object.keys(training).length ? training : undefined);
  const quick = element("fieldset", {}, element("legend", {}, "training"), element("div", { class: "row start" }, ...RECIPE.map((name) => field(name, recipe.properties[name], schema, training, `/training/${name}`, trained, { hint: name === "lr" }))));
  const others = { properties: Object.fromEntries(Object.entries(recipe.properties).filter(([name]) => !RECIPE.includes(name))) };
  const holder = { "more of training": training };
  const more = Object.entries(schema.properties).filter(([name]) => !POPULAR.includes(name) && name !== "training").map(([name, one]) => field(name, one, schema, spec, `/${name}`, changed));
  form.replaceChildren(...popular, quick, group("more of training", others, schema, holder, "/training", trained), element("details", { class: "panel" }, element("summary", {}, "everything else"), element("div", { class: "row start" }, ...more)));
  document.documentElement.dataset.loaded = "yes";
}

function quota({ quota, used }) {
  const words = { running_jobs: ["jobs at work", 1, 0], gpu_hours: ["GPU-hours in 30 days", 1, 1], stored_bytes: ["GB stored", 1e9, 1] };
  return Object.entries(words).filter(([name]) => quota[name] !== null).map(([name, [unit, per, digits]]) => `${(used[name] / per).toFixed(digits)} of ${(quota[name] / per).toFixed(digits)} ${unit}`).join(", ");
}

function showPlan(found) {
  const fresh = found.runs.filter((run) => !run.exists).length;
  const rows = new Map();
  for (const run of found.runs) {
    const name = [run.model, run.source ? `${run.init} from ${run.source}` : run.init, run.train_size].join(" · ");
    const row = rows.get(name) ?? { runs: 0, there: 0 };
    rows.set(name, { runs: row.runs + 1, there: row.there + run.exists });
  }
  const facts = { runs: found.runs.length, "of them new": fresh, "jobs to do": found.new_jobs, "images to train": found.images_to_train.toLocaleString("en"), "about, on one small CPU": seconds(found.estimated_seconds), "in the store": `${(found.estimated_bytes / 1e6).toFixed(1)} MB` };
  for (const need of found.demands) facts[`${need.queue} workers need`] = `${need.minutes} min, ${need.gpus > 1 ? `${need.gpus} GPUs, ` : ""}${(need.memory_bytes / 1e9).toFixed(1)} GB for ${need.label}`;
  if (found.account) facts["your quota"] = quota(found.account);
  byId("plan").replaceChildren(
    element("dl", { class: "facts" }, ...Object.entries(facts).map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, String(value))))),
    ...found.warnings.map((text) => element("p", { class: "warning" }, text)),
    element("div", { class: "scroll" }, element("table", {}, element("thead", {}, element("tr", {}, ...["Model, init, train images", "Runs", "There already"].map((head, place) => element("th", { scope: "col", class: place ? "number" : null }, head)))), element("tbody", {}, ...[...rows].map(([name, row]) => element("tr", {}, element("td", {}, name), element("td", { class: "number" }, String(row.runs)), element("td", { class: "number" }, String(row.there))))))));
  byId("submit").disabled = false;
}

async function plan() {
  asking?.abort();
  asking = new AbortController();
  if (!isYaml() && !spec.dataset && !spec.models) return;
  try {
    const found = await api("/experiments/draft", { method: "POST", body: { spec: isYaml() ? byId("text").value : spec }, signal: asking.signal });
    if (isYaml() && found.spec instanceof Object) spec = found.spec;
    if (found.problem) return tell(new Problem(found.problem, 200));
    showFaults(byId("form"), []);
    byId("yaml-fault").textContent = "";
    showPlan(found.plan);
  } catch (problem) {
    if (problem.name !== "AbortError") tell(problem);
  }
}

function tell(problem) {
  if (problem.status === 401) sessionStorage.setItem(DRAFT, JSON.stringify(spec)); // for after the next login
  else if (problem.status === 0 || problem.status >= 429) planning = setTimeout(plan, AWAY);
  const faults = problem.errors ?? [];
  const rest = showFaults(byId("form"), faults);
  const lines = rest.length || !faults.length ? [problem.line ?? String(problem)] : [`${faults.length} ${faults.length === 1 ? "field needs" : "fields need"} another look: ${faults.map((one) => one.pointer).join(", ")}`];
  byId("plan").replaceChildren(...lines.map((line) => element("p", { class: "fault" }, line)));
  byId("yaml-fault").textContent = faults.map((one) => `${one.pointer} ${one.message}`).join("; ");
}

// What differs, as a JSON merge patch.
function patch(before, after) {
  const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
  const found = {};
  for (const name of new Set([...Object.keys(before), ...Object.keys(after)])) {
    if (after[name] === undefined) found[name] = null;
    else if (isObject(before[name]) && isObject(after[name])) {
      const inner = patch(before[name], after[name]);
      if (Object.keys(inner).length) found[name] = inner;
    } else if (JSON.stringify(before[name]) !== JSON.stringify(after[name])) found[name] = after[name];
  }
  return found;
}

async function start() {
  byId("submit").disabled = true;
  const [path, body] = parent ? [`/v1/experiments/${encodeURIComponent(parent.id)}/fork`, patch(parent.spec, spec)] : ["/v1/experiments", spec];
  try {
    const made = await api(path, { method: "POST", body, headers: { "Idempotency-Key": token } });
    location.assign(`/experiments/${encodeURIComponent(made.id)}`);
  } catch (problem) {
    tell(problem);
    say(problem.line ?? String(problem), true);
    byId("submit").disabled = false;
  }
}

const isYaml = () => !byId("yaml").hidden;

function view(yaml) {
  byId("yaml").hidden = !yaml;
  byId("form").hidden = yaml;
  byId("as-yaml").setAttribute("aria-pressed", String(yaml));
  byId("as-form").setAttribute("aria-pressed", String(!yaml));
  if (yaml) byId("text").value = toYaml(spec).trimStart();
  else build();
}

byId("text").addEventListener("input", changed);
byId("as-form").addEventListener("click", () => view(false));
byId("as-yaml").addEventListener("click", () => view(true));
byId("submit").addEventListener("click", start);
byId("form").addEventListener("submit", (event) => event.preventDefault());
byId("preset").append(...presets.map((one) => element("option", { value: one.preset }, one.preset)));
byId("preset").addEventListener("change", (event) => {
  const chosen = presets.find((one) => one.preset === event.target.value);
  spec = { ...structuredClone(chosen?.spec ?? {}), dataset: spec.dataset };
  changed();
  view(isYaml());
});
byId("models").append(...models.map((one) => element("option", { value: one.name })));

if (root.dataset.fork) {
  parent = await api(`/v1/experiments/${encodeURIComponent(root.dataset.fork)}`);
  spec = structuredClone(parent.spec);
} else spec = { name: "", ...(asked.get("dataset") ? { dataset: asked.get("dataset") } : {}) };
const kept = sessionStorage.getItem(DRAFT);
if (kept) spec = JSON.parse(kept);
sessionStorage.removeItem(DRAFT);
build();
changed();
