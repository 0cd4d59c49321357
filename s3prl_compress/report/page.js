"use strict";
const all = (selector, within = document) => [...within.querySelectorAll(selector)];

// A click on a heading sorts its column best first; another click reverses the order.
for (const table of all("table.sortable")) {
  const headings = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  headings.forEach((heading, column) => {
    heading.querySelector("button").addEventListener("click", () => {
      const now = heading.getAttribute("aria-sort");
      const other = now === "ascending" ? "descending" : "ascending";
      const direction = now === "none" ? heading.dataset.first : other;
      headings.forEach((cell) => cell.setAttribute("aria-sort", "none"));
      heading.setAttribute("aria-sort", direction);
      const sign = direction === "ascending" ? 1 : -1;
      const rows = [...body.rows].map((row) => [row.cells[column].dataset.sort, row]);
      rows.sort(([one], [other]) => {
        if (one === undefined || other === undefined) {
          return (one === undefined) - (other === undefined); // unknown values stay last
        }
        return sign * (heading.dataset.kind === "number" ? one - other : one.localeCompare(other));
      });
      body.append(...rows.map(([, row]) => row));
    });
  });
}

// Returns the points and labels of a table's row in every plot of its block.
const drawn = (row) => {
  const block = row.closest("table").dataset.block;
  return all(`figure[data-block="${block}"] [data-row="${row.dataset.row}"]`);
};
const rows = all("tbody tr");

// Filters the rows of all tables by words of their names and methods.
const filter = document.getElementById("filter");
const frontOnly = document.getElementById("front-only");
const shown = document.getElementById("shown");
function choose() {
  const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  const cost = document.querySelector("input[name=cost]:checked").value;
  let count = 0;
  for (const row of rows) {
    const text = row.querySelector("th").textContent.toLowerCase();
    const fronts = (row.dataset.front ?? cost).split("|");
    const kept = words.every((word) => text.includes(word));
    const hidden = !kept || (frontOnly.checked && !fronts.includes(cost));
    row.hidden = hidden;
    drawn(row).forEach((part) => part.classList.toggle("filtered", hidden));
    count += !hidden;
  }
  shown.value = count === rows.length ? "" : `${count} of ${rows.length} rows`;
}
if (filter) {
  all(".scripted").forEach((part) => { part.hidden = false; });
  filter.form.addEventListener("submit", (event) => event.preventDefault());
  filter.form.addEventListener("input", choose);
  choose(); // browsers may restore the text of an earlier visit
}

// Hover, focus or tap shows the tooltip, and highlights the upstream in the whole section.
const tip = document.getElementById("tip");
function show(target, text) {
  const [name, ...lines] = text.split("\n");
  const heading = document.createElement("strong");
  heading.textContent = name;
  tip.replaceChildren(heading, ...lines.map((line) => {
    const part = document.createElement("span");
    part.textContent = line;
    return part;
  }));
  tip.hidden = false;
  const spot = target.getBoundingClientRect();
  const room = document.documentElement.clientWidth - tip.offsetWidth - 8;
  const above = spot.top - tip.offsetHeight - 10;
  tip.style.left = `${Math.max(8, Math.min(room, spot.left + spot.width / 2 - tip.offsetWidth / 2))}px`;
  tip.style.top = `${above > 8 ? above : spot.bottom + 10}px`;
}
function pointed(target, text, partners) {
  const on = () => { show(target, text); partners.forEach((part) => part.classList.add("lit")); };
  const off = () => { tip.hidden = true; partners.forEach((part) => part.classList.remove("lit")); };
  target.addEventListener("pointerenter", on);
  target.addEventListener("focus", on);
  target.addEventListener("pointerleave", off);
  target.addEventListener("blur", off);
}
for (const row of rows) {
  const name = row.querySelector(".tip");
  if (!name) continue;
  const same = `[data-upstream="${CSS.escape(row.dataset.upstream)}"]`;
  const partners = all(same, row.closest("section"));
  pointed(name, name.title, partners);
  name.removeAttribute("title"); // otherwise the browser shows its own tooltip, too
  for (const point of drawn(row).filter((part) => part.classList.contains("point"))) {
    const title = point.querySelector("title");
    point.setAttribute("aria-label", title.textContent);
    pointed(point, title.textContent, partners);
    title.remove();
  }
}
addEventListener("keydown", (event) => { if (event.key === "Escape") tip.hidden = true; });
addEventListener("scroll", () => { tip.hidden = true; }, { passive: true });
