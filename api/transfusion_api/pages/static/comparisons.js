import { api, byId, say, showFaults } from "./api.js";

byId("compare").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = new FormData(event.target);
  const body = { a: form.get("a").trim(), b: form.get("b").trim(), pairs: form.get("pairs"), measures: form.getAll("measures") };
  try {
    const made = await api("/v1/comparisons", { method: "POST", body });
    location.assign(`/comparisons/${encodeURIComponent(made.id)}`);
  } catch (problem) {
    const rest = showFaults(event.target, problem.errors ?? []);
    say(rest.length || !problem.errors?.length ? (problem.line ?? String(problem)) : "Some fields need another look.", true);
  }
});
