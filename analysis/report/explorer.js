// The runs of a sweep: filters, parts of axes, and the details of one run. A page may have several sweeps.

const chosen = new Map(); // by sweep: the filters and the kept parts of axes, which outlast new content

function begin(explorer) {
  const sweep = sweepOf(explorer);
  const state = chosen.get(sweep.id) ?? { filters: {}, parts: new Map() };
  chosen.set(sweep.id, state);
  for (const element of explorer.querySelectorAll(".scripted")) element.hidden = false;
  const form = explorer.querySelector(".filters");
  for (const [name, value] of Object.entries(state.filters)) if (form.elements[name]) form.elements[name].value = value;
  form.addEventListener("submit", event => event.preventDefault());
  form.addEventListener("input", () => { state.filters = Object.fromEntries(new FormData(form)); filter(explorer); });
  form.addEventListener("reset", () => {
    state.filters = {};
    state.parts.clear();
    explorer.querySelectorAll(".part").forEach(part => part.remove());
    setTimeout(() => filter(explorer));
  });
  for (const panel of explorer.querySelectorAll("[data-of]")) axes(explorer, panel, state);
  filter(explorer);
}

const sweepOf = element => element.closest("article") ?? document.body;

// Show the rows and marks of the runs that all filters keep, and pale those of the others.
function filter(explorer) {
  const { filters, parts } = chosen.get(sweepOf(explorer).id), kept = new Set();
  const words = (filters.text ?? "").toLowerCase();
  let shown = 0;
  for (const row of explorer.querySelectorAll("table.runs tbody tr")) {
    const keep = ["study", "state", "phase"].every(name => !filters[name] || row.dataset[name] === filters[name])
      && (!words || row.textContent.toLowerCase().includes(words))
      && [...parts.values()].every(part => part.trials.has(row.dataset.trial));
    row.hidden = !keep;
    if (keep) { kept.add(row.dataset.trial); shown += 1; }
  }
  const total = explorer.querySelectorAll("table.runs tbody tr").length;
  explorer.querySelector("output").textContent = `${shown} of ${total} runs`;
  for (const panel of explorer.querySelectorAll("[data-of]"))
    panel.hidden = Boolean(filters.study) && panel.dataset.of !== filters.study;
  for (const mark of sweepOf(explorer).querySelectorAll(".plot [data-trial]"))
    mark.classList.toggle("off", shown < total && !kept.has(mark.dataset.trial));
}

// A part of an axis is kept by dragging along it.
function axes(explorer, panel, state) {
  const chart = panel.querySelector(".chart"), plot = chart.querySelector(".plot");
  // An axis reaches from the highest to the lowest corner of all lines.
  const lines = [...plot.querySelectorAll("path[data-trial]")].map(path => [path.dataset.trial, corners(path)]);
  const heights = lines.flatMap(([, points]) => [...points.values()]);
  const highest = Math.min(...heights) - 2, lowest = Math.max(...heights) + 2;
  chart.dataset.axes.split(" ").forEach((place, axis) => {
    const key = `${panel.dataset.of} ${axis}`, zone = shape("rect", { class: "zone", width: 28, height: "100%" });
    zone.setAttribute("x", `${100 * place}%`);
    zone.setAttribute("transform", "translate(-14)");
    plot.append(zone);
    const draw = () => {
      plot.querySelector(`.part[data-axis="${axis}"]`)?.remove();
      const part = state.parts.get(key);
      if (!part) return;
      const drawn = shape("rect", { class: "part", width: 12, y: part.top, height: part.bottom - part.top });
      drawn.setAttribute("x", `${100 * place}%`);
      drawn.setAttribute("transform", "translate(-6)");
      drawn.dataset.axis = axis;
      plot.insertBefore(drawn, zone);
    };
    draw();
    const height = event => Math.min(lowest, Math.max(highest, event.clientY - plot.getBoundingClientRect().top));
    zone.addEventListener("pointerdown", event => {
      zone.setPointerCapture(event.pointerId);
      const from = height(event);
      const move = moved => {
        const [top, bottom] = [from, height(moved)].sort((a, b) => a - b);
        const inside = lines.filter(([, points]) => points.get(axis) >= top && points.get(axis) <= bottom);
        if (bottom - top < 4) state.parts.delete(key);
        else state.parts.set(key, { top, bottom, trials: new Set(inside.map(([trial]) => trial)) });
        draw();
        filter(explorer);
      };
      const end = ended => { move(ended); zone.removeEventListener("pointermove", move); };
      zone.addEventListener("pointermove", move);
      zone.addEventListener("pointerup", end, { once: true });
      zone.addEventListener("pointercancel", end, { once: true });
    });
  });

  function corners(path) {
    const places = chart.dataset.axes.split(" ").map(Number), points = new Map();
    for (const [, x, y] of path.getAttribute("d").matchAll(/([\d.]+) (-?[\d.]+)/g)) {
      const nearest = places.reduce((best, place, axis) =>
        Math.abs(place - x / 1000) < Math.abs(places[best] - x / 1000) ? axis : best, 0);
      points.set(nearest, Number(y));
    }
    return points;
  }
}

