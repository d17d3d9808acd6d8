// Looks at one page in a real browser: node look_at_page.mjs PLAYWRIGHT BROWSER AXE FILE WIDTH SCHEME PICTURE [STEP].
// PLAYWRIGHT and AXE are the folders of the packages playwright-core and axe-core. Prints what it saw as JSON: what axe
// finds against WCAG 2.1 AA, whether the page is wider than the window, requests, errors and dialogs, and its text.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [playwright, browser, axe, file, width, scheme, picture, step] = process.argv.slice(2);
const { chromium } = createRequire(import.meta.url)(playwright);
const opened = await chromium.launch({ executablePath: browser, args: ["--no-sandbox"] });
// Axe is put into the page from outside, which its policy would rightly refuse.
const context = await opened.newContext({ viewport: { width: +width, height: 900 }, colorScheme: scheme });
const page = await context.newPage();
const [requests, errors, dialogs] = [[], [], []];
page.on("request", (request) => requests.push(request.url().slice(0, 200)));
page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
page.on("pageerror", (error) => errors.push(String(error)));
page.on("dialog", (dialog) => {
  dialogs.push(dialog.message());
  dialog.dismiss();
});
const began = Date.now();
await page.goto(pathToFileURL(file).href);
const loaded = Date.now() - began;

const rows = () => page.locator("tbody tr:visible").count();
const count = () => page.locator(".count").first().innerText();
const steps = {
  // Searches, filters by each choice, sorts by keyboard, and asks for more rows.
  async list() {
    const before = await count();
    const started = Date.now();
    await page.locator(".filters input").fill("zzzz-nothing");
    const nothing = await count();
    await page.locator(".filters input").fill("");
    const heading = page.locator("table.rows th button").first();
    let sorted = "";
    if (await heading.isVisible()) {
      await heading.focus();
      await page.keyboard.press("Enter");
      sorted = await page.locator("table.rows th[aria-sort]").first().getAttribute("aria-sort");
    }
    const select = page.locator(".filters select").first();
    await select.selectOption({ index: 1 });
    const filtered = await count();
    await select.selectOption({ index: 0 });
    const more = page.locator("button.more");
    const first = await page.locator("table.rows tbody tr").count();
    if (await more.isVisible()) await more.click();
    const then = await page.locator("table.rows tbody tr").count();
    return { before, nothing, sorted, filtered, first, then, took: Date.now() - started };
  },
  async gallery() {
    const before = await count();
    await page.locator("[data-filter='not-correct']").focus();
    await page.keyboard.press("Enter");
    return { before, filtered: await count(), shown: await page.locator("[data-outcome]:visible").count() };
  },
};
const done = step ? await steps[step]() : {};
await page.screenshot({ path: picture, fullPage: false });
const wider = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
const text = await page.evaluate(() => document.body.innerText);
const marks = await page.evaluate(() => window.hostile ?? 0);
const seen = { requests: [...requests], errors: [...errors], dialogs, loaded, wider, marks, done };
await page.evaluate(readFileSync(`${axe}/axe.min.js`, "utf-8") + ";0");
const found = await page.evaluate(() =>
  axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"] }),
);
const violations = found.violations.map((v) => ({
  rule: v.id,
  nodes: v.nodes.slice(0, 4).map((n) => `${n.target.join(" ")}: ${n.any[0]?.message ?? n.failureSummary}`),
}));
console.log(JSON.stringify({ ...seen, violations, text: text.slice(0, 20000) }));
await opened.close();
