// Keeps an open page up to date. The server renders all of it, always: when something has changed the
// page is fetched anew and what differs is carried over, so that focus, selection and scroll stay.
// Verdicts and numbers are not this script's business.

"use strict";

(() => {
  const RETRY_MS = 3_000;
  const SILENCE_MS = 30_000; // longer than an observer at work is silent; then it is asked

  const root = document.documentElement;
  const connection = document.getElementById("connection");
  // The target that is shown stays, also when another becomes the worst.
  const target = document.getElementById("target")?.dataset.key;
  const page = target ? `/?target=${encodeURIComponent(target)}` : location.href;
  let asOf = connection.querySelector("time").textContent;

  // --- Carrying over -------------------------------------------------------------------------

  const keyOf = (node) => (node.nodeType === Node.ELEMENT_NODE ? node.id || node.dataset.key : undefined);

  const isSame = (one, other) =>
    one.nodeType === other.nodeType && one.nodeName === other.nodeName && keyOf(one) === keyOf(other);

  // What is marked `own` belongs to the script, for as long as it stands for the same target.
  const isOwn = (one, other) =>
    one.dataset.live === "own" && one.dataset.target === other.dataset.target;

  function carryOver(from, to) {
    if (from.nodeType !== Node.ELEMENT_NODE) {
      if (from.nodeValue !== to.nodeValue) from.nodeValue = to.nodeValue;
      return;
    }
    if (isOwn(from, to)) return;
    for (const { name } of [...from.attributes]) {
      if (!to.hasAttribute(name)) from.removeAttribute(name);
    }
    for (const { name, value } of to.attributes) {
      if (from.getAttribute(name) !== value) from.setAttribute(name, value);
    }
    let place = from.firstChild;
    for (const child of [...to.childNodes]) {
      let match = place;
      const key = keyOf(child);
      while (key && match && !isSame(match, child)) match = match.nextSibling;
      if (match && isSame(match, child)) {
        if (match !== place) from.insertBefore(match, place);
        else place = place.nextSibling;
        carryOver(match, child);
      } else {
        from.insertBefore(document.importNode(child, true), place);
      }
    }
    while (place) {
      const gone = place;
      place = place.nextSibling;
      gone.remove();
    }
  }

  const verdicts = (shown) =>
    new Map([...shown.querySelectorAll("[data-verdict][data-key]")].map((element) => [element.dataset.key, element]));

  // For those who are read to: only that a verdict has changed, not every number.
  function announce(before, fresh) {
    const changed = [];
    for (const [name, element] of verdicts(fresh)) {
      if (before.has(name) && before.get(name) !== element.dataset.verdict) {
        const sentence = element.querySelector("#sentence, .what").textContent;
        changed.push(`${name}: ${sentence}`);
      }
    }
    if (changed.length > 0) {
      document.getElementById("announcement").textContent =
        changed.length > 3 ? `${changed.length} verdicts have changed.` : changed.join(" ");
    }
  }

  // --- Fetching ------------------------------------------------------------------------------

  let isFetching = false;
  let isWanted = false;

  async function refresh() {
    isWanted = true;
    if (isFetching) return;
    isFetching = true;
    try {
      while (isWanted) {
        isWanted = false;
        const response = await fetch(page, { cache: "no-store", signal: AbortSignal.timeout(10_000) });
        if (!response.ok) throw new Error(`the page answered ${response.status}`);
        show(new DOMParser().parseFromString(await response.text(), "text/html"));
      }
      setLive();
    } catch {
      setStale();
    } finally {
      isFetching = false;
    }
  }

  function show(fresh) {
    if (fresh.body.dataset.assets !== document.body.dataset.assets) {
      // Another observer answers now, with another script.
      location.reload();
      return;
    }
    const before = new Map([...verdicts(document)].map(([name, element]) => [name, element.dataset.verdict]));
    const focused = document.activeElement;
    document.title = fresh.title;
    carryOver(document.querySelector("main"), fresh.querySelector("main"));
    if (focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
    announce(before, fresh);
    filter();
    asOf = fresh.querySelector("#connection time").textContent;
    window.dispatchEvent(new Event("carried-over"));
  }

  // --- Whether what stands here is so now ------------------------------------------------------

  function tell(state, words) {
    root.dataset.connection = state;
    const marked = document.createElement("span");
    marked.className = "state";
    marked.textContent = words;
    const time = document.createElement("time");
    time.textContent = asOf;
    connection.replaceChildren(marked, state === "live" ? " · as of " : " What stands here is as of ", time);
  }

  const setLive = () => tell("live", "live");

  function setStale() {
    if (root.dataset.connection !== "stale") connection.setAttribute("role", "status");
    tell("stale", "Disconnected; trying again.");
  }

  let source;
  let silence;

  function listen() {
    source?.close();
    source = new EventSource("/api/v1/stream");
    source.addEventListener("targets", () => {
      heard();
      refresh();
    });
    source.addEventListener("error", () => {
      setStale();
      // The browser tries again after a broken connection, and not after an answer such as 503.
      if (source.readyState === EventSource.CLOSED) setTimeout(listen, RETRY_MS);
    });
    heard();
  }

  // A connection may be gone without a word: whoever is silent for long is asked.
  function heard() {
    clearTimeout(silence);
    silence = setTimeout(() => {
      heard();
      refresh();
    }, SILENCE_MS);
  }

  // --- Searching the list ----------------------------------------------------------------------

  function filter() {
    const input = document.getElementById("filter-text");
    if (!input) return;
    const text = input.value.trim().toLowerCase();
    let shown = 0;
    const rows = document.querySelectorAll("tr[data-target]");
    for (const row of rows) {
      const { target, verdict } = row.dataset;
      row.hidden = !`${target} ${verdict}`.toLowerCase().includes(text);
      shown += row.hidden ? 0 : 1;
    }
    document.getElementById("filter-count").textContent = text ? `${shown} of ${rows.length}` : "";
  }

  const input = document.getElementById("filter-text");
  if (input) {
    document.getElementById("filter").hidden = false;
    input.addEventListener("input", filter);
  }

  listen();
})();
