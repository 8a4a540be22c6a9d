"use strict";
(() => {
  // Charts take the place of their pictures. `ast`: expressions are interpreted, so that the page needs no eval.
  // `logLevel`: errors alone; that a chart has no value to draw is said by the table.
  const ACTIONS = { export: true, source: false, compiled: false, editor: false };
  const OPTIONS = { ast: true, renderer: "svg", logLevel: 1, actions: ACTIONS };

  async function unpack(id) {
    const packed = Uint8Array.from(atob(document.getElementById(id).textContent), (letter) => letter.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  }

  async function draw() {
    const charts = await unpack("charts");
    for (const figure of document.querySelectorAll("figure[data-chart]")) {
      const place = document.createElement("div");
      await vegaEmbed(place, charts[figure.dataset.chart], OPTIONS);
      figure.replaceChildren(place);
    }
    document.documentElement.dataset.drawn = "yes";
  }

  // Numbers by size before words by letter; what is empty stays last in either direction.
  function compare(a, b, direction) {
    if (!a || !b) return !a - !b;
    const [x, y] = [Number.parseFloat(a), Number.parseFloat(b)];
    const numbers = !Number.isNaN(x) && !Number.isNaN(y);
    return direction * (numbers && x !== y ? x - y : a.localeCompare(b, undefined, { numeric: true }));
  }

  function sort(table, head, column) {
    const direction = head.ariaSort === "ascending" ? -1 : 1;
    for (const other of table.tHead.rows[0].cells) other.ariaSort = "none";
    head.ariaSort = direction > 0 ? "ascending" : "descending";
    const text = (row) => row.cells[column].textContent.trim().replace("–", "");
    const rows = Array.from(table.tBodies[0].rows, (row) => [text(row), row]);
    rows.sort(([a], [b]) => compare(a, b, direction));
    table.tBodies[0].append(...rows.map(([, row]) => row));
  }

  for (const table of document.querySelectorAll("table")) {
    Array.from(table.tHead.rows[0].cells).forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      button.addEventListener("click", () => sort(table, head, column));
      head.replaceChildren(button);
      head.ariaSort = "none";
    });
  }

  // Paper has nothing to unfold: what was closed is open while it is printed.
  const closed = [];
  addEventListener("beforeprint", () => {
    closed.push(...document.querySelectorAll("section > details:not([open])"));
    for (const each of closed) each.open = true;
  });
  addEventListener("afterprint", () => {
    for (const each of closed.splice(0)) each.open = false;
  });

  draw();
})();
