// The page of `kdsweep serve`: it asks for what has changed, and keeps filters, order and places as the reader left them.

const PAUSE_S = 5;
let busy = false;

const ask = async path => {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error((await answer.text()).trim());
  return answer.json();
};

async function refresh() {
  const pressed = document.querySelector(".pressed, dialog[open]");
  if (busy || document.hidden || pressed) return;
  busy = true;
  const alive = document.querySelector("#alive");
  try {
    const state = await ask("state");
    document.querySelector("#overview").innerHTML = state.overview;
    for (const [place, version] of state.versions.entries()) {
      const article = document.querySelector(`#sweep-${place}`);
      article.querySelector("summary h2").textContent = state.names[place];
      if (!article.querySelector("details").open || article.dataset.version === String(version)) continue;
      const answer = await ask(`sweep/${place}?runs=${article.dataset.runs ?? 0}`);
      if (article.dataset.version === String(answer.version)) continue;  // a long sweep is drawn anew more seldom
      replace(article, answer.body);
      article.dataset.version = answer.version;
    }
    alive.textContent = `as of ${new Date().toLocaleTimeString()}`;
    alive.className = "eyebrow";
  } catch (error) {
    alive.textContent = `not reached since ${new Date().toLocaleTimeString()}: ${error.message}`;
    alive.className = "eyebrow stale";
  }
  busy = false;
}

function replace(article, body) {
  const content = article.querySelector(".content");
  const sorted = content.querySelector("table.runs th[aria-sort]"), table = content.querySelector(".explorer > .scroll");
  const [at, direction, top] = [sorted?.cellIndex, sorted?.getAttribute("aria-sort"), table?.scrollTop ?? 0];
  content.innerHTML = body;
  content.querySelectorAll("th").forEach(head => { head.tabIndex = 0; });
  const head = sorted && content.querySelector("table.runs").tHead.rows[0].cells[at];
  while (head && head.getAttribute("aria-sort") !== direction) sortBy(head);
  content.querySelectorAll(".explorer").forEach(begin);
  if (table) content.querySelector(".explorer > .scroll").scrollTop = top;
}

detailsOf = (explorer, trial) =>
  ask(`sweep/${sweepOf(explorer).id.replace("sweep-", "")}/run/${encodeURIComponent(trial)}`);

document.addEventListener("click", event => {
  const more = event.target.closest("button[data-runs]");
  if (!more) return;
  const article = sweepOf(more);
  article.dataset.runs = more.dataset.runs;
  delete article.dataset.version;
  more.textContent = "reading";
  refresh();
});

document.querySelectorAll("details").forEach(each => each.addEventListener("toggle", refresh));
document.addEventListener("visibilitychange", refresh);
setInterval(refresh, PAUSE_S * 1000);
refresh();
