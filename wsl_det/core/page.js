// Tables that sort and are searched, figures that tell their values. All of it stands on the page without this.
"use strict";
const make = (tag, to) => Object.assign(document.createElement(tag), to);

function key(cell) {
  const text = cell.textContent.trim();
  const value = parseFloat(text.replace(/−/g, "-").replace(/^< /, "").replace(/,(?=\d{3})/g, ""));
  if (text === "" || text === "–") return null;
  return cell.classList.contains("name") || isNaN(value) ? text : text[0] === "<" ? value - 1e-9 : value;
}

function sort(table, head) {
  const names = [...table.tBodies[0].rows].some((row) => typeof key(row.cells[head.cellIndex]) === "string");
  const up = head.ariaSort ? head.ariaSort === "descending" : names;
  const rows = [...table.tBodies[0].rows].map((row) => [key(row.cells[head.cellIndex]), row]);
  rows.sort(([a], [b]) => {
    if (a === null || b === null) return (a === null) - (b === null);
    const order = names ? String(a).localeCompare(String(b), "en", { numeric: true }) : a - b;
    return up ? order : -order;
  });
  for (const other of table.querySelectorAll("[aria-sort]")) other.removeAttribute("aria-sort");
  head.ariaSort = up ? "ascending" : "descending";
  table.tBodies[0].append(...rows.map(([, row]) => row));
}

for (const table of document.querySelectorAll("table.sorts")) {
  for (const head of table.tHead.rows[0].cells) {
    if (head.textContent.trim() === "") continue;
    const button = make("button", { type: "button", title: "sort" });
    button.append(...head.childNodes);
    button.onclick = () => sort(table, head);
    head.append(button);
  }
}

for (const table of document.querySelectorAll("table[data-search]")) {
  const rows = [...table.tBodies[0].rows];
  const field = make("input", { type: "search", autocomplete: "off", spellcheck: false });
  const label = make("label", { className: "search", textContent: `find a ${table.dataset.search} ` });
  const count = make("span", { className: "note", role: "status" });
  field.oninput = () => {
    const wanted = field.value.trim().toLowerCase();
    for (const row of rows) row.hidden = !row.cells[0].textContent.toLowerCase().includes(wanted);
    const left = rows.filter((row) => !row.hidden).length;
    count.textContent = wanted ? ` ${left.toLocaleString("en")} of ${rows.length.toLocaleString("en")}` : "";
  };
  label.append(field, count);
  table.parentElement.before(label);
}

for (const figure of document.querySelectorAll("figure")) {
  const hint = "Point at the figure or use the arrow keys for its values.";
  const told = make("p", { className: "note told", role: "status", textContent: hint });
  for (const svg of figure.querySelectorAll("svg")) {
    const hits = [...svg.querySelectorAll(".hit")];
    if (!hits.length) continue;
    let at = -1;
    const show = (next) => {
      hits[at]?.classList.remove("on");
      at = next;
      hits[at]?.classList.add("on");
      told.classList.toggle("on", at >= 0);
      told.textContent = at < 0 ? hint : hits[at].textContent.trim();
    };
    const moves = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
    svg.tabIndex = 0;
    svg.ariaLabel = hint;
    svg.onkeydown = (event) => {
      const ends = { Home: 0, End: hits.length - 1, Escape: -1 };
      if (!(event.key in moves || event.key in ends) || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      show(ends[event.key] ?? Math.min(Math.max(at + moves[event.key], 0), hits.length - 1));
    };
    svg.onmouseover = (event) => show(hits.indexOf(event.target.closest(".hit")));
    svg.onblur = svg.onmouseleave = () => show(-1);
    figure.insertBefore(told, figure.querySelector("figcaption"));
  }
}

// Tables wider than the page say so, and the keyboard can move them.
function measure() {
  for (const box of document.querySelectorAll(".scroll")) {
    const wide = box.scrollWidth > box.clientWidth + 1;
    box.toggleAttribute("data-more", wide);
    if (wide || box.scrollHeight > box.clientHeight + 1) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
}
addEventListener("resize", measure);
document.addEventListener("toggle", measure, true);
measure();
