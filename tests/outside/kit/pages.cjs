// Looks at pages with Chromium: widths, light and dark, print; errors, weight, axe-core.
// Reads a job as JSON from standard input, prints one JSON line for each look.
const puppeteer = require('puppeteer-core');
const axe = require('axe-core');

const job = JSON.parse(require('fs').readFileSync(0, 'utf8'));

async function look(browser, shot) {
  const context = await browser.createBrowserContext();
  const page = await context.newPage();
  const faults = [];
  let bytes = 0, requests = 0;
  page.on('pageerror', (e) => faults.push('script error: ' + e.message));
  page.on('console', (m) => { if (m.type() === 'error') faults.push('console: ' + m.text()); });
  page.on('requestfailed', (r) => faults.push('failed: ' + r.url()));
  page.on('response', async (r) => {
    requests += 1;
    if (r.url().startsWith('http')) bytes += (await r.buffer().catch(() => Buffer.alloc(0))).length;
  });
  await page.setJavaScriptEnabled(shot.script !== false);
  await page.setViewport({ width: shot.width, height: 900 });
  await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: shot.scheme || 'light' }]);
  if (shot.print) await page.emulateMediaType('print');
  await page.goto(shot.url, { waitUntil: 'load', timeout: 30000 });
  for (const step of shot.steps || []) {
    if (step.open) await page.$eval(step.open, (e) => { e.open = true; });
    if (step.type) await page.type(step.type[0], step.type[1]);
    if (step.click) await Promise.all([page.waitForNavigation({ timeout: 30000 }), page.click(step.click)]);
  }
  const out = { name: shot.name, url: page.url(), faults, bytes, requests, title: await page.title() };
  if (shot.script !== false) {
    out.overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    out.text = (await page.evaluate(() => document.body.innerText)).slice(0, 20000);
    if (shot.axe) {
      await page.evaluate(axe.source);
      const found = await page.evaluate(() => axe.run(document, { resultTypes: ['violations'] }));
      out.axe = found.violations.map((v) => ({ id: v.id, impact: v.impact, nodes: v.nodes.slice(0, 3).map((n) => n.html.slice(0, 160)) }));
    }
  }
  if (shot.file) await page.screenshot({ path: shot.file, fullPage: true });
  await context.close();
  return out;
}

(async () => {
  const browser = await puppeteer.launch({ executablePath: '/usr/bin/chromium', headless: true,
    args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'] });
  try {
    for (const shot of job) console.log(JSON.stringify(await look(browser, shot)));
  } finally {
    await browser.close();
  }
})().catch((e) => { console.error(e); process.exit(1); });
