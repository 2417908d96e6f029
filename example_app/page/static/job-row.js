// One job of a timeline: its name and status, its bar, how far it is, and its log on demand.

import { element, say } from "./dom.js";
import { duration, status } from "./format.js";

const LINE = /^(\S+T\S+)\s+(\S+)\s+([^]*)$/;
const time = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });

let made = 0;

/** The row of a job: `node`, `children` for the rows of the jobs that it triggers, and `show(job, scale)`. */
export function jobRow({ name, isWaitPoint }) {
  made += 1;
  const its = element("span", { className: "job-status" });
  const title = element("p", { className: "job-name" }, element("span", { className: "name" }, name), " ", its);
  const fill = element("span", { className: "fill" });
  const bar = element("span", { className: "bar" }, fill);
  const track = element("div", { className: "track", "aria-hidden": "true" }, bar);
  const facts = element("span", { className: "facts" });
  const error = element("p", { className: "error", hidden: true });
  const log = logOf(name, `log-${made}`);
  const children = element("ul", { role: "list", className: "jobs", hidden: true });
  const node = element(
    "li",
    { className: isWaitPoint ? "job wait-point" : "job" },
    element("div", { className: "job-row" }, title, track, element("p", { className: "job-facts" }, facts, log.button)),
    error,
    log.list,
    children,
  );

  function show(job, { start, now, length }) {
    const from = Date.parse(job.startedAt) - start;
    const to = (job.finishedAt === null ? now : Date.parse(job.finishedAt)) - start;
    if (its.dataset.status !== job.status) {
      its.dataset.status = job.status;
      its.replaceChildren(status(job.status));
      bar.className = `bar bar-${job.status.toLowerCase()}`;
    }
    bar.style.setProperty("left", `${Math.max(0, (from / length) * 100)}%`);
    bar.style.setProperty("width", `${(Math.max(0, to - from) / length) * 100}%`);
    fill.style.setProperty("width", isGoingOn(job) && job.progress !== null ? `${job.progress * 100}%` : "0");
    say(facts, [duration(to - from), howFar(job)].filter(Boolean).join(" · "));
    error.hidden = job.error === null;
    say(error, job.error ?? "");
    log.show(job.logs);
  }

  return { node, children, show };
}

function isGoingOn({ status: its }) {
  return its === "RUNNING" || its === "SUSPEND";
}

function howFar(job) {
  if (!isGoingOn(job) || job.progress === null) return job.status === "WAITING" ? "waits for an answer" : "";
  return `${Math.round(job.progress * 100)} %${job.progressMessage ? `, ${job.progressMessage}` : ""}`;
}

/** A log that is shown when its button is pressed; lines are only ever added, unless it begins anew. */
function logOf(name, id) {
  const list = element("ol", { id, className: "log", hidden: true, tabIndex: 0, "aria-label": `Log of ${name}` });
  const count = element("span", {});
  const button = element(
    "button",
    { type: "button", className: "log-button", hidden: true, "aria-expanded": "false", "aria-controls": id },
    "Log",
    element("span", { className: "visually-hidden" }, ` of ${name}`),
    " ",
    count,
  );
  let shown = [];
  button.addEventListener("click", () => {
    list.hidden = !list.hidden;
    button.setAttribute("aria-expanded", String(!list.hidden));
  });

  function show(lines) {
    if (lines === shown) return;
    const isMore = shown.length <= lines.length && shown.every((line, index) => line === lines[index]);
    if (isMore) list.append(...lines.slice(shown.length).map(logLine));
    else list.replaceChildren(...lines.map(logLine));
    shown = lines;
    button.hidden = lines.length === 0;
    if (button.hidden) list.hidden = true;
    say(count, `(${lines.length})`);
  }

  return { list, button, show };
}

function logLine(line) {
  const [, at, level, text] = LINE.exec(line) ?? [];
  if (at === undefined || Number.isNaN(Date.parse(at))) return element("li", {}, line);
  const moment = element("time", { dateTime: at, title: at }, time.format(new Date(at)));
  return element("li", { className: `level-${level.toLowerCase()}` }, moment, ` ${level} ${text}`);
}
