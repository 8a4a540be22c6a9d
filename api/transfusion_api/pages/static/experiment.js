// One experiment as it happens: the grid of its runs, the curves of the chosen one, what can be done.
import { ENDED, all, api, byId, element, pages, say, seconds, watch } from "./api.js";
import { curves } from "./charts.js";

const root = byId("experiment");
const ID = root.dataset.id;
const PATH = `/v1/experiments/${encodeURIComponent(ID)}`;
const SIGNS = { succeeded: "✓", failed: "✕", running: "…", cancelled: "–", queued: "·", waiting: "·" };
const MANY = 150;
const LINES = 12;
const EVENTS_SHOWN = 30;
const MOVES = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
const REDRAW = 1500;
const PAUSE = 2000;
const FAVOURITE = "val auroc";

const runs = new Map();
const cells = new Map();
let chosen = null;
let redrawing = null;

// Source runs are on a dataset of their own.
const rowOf = (run) => [run.model, run.source ? `${run.init} from ${run.source}` : run.init, run.train_size, ...(run.dataset === root.dataset.dataset ? [] : [`source on ${run.dataset}`])].join(" · ");

function cellOf(run) {
  const cell = element("button", { type: "button", "aria-pressed": "false", tabindex: -1, onclick: () => choose(run.id) });
  cells.set(run.id, cell);
  paint(run);
  return cell;
}

function paint(run) {
  const cell = cells.get(run.id);
  if (!cell) return;
  const told = `${rowOf(run)}, seed ${run.seed}${run.lr ? `, rate ${run.lr}` : ""}: ${run.state}`;
  cell.className = `cell ${run.state}`;
  cell.textContent = SIGNS[run.state] ?? "?";
  cell.title = told;
  cell.setAttribute("aria-label", told);
}

async function loadGrid() {
  const table = element("table", { class: "cells" });
  const rows = new Map();
  for await (const items of pages(`${PATH}/runs`)) for (const run of items) runs.set(run.id, run);
  const { compare } = new Intl.Collator(undefined, { numeric: true }); // one for all: localeCompare makes one each time
  const named = [...runs.values()].map((run) => [rowOf(run), run]).sort(([a, one], [b, other]) => (a === b ? 0 : compare(a, b)) || one.seed - other.seed);
  const ordered = named.map(([, run]) => run);
  for (const [name, run] of named) {
    if (!rows.has(name)) rows.set(name, element("td"));
    rows.get(name).append(cellOf(run), " ");
  }
  table.append(element("tbody", {}, ...[...rows].map(([name, cell]) => element("tr", {}, element("th", { scope: "row" }, name), cell))));
  table.classList.toggle("many", runs.size > MANY);
  byId("grid").replaceChildren(rows.size ? table : element("p", { class: "soft" }, "Nothing is trained."));
  document.documentElement.dataset.loaded = "yes";
  const first = ordered.find((run) => run.state === "running") ?? ordered.find((run) => run.state === "succeeded") ?? ordered[0];
  if (first) choose(first.id, false);
}

function choose(id, now = true) {
  cells.get(chosen)?.setAttribute("aria-pressed", "false");
  chosen = id;
  cells.get(id)?.setAttribute("aria-pressed", "true");
  reach(cells.get(id));
  redraw(now);
}

// The grid is one stop of the Tab key, however many cells it has; arrow keys move within it.
function reach(cell) {
  byId("grid").querySelector('.cell[tabindex="0"]')?.setAttribute("tabindex", "-1");
  cell?.setAttribute("tabindex", "0");
}

const cellsOf = (row) => [...(row?.querySelectorAll(".cell") ?? [])];

function move(event) {
  const [down, right] = MOVES[event.key] ?? [0, 0];
  if (!(down || right) || !event.target.classList.contains("cell")) return;
  event.preventDefault();
  const row = event.target.closest("tr");
  const place = cellsOf(row).indexOf(event.target);
  const next = down ? cellsOf(row.parentElement.rows[row.rowIndex + down]).slice(0, place + 1).at(-1) : cellsOf(row)[place + right];
  if (!next) return;
  reach(next);
  next.focus();
}

