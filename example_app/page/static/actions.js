// Doing what a click asks for, once, and telling how it went.

import { AwayError, send } from "./api.js";
import { say } from "./dom.js";

const news = document.getElementById("news");
const problem = document.getElementById("problem");

const NEWS_MS = 10000;
const TRIES = 4;
const PAUSE_MS = 800;

const underWay = new Set();
const keys = new Map();
let timer = null;

/**
 * Run a mutation, unless the very same is under way: a double click does it once.
 *
 * @param tell Makes the news of its data.
 * @returns Whether it was done.
 */
export function act(mutation, variables, tell) {
  const work = async (key) => tell(await send(mutation, variables, key));
  return actOnce(JSON.stringify([mutation, variables]), work, { tries: 1 });
}

/**
 * Do something, unless the very same is under way.
 *
 * @param what Names it: the same again, after no answer, gets the same key, so that it is not done twice.
 * @param work Gets the key, and makes a promise of the news; it may be called again.
 * @param tries How often, where there is no answer.
 * @returns Whether it was done.
 */
export async function actOnce(what, work, { tries = TRIES } = {}) {
  if (underWay.has(what)) return false;
  underWay.add(what);
  document.body.setAttribute("aria-busy", "true");
  clearTimeout(timer);
  say(problem, "");
  say(news, "");
  if (!keys.has(what)) keys.set(what, randomKey());
  try {
    const said = await repeated(() => work(keys.get(what)), tries);
    keys.delete(what);
    say(news, said);
    timer = setTimeout(() => say(news, ""), NEWS_MS);
    return true;
  } catch (error) {
    if (!(error instanceof AwayError)) keys.delete(what);
    say(news, "");
    say(problem, error.message);
    return false;
  } finally {
    underWay.delete(what);
    if (underWay.size === 0) document.body.removeAttribute("aria-busy");
  }
}

async function repeated(work, tries) {
  for (let left = tries - 1; ; left -= 1) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof AwayError) || left <= 0) throw error;
      say(news, "The shop did not answer. Trying again; nothing is done twice.");
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS * (tries - left) * (0.5 + Math.random())));
    }
  }
}

/** A random UUID; `crypto.randomUUID` is not there on pages that come from another host without TLS. */
function randomKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
