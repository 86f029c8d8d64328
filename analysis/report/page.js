// Tables sort on a click on a head, and marks of figures say what they are.

document.querySelectorAll("th").forEach(head => { head.tabIndex = 0; });
document.addEventListener("click", event => { sortBy(event.target.closest("th")); });
document.addEventListener("keydown", event => {
  if (event.key === "Enter") sortBy(event.target.closest("th"));
});

// A wide screen shows all sections; on a narrow one a link opens the section that it leads to.
const folds = document.querySelectorAll("details.fold");
if (matchMedia("(min-width: 641px)").matches) folds.forEach(fold => { fold.open = true; });
const openLinked = () => {
  const fold = document.getElementById(location.hash.slice(1))?.querySelector("details.fold");
  if (fold) fold.open = true;
};
addEventListener("hashchange", openLinked);
document.addEventListener("click", event => { if (event.target.closest("nav a")) setTimeout(openLinked); });
openLinked();

function sortBy(head) {
  if (!head) return;
  const up = head.getAttribute("aria-sort") === "descending";
  for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  const body = head.closest("table").tBodies[0], rows = [...body.rows];
  const value = row => {
    const cell = row.cells[head.cellIndex], text = cell.dataset.sort ?? cell.textContent;
    return text === "" || isNaN(text) ? text : Number(text);
  };
  const order = (a, b) => typeof a === "number" && typeof b === "number" ? a - b
    : typeof a === typeof b ? String(a).localeCompare(b) : typeof a === "number" ? 1 : -1;
  // A cell without a value is last in both directions.
  rows.sort((a, b) => (value(a) === "") - (value(b) === "") || order(value(a), value(b)) * (up ? 1 : -1));
  body.append(...rows);
}

const NEAR = [[0, 0], [4, 0], [-4, 0], [0, 4], [0, -4], [8, 0], [-8, 0], [0, 8], [0, -8], [6, 6], [-6, -6], [6, -6], [-6, 6]];
const tip = document.body.appendChild(document.createElement("div"));
tip.id = "tip";
tip.hidden = true;

// The mark under the pointer, or the nearest within a few pixels.
function markAt(event, selector) {
  if (!event.target.closest?.(".chart")) return null;
  for (const [x, y] of NEAR) {
    const mark = document.elementFromPoint(event.clientX + x, event.clientY + y)?.closest(selector);
    if (mark?.closest(".plot")) return mark;
  }
  return null;
}

for (const kind of ["pointermove", "pointerdown"]) document.addEventListener(kind, event => {
  const mark = markAt(event, "[data-tip], :has(> title)");
  tip.hidden = !mark;
  if (!mark) return;
  const title = mark.querySelector(":scope > title");
  if (title) { // so that the browser does not show it a second time
    mark.dataset.tip = title.textContent;
    mark.setAttribute("aria-label", title.textContent);
    title.remove();
  }
  tip.textContent = mark.dataset.tip;
  const left = Math.min(event.clientX + 12, innerWidth - tip.offsetWidth - 8);
  const below = event.clientY + 18 + tip.offsetHeight < innerHeight;
  tip.style.left = `${Math.max(8, left)}px`;
  tip.style.top = `${below ? event.clientY + 16 : event.clientY - tip.offsetHeight - 10}px`;
});
document.addEventListener("scroll", () => { tip.hidden = true; }, { passive: true });
