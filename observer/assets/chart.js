// Draws the claim over what the kernel allows, and shades the drift. The numbers are the API's history.

"use strict";

(() => {
  const place = () => document.getElementById("chart");
  const readout = () => document.getElementById("readout");
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const number = new Intl.NumberFormat("en").format;
  const signed = new Intl.NumberFormat("en", { signDisplay: "exceptZero" }).format;

  // Between two lines of the grid: connections are whole.
  const WHOLE = [...Array(12).keys()].flatMap((power) => [1, 2, 5].map((digit) => digit * 10 ** power));
  const SECONDS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 21_600, 86_400];
  const MOST = 720; // as many as the observer remembers

  let checks = [];
  let plot;
  let shown; // the index of the check that is read out; none: the last

  // --- Words -----------------------------------------------------------------------------------

  const driftOf = ({ claim, low, high, verdict }) => {
    if (verdict === "blind" || claim === null || low === null) return null;
    return claim > high ? claim - high : Math.min(claim - low, 0);
  };

  const clock = (at) => `${at.slice(11, 19)} UTC`;

  function describe(check) {
    const parts = [clock(check.at)];
    parts.push(check.claim === null ? "no claim" : `gauge ${number(check.claim)}`);
    if (check.low !== null) {
      const band = check.low === check.high ? number(check.low) : `${number(check.low)} to ${number(check.high)}`;
      parts.push(`kernel ${band}`);
    }
    const drift = driftOf(check);
    if (drift) parts.push(`drift ${signed(drift)}`);
    parts.push(check.reason ? `${check.verdict}: ${check.reason}` : check.verdict);
    return parts.join(" · ");
  }

  function read() {
    const check = checks[Math.min(shown ?? checks.length - 1, checks.length - 1)];
    readout().textContent = check ? describe(check) : "";
  }

  // --- Drawing ---------------------------------------------------------------------------------

  // Stripes, so that a drift is seen without its colour as well; they lean up or down as it does.
  function stripes(context, name, leansUp) {
    const size = Math.round(6 * devicePixelRatio);
    const tile = document.createElement("canvas");
    tile.width = tile.height = size;
    const pen = tile.getContext("2d");
    pen.fillStyle = colour(`${name}-ground`);
    pen.fillRect(0, 0, size, size);
    pen.strokeStyle = colour(name);
    pen.lineWidth = size / 4;
    for (const offset of [-size, 0, size]) {
      pen.beginPath();
      pen.moveTo(offset, leansUp ? size : 0);
      pen.lineTo(offset + size, leansUp ? 0 : size);
      pen.stroke();
    }
    return context.createPattern(tile, "repeat");
  }

  function shade(plot) {
    const { ctx: pen, bbox } = plot;
    // On whole pixels, or a seam would be seen between two checks.
    const x = (index) => Math.round(plot.valToPos(plot.data[0][index], "x", true));
    const y = (value) => plot.valToPos(value, "y", true);
    const styles = { band: colour("band"), blind: colour("blind-ground") };
    styles.over = stripes(pen, "over", true);
    styles.under = stripes(pen, "under", false);
    pen.save();
    pen.beginPath();
    pen.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    pen.clip();
    const fill = (style, left, right, top, bottom) => {
      pen.fillStyle = style;
      pen.fillRect(left, top, Math.max(right - left, 1), Math.max(bottom - top, 1));
    };
    checks.forEach((check, index) => {
      const left = x(index);
      const right = index + 1 < checks.length ? x(index + 1) : bbox.left + bbox.width;
      const drift = driftOf(check);
      if (drift === null) {
        fill(styles.blind, left, right, bbox.top, bbox.top + bbox.height);
      }
      if (check.low !== null) {
        const half = devicePixelRatio; // a band of one number is still to be seen
        fill(styles.band, left, right, y(check.high) - half, y(check.low) + half);
      }
      if (drift > 0) fill(styles.over, left, right, y(check.claim), y(check.high));
      if (drift < 0) fill(styles.under, left, right, y(check.low), y(check.claim));
    });
    pen.restore();
  }

  const column = (of) => checks.map(of);
  const columns = () => [
    column(({ at }) => Date.parse(at) / 1_000),
    column(({ high }) => high),
    column(({ low }) => low),
    column(({ claim }) => claim),
  ];

  // Room above and below, from zero where that is near, and whole numbers only.
  function range(_plot, least, most) {
    if (least === null) return [0, 1];
    const room = Math.max((most - least) * 0.12, 1);
    const from = least >= 0 && least <= most / 2 ? 0 : least - room;
    return [least < 0 ? least - room : Math.max(from, 0), most + room];
  }

  function size() {
    const { width, height } = place().getBoundingClientRect();
    return { width: Math.max(Math.floor(width), 100), height: Math.floor(height) };
  }

  function draw() {
    plot?.destroy();
    const stepped = uPlot.paths.stepped({ align: 1 });
    const axis = {
      stroke: colour("muted"),
      font: `11px ${colour("sans")}`,
      grid: { stroke: colour("line"), width: 1 },
      ticks: { stroke: colour("line"), width: 1, size: 4 },
    };
    const line = (name, width) => ({ stroke: colour(name), width, paths: stepped, points: { show: false } });
    const options = {
      ...size(),
      padding: [8, 8, 0, 0],
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1_000), "Etc/UTC"),
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 7 } },
      scales: { y: { range } },
      axes: [
        {
          ...axis,
          size: 28,
          space: 80,
          incrs: SECONDS,
          values: (_plot, times) => times.map((time) => new Date(time * 1_000).toISOString().slice(11, 19)),
        },
        // As wide as its longest number.
        { ...axis, size: (_plot, texts) => 18 + 7 * Math.max(2, ...(texts ?? []).map(({ length }) => length)), incrs: WHOLE },
      ],
      series: [{}, line("band-edge", 1), line("band-edge", 1), line("claim", 2)],
      hooks: { drawAxes: [shade], setCursor: [({ cursor }) => point(cursor.idx)] },
    };
    plot = new uPlot(options, columns(), place());
    // What is drawn is said by the group's name and by the readout.
    plot.root.setAttribute("aria-hidden", "true");
  }

  // --- Reading by pointer and by keys ------------------------------------------------------------

  function point(index) {
    shown = index ?? undefined;
    read();
  }

  function goTo(index) {
    const within = Math.max(0, Math.min(index, checks.length - 1));
    // The pointer is put there; that a check is read out follows from it.
    plot.setCursor({ left: plot.valToPos(plot.data[0][within], "x"), top: 0 });
    point(within);
  }

  const KEYS = {
    ArrowLeft: (at) => at - 1,
    ArrowRight: (at) => at + 1,
    PageUp: (at) => at - 10,
    PageDown: (at) => at + 10,
    Home: () => 0,
    End: (_at, last) => last,
  };

  function onKey(event) {
    const last = checks.length - 1;
    if (!plot || event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "Escape") {
      plot.setCursor({ left: -10, top: -10 });
    } else if (event.key in KEYS) {
      goTo(KEYS[event.key](shown ?? last, last));
      event.preventDefault();
    }
  }

  // --- Fetching ----------------------------------------------------------------------------------

  async function load() {
    const chart = place();
    if (!chart) return;
    const name = encodeURIComponent(chart.dataset.target);
    const last = checks.at(-1);
    const query = last ? `?after=${encodeURIComponent(last.at)}` : "";
    const response = await fetch(`/api/v1/targets/${name}/history${query}`, { cache: "no-store" });
    if (!response.ok) return;
    const { checks: fresh } = await response.json();
    if (fresh.length === 0 && plot) return;
    checks = [...checks, ...fresh].slice(-MOST);
    if (checks.length < 2) return;
    chart.hidden = readout().hidden = false;
    if (plot) {
      plot.setData(columns());
      if (shown !== undefined) goTo(Math.max(shown - Math.max(checks.length + fresh.length - MOST, 0), 0));
    } else {
      draw();
      new ResizeObserver(() => plot.setSize(size())).observe(chart);
      chart.addEventListener("keydown", onKey);
      // Numbers that change by themselves are not read aloud; those that were asked for are.
      chart.addEventListener("focus", () => readout().setAttribute("aria-live", "polite"));
      chart.addEventListener("blur", () => readout().removeAttribute("aria-live"));
    }
    read();
  }

  // One after the other: a check must not be fetched twice.
  let loading = Promise.resolve();
  const loadNext = () => {
    loading = loading.then(load).catch(() => {}); // that there is no connection is said elsewhere
  };

  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => plot && draw());
  window.addEventListener("carried-over", loadNext);
  loadNext();
})();
