// Checks that a page is readable: it fits its window, its letters and buttons are large enough, and axe-core reports nothing serious.
import { readFileSync } from "node:fs";

import { tools } from "./browser.mjs";

/** The minimum size of letters, in CSS pixels. */
const SMALLEST_FONT = 12;
/** The minimum size of buttons (WCAG 2.2, 2.5.8). */
const SMALLEST_TARGET = 24;

const axe = readFileSync(tools.resolve("axe-core/axe.min.js"), "utf8");

/** Checks that the page is no wider than a phone, and that its letters and buttons are large enough. */
export async function fitsPhone(page, faults) {
  const found = await page.evaluate(
    ({ smallestFont, smallestTarget }) => {
      const shown = (element) => element.checkVisibility({ opacityProperty: true, visibilityProperty: true }) && element.getClientRects().length > 0;
      // Elements for screen readers only are clipped to a point.
      const cut = (element) => element.closest("[class*=sr-only], [class*=visually-hidden]") || getComputedStyle(element).clipPath.startsWith("inset(50%");
      const name = (element) => `<${element.tagName.toLowerCase()} class="${element.getAttribute("class") ?? ""}"> "${(element.textContent || element.getAttribute("aria-label") || "").trim().slice(0, 40)}"`;
      const small = new Set();
      const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
      while (walker.nextNode()) {
        const element = walker.currentNode.parentElement;
        if (!walker.currentNode.data.trim() || !shown(element) || cut(element)) continue;
        const size = parseFloat(getComputedStyle(element).fontSize);
        if (size < smallestFont) small.add(`${name(element)} in letters of ${size} px`);
      }
      const tiny = [];
      for (const element of document.querySelectorAll("button, select, input, textarea, [role=button], [role=tab]")) {
        if (!shown(element) || cut(element)) continue;
        const { width, height } = element.getBoundingClientRect();
        // A button in a sentence is as high as its lines, like a link.
        if (getComputedStyle(element).display === "inline") continue;
        if (Math.min(width, height) < smallestTarget) tiny.push(`${name(element)} of ${Math.round(width)} × ${Math.round(height)} px`);
      }
      const wide = [];
      if (document.documentElement.scrollWidth > innerWidth) {
        for (const element of document.querySelectorAll("body *")) {
          if (shown(element) && element.getBoundingClientRect().right > innerWidth + 0.5) wide.push(name(element));
        }
      }
      return { small: [...small], tiny, wide, scrollWidth: document.documentElement.scrollWidth, innerWidth };
    },
    { smallestFont: SMALLEST_FONT, smallestTarget: SMALLEST_TARGET },
  );
  faults.expect(found.scrollWidth <= found.innerWidth, `the page is ${found.scrollWidth} px wide in a window of ${found.innerWidth} px, because of ${found.wide.slice(0, 5).join(", ")}`);
  for (const text of found.small.slice(0, 10)) faults.add(`too small to read: ${text}; expected ${SMALLEST_FONT} px or more`);
  for (const text of found.tiny.slice(0, 10)) faults.add(`too small to hit: ${text}; expected ${SMALLEST_TARGET} × ${SMALLEST_TARGET} px or more`);
}

/** Adds a fault for each serious or critical violation that axe-core reports. */
export async function accessible(page, faults) {
  await page.evaluate(axe);
  const violations = await page.evaluate(async () => (await globalThis.axe.run(document, { resultTypes: ["violations"] })).violations);
  for (const { id, impact, help, nodes } of violations) {
    if (impact !== "serious" && impact !== "critical") continue;
    for (const node of nodes.slice(0, 5)) faults.add(`axe-core, ${impact}: ${help} (${id}): ${node.target.join(" ")}: ${node.any[0]?.message ?? node.html.slice(0, 120)}`);
  }
}
