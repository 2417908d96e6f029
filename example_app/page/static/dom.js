// Making elements, and lists of them that keep what did not change, so that focus, selection and scrolling stay.

/** An element with properties, `data-` and `aria-` attributes, and children, of which those that are nothing are left out. */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (name.includes("-")) made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children.filter(Boolean));
  return made;
}

/** Say something in a live region, once. */
export function say(region, text) {
  if (region.textContent !== text) region.textContent = text;
}

const shown = new WeakMap();

/** Show nothing in a parent. */
export function clearList(parent) {
  shown.delete(parent);
  parent.replaceChildren();
}

/**
 * Show a list in a parent.
 *
 * @param keyOf The key of an item.
 * @param render The element of an item; made anew only when the item changed.
 * @param fallback Gets the focus when the element that had it is gone.
 */
export function showList(parent, items, keyOf, render, fallback) {
  const before = shown.get(parent) ?? new Map();
  const after = new Map();
  const focused = parent.contains(document.activeElement) ? document.activeElement : null;
  for (const item of items) {
    const text = JSON.stringify(item);
    const known = before.get(keyOf(item));
    after.set(keyOf(item), known?.text === text ? known : { text, node: render(item) });
  }
  place(parent, [...after.values()].map(({ node }) => node));
  shown.set(parent, after);
  if (focused && !parent.contains(focused)) restoreFocus(parent, focused.dataset.focus, fallback);
}

function place(parent, nodes) {
  const wanted = new Set(nodes);
  for (const child of [...parent.children]) {
    if (!wanted.has(child)) child.remove();
  }
  nodes.forEach((node, index) => {
    if (parent.children[index] !== node) parent.insertBefore(node, parent.children[index] ?? null);
  });
}

function restoreFocus(parent, name, fallback) {
  const again = name && parent.querySelector(`[data-focus="${CSS.escape(name)}"]`);
  (again || fallback).focus();
}
