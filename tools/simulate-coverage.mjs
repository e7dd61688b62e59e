// Reads the output of `llvm-cov export`. Prints how many regions of each file were executed: of all,
// and of the functions that ran. Writes the lines of the others to a file.
import { readFileSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";

const [missedPath, ...files] = process.argv.slice(2);
const CODE = 0;
const { functions } = JSON.parse(readFileSync(0, "utf8")).data[0];
const width = Math.max(...files.map((file) => file.length));
const missed = [];

// Positions compare as numbers.
const position = (line, column) => line * 1000 + column;
const share = (regions) => {
  const reached = regions.filter(({ count }) => count > 0).length;
  const percent = ((100 * reached) / regions.length).toFixed(1);
  return `${String(reached).padStart(5)} of ${String(regions.length).padStart(4)} ${percent.padStart(5)} %`;
};

for (const file of files) {
  const lines = readFileSync(file, "utf8").split("\n");
  const tests = lines.indexOf("mod tests {");
  const end = tests < 0 ? lines.length : tests;
  // Generic functions are several times in the output.
  const regions = new Map();
  const bodies = new Map();
  for (const { filenames, regions: all } of functions) {
    const own = all
      .filter(([line, , , , , id, , kind]) => kind === CODE && filenames[id] === resolve(file) && line <= end)
      .map(([line, column, lastLine, lastColumn, count]) => ({
        line, count, from: position(line, column), to: position(lastLine, lastColumn),
      }));
    if (own.length === 0) continue;
    for (const region of own) {
      const key = `${region.from}-${region.to}`;
      regions.set(key, { ...region, count: Math.max(region.count, regions.get(key)?.count ?? 0) });
    }
    const from = Math.min(...own.map((region) => region.from));
    const to = Math.max(...own.map((region) => region.to));
    const ran = own.some((region) => region.count > 0) || (bodies.get(from)?.ran ?? false);
    bodies.set(from, { from, to, ran });
  }
  const found = [...regions.values()];
  // A closure counts with the function that contains it.
  const hasRun = (region) =>
    [...bodies.values()].some(({ from, to, ran }) => ran && from <= region.from && region.to <= to);
  console.log(`${file.padEnd(width)} ${share(found)} ${share(found.filter(hasRun))}`);
  const unreached = new Set(found.filter(({ count }) => count === 0).map(({ line }) => line));
  for (const line of [...unreached].sort((a, b) => a - b)) {
    missed.push(`${file}:${line}: ${lines[line - 1].trim()}`);
  }
}
writeFileSync(missedPath, `${missed.join("\n")}\n`);
console.log(`Lines that no history reaches: ${missedPath}`);
