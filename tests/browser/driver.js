// Drives a headless Chromium for tests: a command a line on stdin, as JSON, and an answer a line on
// stdout. It reports what people meet (text, tables, pictures) and judges nothing.
//
// NODE_PATH has playwright-core and axe-core, CHROMIUM names the browser.

"use strict";

const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");
const readline = require("node:readline");
const axe = require("axe-core");
const { chromium } = require("playwright-core");

const OPTIONS = [
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
const SIZES = { wide: { width: 1280, height: 900 }, narrow: { width: 360, height: 740 } };
const SCHEMES = ["light", "dark"];

// What went wrong since the browser was started, in the words of the browser.
const problems = [];
let profile;
let context;
let page;

function watch(host) {
  page.on("console", (message) => {
    if (message.type() === "error") problems.push(`console: ${message.text()}`);
  });
  page.on("pageerror", (error) => problems.push(`error: ${error.message}`));
  page.on("request", (request) => {
    const url = new URL(request.url());
    if (url.host !== host) problems.push(`request: ${request.url()}`);
  });
}

const COMMANDS = {
  // A browser with an empty profile, on one page.
  async open({ url, scripts = true, size = "wide" }) {
    await COMMANDS.close();
    profile = fs.mkdtempSync(path.join(os.tmpdir(), "browser-"));
    context = await chromium.launchPersistentContext(profile, {
      executablePath: process.env.CHROMIUM,
      args: OPTIONS,
      chromiumSandbox: false,
      headless: true,
      javaScriptEnabled: scripts,
      viewport: SIZES[size],
    });
    page = context.pages()[0];
    watch(new URL(url).host);
    const response = await page.goto(url);
    return { status: response.status(), headers: response.headers() };
  },

  async close() {
    await context?.close();
    if (profile) fs.rmSync(profile, { recursive: true, force: true });
    context = profile = undefined;
  },

  // The texts of every element that the selector finds and that is shown.
  async texts({ selector }) {
    const found = await page.locator(selector).filter({ visible: true }).all();
    return Promise.all(found.map(async (element) => (await element.innerText()).trim()));
  },

  // The cells of a table's rows.
  async rows({ selector }) {
    return page.locator(`${selector} tbody tr`).evaluateAll((rows) =>
      rows.filter((row) => row.checkVisibility()).map((row) => [...row.cells].map((cell) => cell.innerText.trim())),
    );
  },

  async attribute({ selector, name }) {
    return page.locator(selector).first().getAttribute(name);
  },

  async title() {
    return page.title();
  },

  // Keys as a person presses them, with the focus where it is.
  async press({ key }) {
    await page.keyboard.press(key);
    return page.evaluate(() => {
      const { activeElement: focus } = document;
      return focus.id || focus.getAttribute("href") || focus.nodeName;
    });
  },

  async focus({ selector }) {
    await page.locator(selector).first().focus();
  },

  async fill({ selector, text }) {
    await page.locator(selector).fill(text);
  },

  // Pictures in both colour schemes, wide and narrow; which of them can be scrolled sideways.
  async pictures({ folder, name }) {
    fs.mkdirSync(folder, { recursive: true });
    const overflowing = [];
    for (const colorScheme of SCHEMES) {
      for (const [size, viewport] of Object.entries(SIZES)) {
        await page.emulateMedia({ colorScheme });
        await page.setViewportSize(viewport);
        // Two frames: what is observed in the first is drawn in the second.
        await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
        const file = path.join(folder, `${name}-${colorScheme}-${size}.png`);
        await page.screenshot({ path: file, fullPage: true });
        const isOverflowing = await page.evaluate(() => {
          const { scrollWidth, clientWidth } = document.documentElement;
          return scrollWidth > clientWidth;
        });
        if (isOverflowing) overflowing.push(`${colorScheme} ${size}`);
      }
    }
    await page.emulateMedia({ colorScheme: "light" });
    await page.setViewportSize(SIZES.wide);
    return overflowing;
  },

  // What axe finds, in both colour schemes.
  async axe() {
    await page.evaluate(axe.source);
    const found = [];
    for (const colorScheme of SCHEMES) {
      await page.emulateMedia({ colorScheme });
      const { violations } = await page.evaluate(() => window.axe.run());
      for (const { id, help, nodes } of violations) {
        found.push(`${colorScheme}: ${id}: ${help}: ${nodes.map(({ html }) => html).join(" ")}`);
      }
    }
    await page.emulateMedia({ colorScheme: "light" });
    return found;
  },

  async problems() {
    return problems.splice(0);
  },
};

async function main() {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const { do: name, ...rest } = JSON.parse(line);
    let answer;
    try {
      answer = { done: (await COMMANDS[name](rest)) ?? null };
    } catch (error) {
      answer = { failed: `${name}: ${error.message}` };
    }
    process.stdout.write(`${JSON.stringify(answer)}\n`);
  }
  await COMMANDS.close();
}

main();
