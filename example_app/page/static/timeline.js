// The jobs of a run as bars on an axis of time, each below the one that triggered it. What is there is changed in place,
// so that focus, selection and open logs stay.

import { serverNow } from "./api.js";
import { element } from "./dom.js";
import { duration } from "./format.js";
import { jobRow } from "./job-row.js";

const STEPS = [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 43200, 86400];
const MOST_TICKS = 6;
const LEAST_MS = 250;

/** A timeline that shows nothing yet: `show(state)` shows a run, `tick()` moves on what goes on. */
export function timeline(axis, list) {
  const rows = new Map();
  let shown = null;

  function draw() {
    const { run, jobs } = shown;
    const scale = scaleOf(run, jobs);
    drawAxis(axis, scale);
    for (const { row, job } of rows.values()) row.show(job, scale);
  }

  return {
    show(state) {
      shown = state;
      const present = new Set(state.jobs.map(({ id }) => id));
      for (const [id, { row }] of rows) {
        if (!present.has(id)) row.node.remove(), rows.delete(id);
      }
      for (const job of state.jobs) {
        const row = rows.get(job.id)?.row ?? jobRow(job);
        rows.set(job.id, { row, job: isCause(job, state.jobs) ? job : { ...job, error: null } });
      }
      nest(list, state.jobs, rows);
      draw();
    },
    tick() {
      if (shown !== null && shown.jobs.some(({ finishedAt }) => finishedAt === null)) draw();
    },
  };
}

/** Whether the error of a job, if it has one, is its own: what triggered it fails with the same. */
function isCause({ stackedName, error }, jobs) {
  return !jobs.some((one) => one.error === error && one.stackedName.startsWith(`${stackedName}/`));
}

/** Put each row below that of the job that triggered it, which is before it. */
function nest(list, jobs, rows) {
  const places = new Map();
  for (const { id, stackedName } of jobs) {
    const parent = places.get(stackedName.split("/").slice(0, -1).join("/")) ?? list;
    const { row } = rows.get(id);
    if (row.node.parentNode !== parent) parent.append(row.node);
    parent.hidden = false;
    places.set(stackedName, row.children);
  }
}

/** From when to when, in milliseconds, and how far ticks are apart; what goes on has room to grow. */
function scaleOf(run, jobs) {
  const starts = jobs.map(({ startedAt }) => Date.parse(startedAt));
  const start = Math.min(...starts, Date.parse(run.startedAt ?? run.createdAt));
  const isOpen = jobs.some(({ finishedAt }) => finishedAt === null);
  const ends = jobs.map(({ finishedAt }) => Date.parse(finishedAt)).filter(Boolean);
  const now = Math.max(isOpen ? serverNow() : start, start, ...ends);
  const length = Math.max(now - start, LEAST_MS);
  const step = 1000 * (STEPS.find((one) => (length * 1.02) / (one * 1000) <= MOST_TICKS) ?? length / 1000 / MOST_TICKS);
  return { start, now, step, length: isOpen ? Math.ceil((length * 1.02) / step) * step : length };
}

function drawAxis(axis, { step, length }) {
  const count = Math.floor(length / step + 1e-9);
  const key = `${step} ${count} ${length}`;
  if (axis.dataset.key === key) return;
  axis.dataset.key = key;
  const ticks = Array.from({ length: count + 1 }, (_, index) => {
    const tick = element("span", { className: "tick" }, element("span", {}, duration(index * step).replace(/^0 ms/, "0")));
    tick.style.setProperty("left", `${((index * step) / length) * 100}%`);
    return tick;
  });
  axis.replaceChildren(...ticks);
}
