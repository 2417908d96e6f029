// Doing something for who looks at the page, and telling how it went.

import { send } from "./api.js";
import { say } from "./dom.js";

const news = document.getElementById("news");
const problem = document.getElementById("problem");

const underWay = new Set();

/**
 * Run a mutation, unless the very same is under way: a double click does it once.
 *
 * @param tell Makes the news of its data.
 * @returns Whether it was done.
 */
export async function act(mutation, variables, tell) {
  const key = JSON.stringify([mutation, variables]);
  if (underWay.has(key)) return false;
  underWay.add(key);
  document.body.setAttribute("aria-busy", "true");
  say(problem, "");
  try {
    say(news, tell(await send(mutation, variables)));
    return true;
  } catch (error) {
    say(news, "");
    say(problem, error.message);
    return false;
  } finally {
    underWay.delete(key);
    if (underWay.size === 0) document.body.removeAttribute("aria-busy");
  }
}
