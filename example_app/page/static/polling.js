// Following lists, which have no subscription: they are read again and again while the page is visible.

import { AwayError } from "./api.js";
import { answered, failed, forgotten } from "./connection.js";
import { say } from "./dom.js";

const PAUSE_MS = 2000;
const LONGEST_PAUSE_MS = 6000;

/**
 * Read again and again.
 *
 * @param who Reads, for the state of the connection.
 * @param problem Where a refusal is told of; the reading goes on.
 * @param read Makes a promise of data.
 * @param received Called with the data.
 * @returns `refresh()` reads now, `stop()` ends it.
 */
export function follow(who, problem, read, received) {
  let stopped = false;
  let pause = PAUSE_MS;
  let wake = () => {};
  let isAwaited = false;

  async function readOnce() {
    isAwaited = false;
    try {
      const data = await read();
      if (stopped) return;
      answered(who);
      say(problem, "");
      pause = PAUSE_MS;
      if (!isAwaited) received(data);
    } catch (error) {
      if (stopped) return;
      failed(who, error, problem);
      pause = error instanceof AwayError ? Math.min(pause * 1.5, LONGEST_PAUSE_MS) : PAUSE_MS;
    }
  }

  async function run() {
    while (!stopped) {
      await readOnce();
      if (!isAwaited) await paused();
    }
  }

  function paused() {
    return new Promise((resolve) => {
      const timer = setTimeout(() => !document.hidden && wake(), pause * (0.8 + 0.4 * Math.random()));
      const onVisible = () => !document.hidden && wake();
      document.addEventListener("visibilitychange", onVisible);
      wake = () => {
        clearTimeout(timer);
        document.removeEventListener("visibilitychange", onVisible);
        resolve();
      };
    });
  }

  run();
  return {
    refresh() {
      isAwaited = true;
      wake();
    },
    stop() {
      stopped = true;
      forgotten(who);
      wake();
    },
  };
}
