// The list is fetched anew while something on it moves.
import { byId, renewed, watch } from "./api.js";

const PAUSE = 4000;
const moves = () => byId("list").querySelector(".state.running, .state.queued, .state.waiting");

await watch(async () => {
  if (moves() && !document.hidden && !byId("list").contains(document.activeElement)) byId("list").replaceChildren(...(await renewed("list")).childNodes);
}, PAUSE);
