// Rows of tables. On narrow screens each cell gets a line of its own, with its heading before it (see table.css); the
// roles are said because browsers forget them there.

import { element } from "./dom.js";

/** The head of a table. */
export function tableHead(labels) {
  const cells = labels.map((label) => element("th", { scope: "col", role: "columnheader" }, label));
  return element("thead", { role: "rowgroup" }, element("tr", { role: "row" }, ...cells));
}

/**
 * A row.
 *
 * @param properties Of its element.
 * @param cells For each the heading of its column, and what is in it; the first names the row.
 */
export function tableRow(properties, [[, name], ...cells]) {
  return element(
    "tr",
    { role: "row", ...properties },
    element("th", { scope: "row", role: "rowheader" }, name),
    ...cells.map(([label, ...content]) => element("td", { role: "cell", "data-label": label }, ...content)),
  );
}
