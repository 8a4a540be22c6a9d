// What every page needs: the API with the session's token, states as words, elements.

const CSRF = document.querySelector("meta[name=csrf]").content;

export class Problem extends Error {
  constructor(body, status) {
    super(body.detail ?? body.title ?? `the service answered ${status}`);
    this.status = status;
    this.code = body.code;
    this.errors = body.errors ?? [];
  }

  // All that it says, in one line.
  get line() {
    return [this.message, ...this.errors.map((each) => `${each.pointer || ""} ${each.message}`.trim())].join("; ");
  }
}

export async function api(path, { method = "GET", body, signal, headers = {} } = {}) {
  const words = { Accept: "application/json", ...headers };
  if (method !== "GET") words["X-CSRF-Token"] = CSRF;
  if (body !== undefined) words["Content-Type"] = "application/json";
  const answer = await reach(path, { method, signal, headers: words, body: body === undefined ? undefined : JSON.stringify(body) });
  if (answer.status === 204) return null;
  const content = await answer.json().catch(() => ({}));
  if (!answer.ok) throw refused(new Problem(content, answer.status));
  return content;
}

async function reach(path, words) {
  try {
    return await fetch(path, words);
  } catch (error) {
    throw error.name === "AbortError" ? error : new Problem({ detail: "the service does not answer" }, 0);
  }
}

// What an element of this page is by now.
export async function renewed(id) {
  const answer = await reach(location.href, { headers: { Accept: "text/html" } });
  if (!answer.ok) throw refused(new Problem({}, answer.status));
  const found = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById(id);
  if (!found) throw refused(new Problem({}, 401)); // it is the page to log in with
  return found;
}

// Whoever is not known any more is told so, once, and where to go on.
function refused(problem) {
  if (problem.status === 401 && !byId("ended")) {
    byId("main").prepend(element("p", { id: "ended", class: "warning", role: "alert" }, "Your session has ended, or the key behind it. ", element("a", { href: location.href }, "Log in again"), " to go on here."));
  }
  return problem;
}

// Looks until there is nothing more to see (`look` answers true). A service that is away meanwhile is looked for again.
export async function watch(look, pause) {
  for (;;) {
    try {
      if (await look()) return;
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      if (problem.status >= 400 && problem.status < 500 && problem.status !== 429) return;
    }
    await new Promise((done) => setTimeout(done, pause));
  }
}

// Every item of a list, page by page.
export async function* pages(path, limit = 200) {
  let cursor = null;
  do {
    const mark = path.includes("?") ? "&" : "?";
    const page = await api(`${path}${mark}limit=${limit}${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`);
    yield page.items;
    cursor = page.next;
  } while (cursor);
}

export async function all(path) {
  const found = [];
  for await (const items of pages(path)) found.push(...items);
  return found;
}

// Bytes with their progress, 0 to 1; fetch tells none of a body that it sends.
export function send(url, file, headers, onProgress) {
  return new Promise((done, fail) => {
    const request = new XMLHttpRequest();
    request.open("PUT", url);
    for (const [name, value] of Object.entries({ ...headers, "X-CSRF-Token": CSRF })) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => onProgress(event.loaded / event.total);
    request.onerror = () => fail(new Problem({ detail: "the upload broke off" }, 0));
    request.onload = () => {
      if (request.status < 300) return done();
      let body = {};
      try { body = JSON.parse(request.responseText); } catch { /* said by the status */ }
      fail(refused(new Problem(body, request.status)));
    };
    request.send(file);
  });
}

export const ENDED = new Set(["succeeded", "failed", "cancelled"]);
export const byId = (id) => document.getElementById(id);

// An element with attributes and children; text is never taken for markup.
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

export const say = (text, fault = false) => {
  const place = byId("said");
  place.textContent = text;
  place.classList.toggle("fault", fault);
};

export function seconds(count) {
  if (count === null || count === undefined) return "";
  if (count < 90) return `${Math.round(count)} s`;
  return count < 5400 ? `${Math.round(count / 60)} min` : `${(count / 3600).toFixed(1)} h`;
}

export const number = (value, digits = 4) => (value === null || value === undefined ? "–" : Number(value.toPrecision(digits)).toString());

// Faults beside the fields that they are about, by JSON pointer; those of no field are returned.
export function showFaults(form, faults) {
  for (const old of form.querySelectorAll(".fault[data-of]")) old.remove();
  for (const field of form.querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid");
  const rest = [];
  for (const fault of faults) {
    let pointer = fault.pointer ?? "";
    let field = null;
    while (pointer && !(field = form.querySelector(`[data-pointer="${CSS.escape(pointer)}"]`))) pointer = pointer.slice(0, pointer.lastIndexOf("/"));
    if (!field) {
      rest.push(fault);
      continue;
    }
    for (let fold = field.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
    field.setAttribute("aria-invalid", "true");
    const hint = fault.nearest ? ` Did you mean ${fault.nearest}?` : "";
    const told = element("p", { class: "fault", "data-of": pointer, id: `fault${pointer.replaceAll("/", "-")}` }, fault.message + hint);
    field.setAttribute("aria-describedby", told.id);
    (field.closest(".field") ?? field.parentElement).append(told);
  }
  return rest;
}