// All that is known of one run, in a dialog. Every name and value of a user becomes text, never markup.
const dialog = document.body.appendChild(document.createElement("dialog"));
dialog.className = "run";
dialog.addEventListener("click", event => { if (event.target === dialog) dialog.close(); });

// The details of a run are on the page, unless another script fetches them.
let detailsOf = async explorer => JSON.parse(explorer.querySelector("script.details").textContent);

async function open(explorer, trial) {
  const data = await detailsOf(explorer, trial), run = data.runs[trial];
  const row = [...explorer.querySelectorAll("table.runs tbody tr")].find(each => each.dataset.trial === trial);
  if (!run || !row) return;
  const heads = [...row.closest("table").tHead.rows[0].cells].map(head => head.textContent);
  const facts = [...row.cells].map((cell, place) => [heads[place], cell.firstChild?.textContent ?? ""]).slice(1, 5);
  const config = { ...data.base[row.dataset.study], ...run.config };
  const searched = new Set(heads.slice(5));
  const lines = Object.entries(config).filter(([path]) => path in run.config ? run.config[path] !== null
    || data.base[row.dataset.study][path] === undefined : true);
  const words = ["train", placeOf(data), "--trial", trial, "--dir", `student-${trial}`];
  const command = `${data.before}kdsweep ${words.map(quoted).join(" ")}${data.options}`;
  const close = tag("button", "close");
  close.addEventListener("click", () => dialog.close());
  dialog.replaceChildren(
    tag("header", tag("h3", trial), close),
    tag("p", facts.map(([name, value]) => `${name} ${value}`).join(" · "), `, ${row.cells[0].querySelector("small").textContent}`),
    ...(run.reason ? [tag("p", run.reason)] : []),
    ...(run.curve ? [curve(...run.curve)] : []),
    ...(run.terms ? [terms(run.terms)] : []),
    ...(run.pictured ? [link("#pictures", "What this student predicts")] : []),
    tag("h4", "Train it again"), tag("pre", tag("code", command)), copyButton(command),
    tag("h4", "Config"),
    tag("pre", ...lines.map(([path, value]) => {
      const line = `${path}: ${typeof value === "string" ? value : JSON.stringify(value)}\n`;
      return searched.has(path.replace(/^terms\./, "")) ? tag("b", line) : line;
    })),
  );
  for (const pre of dialog.querySelectorAll("p")) if (pre.textContent === run.reason) pre.className = "warn";
  dialog.showModal();
  dialog.scrollTop = 0;
}

function tag(name, ...content) {
  const element = document.createElement(name);
  element.append(...content);
  return element;
}

function link(target, text) {
  const made = tag("a", text);
  made.href = target;
  made.addEventListener("click", () => dialog.close());
  return tag("p", made);
}

function shape(name, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

function curve(epochs, values) {
  const known = values.filter(value => value !== null), low = Math.min(...known), high = Math.max(...known);
  const width = 600, height = 120, last = epochs[epochs.length - 1] || 1;
  const points = epochs.map((epoch, place) =>
    `${(width * epoch / last).toFixed(1)},${(height - 4 - (height - 8) * (values[place] - low) / (high - low || 1)).toFixed(1)}`);
  const drawing = shape("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", class: "curve" });
  drawing.append(shape("polyline", { points: points.join(" ") }));
  const caption = `mIoU from ${low.toFixed(1)} to ${high.toFixed(1)} over ${last} epochs`;
  return tag("figure", drawing, tag("figcaption", caption));
}

function terms(rows) {
  const short = value => value === null ? "–" : typeof value === "number" ? String(Number(value.toPrecision(3))) : value;
  const heads = ["Term", "Raw, first", "Raw, last", "Weighted, last", "Gradient share"];
  const cell = (value, place) => {
    const made = tag("td", short(value));
    if (place) { made.className = "n"; made.dataset.label = heads[place]; }
    return made;
  };
  const head = (name, place) => {
    const made = tag("th", name);
    if (place) made.className = "n";
    return made;
  };
  const body = tag("tbody", ...rows.map(row => tag("tr", ...row.map(cell))));
  const table = tag("table", tag("thead", tag("tr", ...heads.map(head))), body);
  const scroll = tag("div", table);
  scroll.className = "scroll";
  return scroll;
}

// Where the sweep is: the page says it, or lies in its folder.
function placeOf(data) {
  const [, folder] = decodeURIComponent(location.pathname).match(/^(.*)\/report\/[^/]*$/) ?? [];
  return data.place || (location.protocol === "file:" && folder) || "D";
}

const quoted = text => /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\"'\"'")}'`;

function copyButton(text) {
  const button = tag("button", "copy");
  button.addEventListener("click", () => navigator.clipboard?.writeText(text).then(() => { button.textContent = "copied"; }));
  return button;
}

function openAt(event) {
  const of = event.target.closest("table.runs tbody tr") ?? markAt(event, ".plot [data-trial]");
  const explorer = of && (of.closest(".explorer") ?? sweepOf(of).querySelector(".explorer"));
  if (explorer) open(explorer, of.dataset.trial);
}
document.addEventListener("click", openAt);
document.addEventListener("keydown", event => {
  if (event.key === "Enter" && event.target.matches("table.runs tbody tr")) openAt(event);
});
document.querySelectorAll(".explorer").forEach(begin);
