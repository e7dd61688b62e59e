// Validates a bill of materials by the strict schema of its version of CycloneDX, and by further rules.
// `node validate.mjs FILE`; NODE_TOOLS is the directory with node_modules.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const { Validation } = createRequire(join(process.env.NODE_TOOLS, "package.json"))("@cyclonedx/cyclonedx-library");
const text = readFileSync(process.argv[2], "utf8");
const bill = JSON.parse(text);
const faults = [];

const error = await new Validation.JsonStrictValidator(bill.specVersion).validate(text);
if (error !== null) faults.push(`the schema of CycloneDX ${bill.specVersion}: ${JSON.stringify(error)}`);

const components = [bill.metadata.component, ...bill.components];
const known = new Set(components.map((component) => component["bom-ref"]));
const depended = new Map(bill.dependencies.map((entry) => [entry.ref, entry.dependsOn]));
for (const [reference, others] of depended) {
  for (const each of [reference, ...others]) if (!known.has(each)) faults.push(`${each} is not a component`);
}
// The program depends on each component.
const reached = new Set();
const open = [bill.metadata.component["bom-ref"]];
while (open.length > 0) {
  const next = open.pop();
  if (reached.has(next)) continue;
  reached.add(next);
  open.push(...(depended.get(next) ?? []));
}
for (const reference of known) if (!reached.has(reference)) faults.push(`nothing depends on ${reference}`);
for (const { name, purl, hashes, licenses } of components) {
  if (purl?.startsWith("pkg:cargo/") && !hashes) faults.push(`${name} has no hash`);
  if (!licenses) faults.push(`${name} has no licence`);
}
// Known components, and packages that must not be components.
for (const name of ["sea-orm", "tonic", "poem", "sqlite", "librdkafka"]) {
  if (!bill.components.some((component) => component.name === name && component.scope === "required")) faults.push(`${name} is not listed as linked`);
}
for (const name of ["httpmock", "merch-test-store", "progenitor"]) {
  if (bill.components.some((component) => component.name === name)) faults.push(`${name} is listed, and is only of tests or generators`);
}
if (faults.length > 0) {
  console.error(faults.join("\n"));
  process.exit(1);
}
