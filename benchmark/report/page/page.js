const find = (selector) => [...document.querySelectorAll(selector)];
const root = document.documentElement;
const COLORS = 8;

// Light or dark: as the system says, until the button is pressed.
const system = matchMedia("(prefers-color-scheme: dark)");
const paint = () => { root.dataset.theme = system.matches ? "dark" : "light"; };
paint();
system.addEventListener("change", paint);
document.getElementById("theme").addEventListener("click", () => {
  root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
});

// Which models the charts draw, each in a colour of its own as long as there are enough.
const colors = new Map();
function draw(model, on) {
  if (on && !colors.has(model)) {
    const taken = new Set(colors.values());
    const free = [...Array(COLORS).keys()].find((color) => !taken.has(color));
    colors.set(model, free ?? colors.size % COLORS);
  } else if (!on) {
    colors.delete(model);
    light(model, false);
  }
  for (const element of find(`[data-model="${model}"]`)) {
    element.classList.toggle("on", on);
    if (on) element.style.setProperty("--c", `var(--c${colors.get(model)})`);
  }
  for (const box of find(`.draw[value="${model}"]`)) box.checked = on;
  for (const legend of find(".legend")) {
    const members = [...colors.keys()].filter((member) => find(`${legend.dataset.of}[data-model="${member}"]`).length);
    legend.replaceChildren(...members.map(entry));
  }
}
function entry(model) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = names[model];
  button.setAttribute("aria-label", `Do not draw ${names[model]}`);
  button.style.setProperty("--c", `var(--c${colors.get(model)})`);
  button.addEventListener("click", () => draw(model, false));
  for (const [event, lit] of [["pointerenter", true], ["focus", true], ["pointerleave", false], ["blur", false]]) {
    button.addEventListener(event, () => light(model, lit));
  }
  const item = document.createElement("li");
  item.append(button);
  return item;
}
// The one that is pointed at comes to the front.
function light(model, on) {
  for (const chart of find("figure svg")) chart.classList.toggle("dim", on);
  for (const element of find(`svg [data-model="${model}"]`)) {
    element.classList.toggle("lit", on);
    if (on) element.parentNode.append(element);
  }
}
for (const box of find(".draw")) box.addEventListener("change", () => draw(box.value, box.checked));
for (const model of drawn) draw(model, true);

// Which models the tables show.
const search = document.getElementById("find");
const groups = find('[name="group"]');
const onlyMeasured = document.getElementById("only-measured");
const rows = find(".figures tr[data-model]");
for (const row of rows) row.dataset.group = row.parentNode.dataset.group;
function filter() {
  const wanted = search.value.trim().toLowerCase();
  const chosen = new Set(groups.filter((box) => box.checked).map((box) => box.value));
  const shown = new Set();
  for (const row of rows) {
    const fits = row.dataset.name.includes(wanted) && chosen.has(row.dataset.group)
      && !(onlyMeasured?.checked && !row.classList.contains("measured"));
    row.hidden = !fits;
    if (fits) shown.add(row.dataset.model);
  }
  for (const body of find(".figures tbody[data-group]")) {
    body.querySelector(".heading").hidden = ![...body.querySelectorAll("tr[data-model]")].some((row) => !row.hidden);
  }
  const all = new Set(rows.map((row) => row.dataset.model)).size;
  document.getElementById("shown").textContent = `${shown.size} of ${all} models`;
}
search.addEventListener("input", filter);
search.form.addEventListener("submit", (event) => event.preventDefault());
for (const box of [...groups, onlyMeasured]) box?.addEventListener("change", filter);

// Headings sort: one way, the other way, and back to the paper's order.
for (const table of find(".figures")) {
  const members = new Map([...table.tBodies].map((body) => [body, [...body.querySelectorAll("tr[data-model]")]]));
  const sorted = document.createElement("tbody");
  const heads = [...table.tHead.rows].at(-1).cells;
  for (const head of heads) {
    const byName = head.cellIndex === 0;
    const ways = byName ? ["ascending", "descending"] : ["descending", "ascending"];
    head.querySelector("button").addEventListener("click", () => {
      const way = ways[ways.indexOf(head.getAttribute("aria-sort")) + 1];
      for (const other of heads) other.removeAttribute("aria-sort");
      if (way === undefined) {
        for (const [body, own] of members) body.append(...own);
        sorted.remove();
      } else {
        head.setAttribute("aria-sort", way);
        const value = (row) => byName ? row.dataset.name : row.cells[head.cellIndex].dataset.value;
        const compare = (a, b) => byName ? value(a).localeCompare(value(b)) : value(a) - value(b);
        const all = [...members.values()].flat();
        const known = all.filter((row) => value(row) !== undefined);
        known.sort((a, b) => way === "descending" ? compare(b, a) : compare(a, b));
        sorted.append(...known, ...all.filter((row) => value(row) === undefined));
        table.append(sorted);
      }
      filter();
    });
  }
}

const heat = document.getElementById("heat");
const warm = () => document.body.classList.toggle("heat", heat.checked);
heat.addEventListener("change", warm);
warm();
filter();
