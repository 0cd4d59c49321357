"use strict";
// Click a heading: its column's best first, click again: the other way round.
for (const table of document.querySelectorAll("table.sortable")) {
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
          return (one === undefined) - (other === undefined); // what is not known stays last
        }
        return sign * (heading.dataset.kind === "number" ? one - other : one.localeCompare(other));
      });
      body.append(...rows.map(([, row]) => row));
    });
  });
}
