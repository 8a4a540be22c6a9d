// The charts of a report, each drawn when it comes into view.
import { api } from "./api.js";
import { draw } from "./charts.js";

const seen = new IntersectionObserver(async (entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    seen.unobserve(target);
    await draw(target.querySelector(".chart"), await api(target.dataset.chart));
  }
}, { rootMargin: "400px" });

for (const figure of document.querySelectorAll("figure[data-chart]")) seen.observe(figure);
