// Headings sort: one way, the other way, and back to the first order.
for (const table of document.querySelectorAll(".sortable")) {
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const heads = [...table.tHead.rows[0].cells];
  for (const head of heads) {
    const byText = head.classList.contains("text");
    const ways = byText ? ["ascending", "descending"] : ["descending", "ascending"];
    head.querySelector("button").addEventListener("click", () => {
      const way = ways[ways.indexOf(head.getAttribute("aria-sort")) + 1];
      for (const other of heads) other.removeAttribute("aria-sort");
      if (way === undefined) {
        body.append(...rows);
        return;
      }
      head.setAttribute("aria-sort", way);
      const cell = (row) => row.cells[head.cellIndex];
      const known = rows.filter((row) => byText || cell(row).dataset.value !== undefined);
      const compare = byText
        ? (a, b) => cell(a).textContent.localeCompare(cell(b).textContent, undefined, { numeric: true })
        : (a, b) => cell(a).dataset.value - cell(b).dataset.value;
      known.sort((a, b) => (way === "descending" ? compare(b, a) : compare(a, b)));
      body.append(...known, ...rows.filter((row) => !known.includes(row)));
    });
  }
}

const search = document.getElementById("find");
const trials = [...document.getElementById("trials").tBodies[0].rows];
const texts = trials.map((row) => row.cells[0].textContent.toLowerCase());
function filter() {
  const wanted = search.value.trim().toLowerCase();
  let shown = 0;
  trials.forEach((row, index) => {
    row.hidden = !texts[index].includes(wanted);
    shown += !row.hidden;
  });
  document.getElementById("shown").textContent = `${shown} of ${trials.length}`;
}
search.addEventListener("input", filter);
search.form.addEventListener("submit", (event) => event.preventDefault());
filter();
