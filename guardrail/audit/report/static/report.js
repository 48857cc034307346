
// What the page can do besides: tips on bars, sorting, searching, colours, saving. Without it everything is there to read.
"use strict";

const at = (id) => document.getElementById(id);

function make(name, text = "", style = "") {
  const made = document.createElement(name);
  made.textContent = text;
  made.className = style;
  return made;
}

// Tips: the row of the table that says the same as the bar under the pointer

const SVG = "http://www.w3.org/2000/svg";
const tip = document.body.appendChild(make("div", "", "tip"));
tip.hidden = true;

function hint(plot, event) {
  const box = plot.getBoundingClientRect();
  const bins = Number(plot.dataset.bins);
  const bin = Math.min(at(plot.dataset.rows).rows.length - 1, Math.max(0, Math.floor(((event.clientX - box.left) / box.width) * bins)));
  const row = at(plot.dataset.rows).rows[bin];
  const heads = row.closest("table").tHead.rows[0].cells;
  const lines = [...row.cells].slice(1).map((cell, i) => [heads[i + 1].textContent, cell.textContent]).filter(([, text]) => text !== "0");
  tip.replaceChildren(make("b", row.cells[0].textContent), ...lines.map((words) => {
    const line = make("span");
    line.append(...words.map((word) => make("i", word)));
    return line;
  }));
  if (!lines.length) tip.append("nothing");
  mark(plot, bin);
  tip.hidden = false;
  const left = Math.min(box.left + ((bin + 0.5) / bins) * box.width + 12, document.documentElement.clientWidth - tip.offsetWidth - 8);
  tip.style.left = `${Math.max(8, left) + scrollX}px`;
  tip.style.top = `${box.top + scrollY + 4}px`;
}

function mark(plot, bin) {
  let here = plot.querySelector(".here");
  if (!here) {
    here = document.createElementNS(SVG, "rect");
    here.setAttribute("class", "here");
    here.setAttribute("width", "1");
    here.setAttribute("height", "1000");
    plot.append(here);
  }
  here.setAttribute("x", bin);
}

function leave(plot) {
  tip.hidden = true;
  plot.querySelector(".here")?.remove();
}

for (const plot of document.querySelectorAll(".plot")) {
  plot.addEventListener("pointermove", (event) => hint(plot, event));
  plot.addEventListener("pointerdown", (event) => hint(plot, event));
  plot.addEventListener("pointerleave", () => leave(plot));
}

// Sorting by a column: its largest first, then its smallest; names from A

function compare(one, other, index) {
  const [a, b] = [one, other].map((row) => row.cells[index].dataset.value ?? row.cells[index].textContent);
  const isNumber = one.cells[index].classList.contains("number");
  if (isNumber) return (a === "" ? -1 : Number(a)) - (b === "" ? -1 : Number(b));
  return a.localeCompare(b);
}

function sort(table, head) {
  const index = head.cellIndex;
  const starts = head.classList.contains("number") ? "descending" : "ascending";
  const next = head.ariaSort === starts ? (starts === "ascending" ? "descending" : "ascending") : starts;
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.ariaSort = next;
  const sign = next === "ascending" ? 1 : -1;
  table.tBodies[0].append(...[...table.tBodies[0].rows].sort((one, other) => sign * compare(one, other, index)));
}

for (const table of document.querySelectorAll(".sortable")) {
  for (const head of table.tHead.rows[0].cells) {
    if (head.classList.contains("drawing")) continue;
    const button = make("button", head.textContent);
    button.type = "button";
    button.addEventListener("click", () => sort(table, head));
    head.replaceChildren(button);
  }
}

// Conversations: by a part of their id, tenant or harm, or only those with stops

function search() {
  const words = at("search").value.toLowerCase();
  const rows = [...at("conversation-rows").rows];
  for (const row of rows) {
    const text = [...row.cells].slice(0, 3).map((cell) => cell.textContent).join(" ").toLowerCase();
    row.hidden = !text.includes(words) || (at("only-risky").checked && !row.hasAttribute("data-risky"));
  }
  at("n-found").textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} listed`;
}

if (at("conversation-tools")) {
  at("conversation-tools").hidden = false;
  at("search").addEventListener("input", search);
  at("only-risky").addEventListener("change", search);
  search();
}

// Colours, and the figures as a file

const THEMES = ["Auto", "Light", "Dark"];

at("theme").hidden = at("save").hidden = false;
at("theme").addEventListener("click", () => {
  const next = THEMES[(THEMES.indexOf(at("theme").textContent) + 1) % THEMES.length];
  at("theme").textContent = next;
  at("theme").ariaLabel = next === "Auto" ? "Colours: as the system's" : `Colours: ${next}`;
  document.documentElement.dataset.theme = next.toLowerCase();
});

at("save").addEventListener("click", () => {
  const link = make("a");
  link.href = URL.createObjectURL(new Blob([at("figures").textContent], { type: "application/json" }));
  link.download = "report.json";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
});
