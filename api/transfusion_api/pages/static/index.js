// The list is fetched anew while something on it moves.
import { byId } from "./api.js";

const PAUSE = 4000;
const moves = () => byId("list").querySelector(".state.running, .state.queued, .state.waiting");

async function refresh() {
  if (moves() && !document.hidden && !byId("list").contains(document.activeElement)) {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } }).catch(() => null);
    if (answer?.ok) {
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const list = page.getElementById("list");
      if (list) byId("list").replaceChildren(...list.childNodes);
    }
  }
  setTimeout(refresh, PAUSE);
}

setTimeout(refresh, PAUSE);
