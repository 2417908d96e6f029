// Which run is looked at: the one that the address names, so that links, the back button and reloading work.

const PREFIX = "#run-";

let chosen = () => {};

/** The address of a run on this page. */
export function addressOf(id) {
  return `${PREFIX}${id}`;
}

/** The ID of the run that is looked at, or null. */
export function selectedRun() {
  return location.hash.startsWith(PREFIX) ? decodeURIComponent(location.hash.slice(PREFIX.length)) : null;
}

/** Look at a run, or at none, without moving the focus there. */
export function selectRun(id) {
  history.replaceState(null, "", id === null ? location.pathname : addressOf(id));
  chosen(id, false);
}

/** Tell of each choice from now on: the ID, and whether it was made by a link, so that the focus is to follow. */
export function onSelection(tell) {
  chosen = tell;
  window.onhashchange = () => chosen(selectedRun(), true);
}