// The chosen run and the other seeds of its row.
async function drawCurves() {
  redrawing = null;
  const run = runs.get(chosen);
  if (!run) return;
  const beside = [run, ...[...runs.values()].filter((other) => other.id !== run.id && rowOf(other) === rowOf(run))].slice(0, LINES);
  const found = await Promise.all(beside.map((each) => api(`/v1/runs/${encodeURIComponent(each.id)}/metrics`).catch(() => ({ series: [] }))));
  const names = [...new Set(found.flatMap((each) => each.series.map((one) => `${one.split} ${one.name}`)))].sort();
  const select = byId("metric");
  const wanted = select.value || FAVOURITE;
  select.replaceChildren(...names.map((name) => element("option", { selected: name === wanted }, name)));
  const points = found.flatMap((each, place) =>
    each.series.filter((one) => `${one.split} ${one.name}` === select.value).flatMap((one) =>
      one.steps.map((step, index) => ({ step, value: one.values[index], line: `seed ${beside[place].seed}${place ? "" : " (chosen)"}` }))));
  if (points.length) await curves(byId("curves"), points, select.value);
  else byId("curves").replaceChildren();
  const step = run.progress?.step !== undefined ? ` step ${run.progress.step} of ${run.progress.steps}` : "";
  byId("chosen").replaceChildren(element("div", {},
    element("p", {}, element("a", { href: `/runs/${encodeURIComponent(run.id)}` }, `${rowOf(run)}, seed ${run.seed}`), " ", element("span", { class: `state ${run.state}` }, run.state), step),
    run.error ? element("p", { class: "fault" }, `${run.reason}: ${run.error}`) : null,
    points.length ? null : element("p", { class: "soft" }, "No curves yet.")));
}

function redraw(now = false) {
  if (now && redrawing) clearTimeout(redrawing);
  if (now || !redrawing) redrawing = setTimeout(drawCurves, now ? 0 : REDRAW);
}

function showState(experiment) {
  byId("state").textContent = experiment.state;
  byId("state").className = `state ${experiment.state}`;
  byId("progress").value = experiment.progress;
  byId("percent").textContent = `${Math.round(100 * experiment.progress)} %`;
  byId("eta").textContent = experiment.eta_seconds && !ENDED.has(experiment.state) ? `about ${seconds(experiment.eta_seconds)} left` : "";
  byId("counts").replaceChildren(...Object.entries(experiment.counts).map(([state, count]) => element("div", {}, element("dt", {}, `jobs ${state}`), element("dd", {}, String(count)))));
  const possible = { cancel: !ENDED.has(experiment.state), resume: experiment.state === "cancelled", retry: experiment.state === "failed", delete: ENDED.has(experiment.state) };
  for (const button of root.querySelectorAll("button[data-do]")) button.disabled = !possible[button.dataset.do];
  byId("report").hidden = !ENDED.has(experiment.state);
}

function follow() {
  const stream = new EventSource(`${PATH}/events`);
  const log = byId("events");
  const lines = [];
  stream.addEventListener("state", (event) => {
    const move = JSON.parse(event.data);
    const of = runs.get(move.job);
    const what = of ? `${rowOf(of)} · seed ${of.seed}` : move.job.slice(-8);
    lines.unshift(`${move.at.slice(11, 19)}  ${move.kind.padEnd(8)} ${move.from ?? "new"} → ${move.to}${move.reason ? ` (${move.reason})` : ""}  ${what}`);
    lines.length = Math.min(lines.length, EVENTS_SHOWN);
    log.textContent = lines.join("\n");
    if (!of) return;
    of.state = move.to;
    paint(of);
    if (of.id === chosen || rowOf(of) === rowOf(runs.get(chosen) ?? of)) redraw();
  });
  stream.addEventListener("progress", () => watch(async () => {
    showState(await api(PATH));
    const running = runs.get(chosen)?.state === "running";
    if (running) Object.assign(runs.get(chosen), await api(`/v1/runs/${encodeURIComponent(chosen)}`));
    if (running) redraw();
    return true;
  }, PAUSE));
  // The browser takes a broken stream up again by itself, but not one that was refused.
  stream.addEventListener("error", () => stream.readyState === EventSource.CLOSED && setTimeout(() => watch(async () => {
    showState(await api(PATH));
    follow();
    return true;
  }, PAUSE), PAUSE));
  stream.addEventListener("end", () => {
    stream.close();
    watch(async () => {
      showState(await api(PATH));
      for (const run of await all(`${PATH}/runs`)) if (runs.has(run.id)) paint(Object.assign(runs.get(run.id), run));
      redraw(true);
      return true;
    }, PAUSE);
  });
}

async function act(event) {
  const what = event.currentTarget.dataset.do;
  const isDelete = what === "delete";
  if (isDelete && !confirm("Delete this experiment? What only it uses is deleted too.")) return;
  try {
    await api(isDelete ? PATH : `${PATH}/${what}`, { method: isDelete ? "DELETE" : "POST" });
    if (isDelete) location.assign("/");
    else location.reload();
  } catch (problem) {
    say(problem.line ?? String(problem), true);
  }
}

for (const button of root.querySelectorAll("button[data-do]")) button.addEventListener("click", act);
byId("grid").addEventListener("keydown", move);
byId("metric").addEventListener("change", () => redraw(true));
await Promise.all([api(PATH).then(showState), loadGrid()]);
follow();
