// Who is looking at the page. The demo believes anybody.

import { callAs } from "./api.js";
import { element } from "./dom.js";

const CALLERS = [
  { id: "alice", label: "Alice, a customer", isManager: false },
  { id: "bob", label: "Bob, a customer", isManager: false },
  { id: "manager", label: "the manager", isManager: true },
];
const KEPT = "example-shop-caller";

const select = document.getElementById("caller");

/** Let one choose, and tell of who it is, now and at every change. */
export function chooseCaller(chosen) {
  select.append(...CALLERS.map(({ id, label }) => element("option", { value: id }, label)));
  select.value = CALLERS.some(({ id }) => id === sessionStorage.getItem(KEPT)) ? sessionStorage.getItem(KEPT) : "alice";
  const tell = () => {
    sessionStorage.setItem(KEPT, select.value);
    callAs(select.value);
    chosen(CALLERS.find(({ id }) => id === select.value));
  };
  select.addEventListener("change", tell);
  tell();
}
