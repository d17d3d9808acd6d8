// Walks through Dagster's page in a real browser, one step a call: node walk_page.mjs PACKAGE BROWSER PAGE STEP PICTURE
// [PLACE [TEXT]]. PACKAGE is the folder of playwright-core, PLACE what the step is about. A step prints what it saw as
// JSON and leaves a picture.
import { createRequire } from "node:module";

const [playwright, browser, address, step, picture, place, text] = process.argv.slice(2);
const { chromium } = createRequire(import.meta.url)(playwright);
const opened = await chromium.launch({ executablePath: browser, args: ["--no-sandbox"] });
const page = await opened.newPage({ viewport: { width: 1500, height: 950 } });
page.setDefaultTimeout(120_000);

const settle = (seconds) => page.waitForTimeout(1000 * seconds);
// The names of buttons begin with that of their icon; `exactly` is for those without one.
const button = (name, exactly = false) => page.getByRole("button", { name, exact: exactly }).first();

// The launchpad once it has looked at what stands in it.
const checked = async () => {
  await settle(5);
  await page.getByText("Checking config").waitFor({ state: "hidden" });
  await settle(1);
};

const steps = {
  async materialize_all() {
    await page.goto(`${address}/asset-groups`);
    await button("Materialize").click();
    await button("All", true).click();
    await settle(1);
    const dialog = await page.getByRole("dialog").innerText();
    await button("Launch backfill").click();
    await page.getByRole("dialog").waitFor({ state: "detached" });
    return { dialog };
  },

  // The launchpad of an asset's page or of a selection in the graph: as it opens, or with YAML in place of that,
  // launched where the page lets one.
  async launchpad() {
    await page.goto(`${address}/${place}`);
    await settle(3);
    await button("Materialize").click({ modifiers: ["Shift"] });
    await settle(4);
    const sure = button("Confirm");
    if (await sure.count()) await sure.click();
    const editor = page.getByRole("dialog").locator(".CodeMirror").first(); // the graph's selection is one too
    await editor.waitFor();
    await checked();
    const opens = await editor.evaluate((element) => element.CodeMirror.getValue());
    if (text) {
      await editor.evaluate((element, given) => element.CodeMirror.setValue(given), text);
      await checked();
    }
    await page.screenshot({ path: picture });
    const dialog = await page.getByRole("dialog").innerText();
    const launch = page.getByRole("dialog").getByRole("button", { name: /Materialize/ });
    const refused = await launch.isDisabled();
    if (text && !refused) {
      await launch.click();
      await page.getByText(/Launched run|runs\/[0-9a-f]{8}/).first().waitFor({ timeout: 20_000 }).catch(() => {});
    }
    return { opens, dialog, refused };
  },

  async checks() {
    await page.goto(`${address}/assets/${place}?view=checks`);
    await button("Execute all").click();
    await page.getByText(/Launched run/).first().waitFor();
    return {};
  },

  // The checks of a corpus: the job has a field for the partition, which the buttons of a check have not.
  async check_corpus() {
    await page.goto(`${address}/locations/visor/jobs/check_corpus/playground`);
    await page.getByPlaceholder("Partition").click();
    await page.getByText(place, { exact: true }).last().click();
    await settle(2);
    await button("Launch Run").click();
    await settle(5);
    return {};
  },

  // The end of a run that is under way, by the button of its own page.
  async stop() {
    await page.goto(`${address}/runs/${place}`);
    await button("Terminate").click();
    await page.getByRole("dialog").getByRole("button", { name: "Terminate 1 run" }).click();
    await page.getByText("Canceled", { exact: true }).first().waitFor();
    await settle(3);
    return {};
  },

  // An automation is switched on by the switch of its own page.
  async switch_on() {
    await page.goto(`${address}/${place}`);
    const toggle = page.locator('input[type="checkbox"]').first();
    await toggle.waitFor({ state: "attached" });
    await settle(3);
    const before = await toggle.isChecked();
    await toggle.dispatchEvent("click");
    await settle(5);
    return { before, after: await toggle.isChecked() };
  },

  // From an asset to its run in MLflow, as a link leads there.
  async follow() {
    await page.goto(`${address}/${place}`);
    const link = page.getByRole("link", { name: /#\/runs\// }).first();
    await link.waitFor();
    await page.goto(await link.getAttribute("href"));
    await settle(10);
    return { text: await page.locator("body").innerText(), address: page.url() };
  },

  // A registered model, from the list of models to the version of an alias.
  async registered() {
    await page.goto(`${address}/#/models`);
    await page.getByRole("dialog").first().waitFor({ timeout: 10_000 }).catch(() => {}); // MLflow's word of welcome
    await page.keyboard.press("Escape");
    await page.getByText(place).first().click();
    await page.getByText("Aliases").first().waitFor();
    await settle(5);
    return { text: await page.locator("body").innerText() };
  },

  // A page, once it shows a text if one is given; it is loaded again meanwhile, as events do not come by themselves.
  async look() {
    for (let tries = 0; ; tries++) {
      await page.goto(`${address}/${place}`);
      if (!text) break;
      const shown = page.getByText(text).first().waitFor({ timeout: 30_000 });
      if (await shown.then(() => true, (error) => { if (tries === 4) throw error; return false; })) break;
    }
    await settle(8);
    return { text: await page.locator("body").innerText() };
  },
};

try {
  const seen = await steps[step]();
  if (step !== "launchpad") await page.screenshot({ path: picture });
  console.log(JSON.stringify(seen));
} catch (error) {
  await page.screenshot({ path: picture });
  throw error;
} finally {
  await opened.close();
}
