import { api, byId, element, say, showFaults } from "./api.js";

byId("make").addEventListener("submit", async (event) => {
  event.preventDefault();
  const words = Object.fromEntries([...new FormData(event.target)].filter(([, value]) => value));
  if (words.expires_in_days) words.expires_in_days = Number(words.expires_in_days);
  try {
    const made = await api("/v1/keys", { method: "POST", body: words });
    byId("said").replaceChildren("Copy it now, it is shown once: ", element("code", {}, made.key), " ", element("a", { href: "/keys" }, "done"));
  } catch (problem) {
    showFaults(event.target, problem.errors ?? []);
    say(problem.line ?? String(problem), true);
  }
});

for (const button of document.querySelectorAll("[data-revoke]")) {
  button.addEventListener("click", async () => {
    if (!confirm(`Revoke the key '${button.dataset.name}'? It ends at once.`)) return;
    try {
      await api(`/v1/keys/${encodeURIComponent(button.dataset.revoke)}`, { method: "DELETE" });
      location.reload();
    } catch (problem) {
      say(problem.line ?? String(problem), true);
    }
  });
}
