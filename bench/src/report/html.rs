//! One page with all results; it needs no other file.

use std::fmt::Write as _;

use anyhow::Result;

use super::{
    Report, plots,
    table::{self, Rows},
};

const HEAD: &str = r#"<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Benchmark of the store</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem }
table { border-collapse: collapse; display: block; overflow-x: auto; margin: 1rem 0 }
th, td { padding: .2rem .6rem; text-align: right; white-space: nowrap }
th { border-bottom: 1px solid #888 }
th:first-child, td:first-child { text-align: left }
td { font-variant-numeric: tabular-nums }
svg { max-width: 100%; height: auto; margin: .5rem }
.doubt { background: #fff3cd; padding: .5rem 1rem }
</style>
"#;

pub(super) fn page(report: &Report) -> Result<String> {
    let mut page = HEAD.to_owned();
    let machine = &report.machine;
    write!(
        page,
        "<h1>Benchmark of the store</h1>\n<p>{} · revision {} · {} cores ({}), {} MiB, Linux {} · \
         {} s a measurement, {} repeats · hash cost {}</p>\n",
        escaped(&report.started),
        escaped(&report.commit),
        machine.cores,
        escaped(&machine.processor),
        machine.memory_mib,
        escaped(&machine.kernel),
        report.seconds,
        report.repeats,
        report.hash_cost
    )?;
    for doubt in machine.doubts() {
        writeln!(page, "<p class=\"doubt\">{}</p>", escaped(&doubt))?;
    }
    for scenario in &report.scenarios {
        writeln!(
            page,
            "<h2>{}</h2>\n<p>{}</p>",
            escaped(&scenario.name),
            escaped(&scenario.about)
        )?;
        write_table(&mut page, &table::findings(scenario))?;
        for plot in plots::of(scenario)? {
            writeln!(page, "{plot}")?;
        }
        write_table(&mut page, &table::measurements(scenario, machine.cores))?;
        for note in &scenario.notes {
            writeln!(page, "<p>{}</p>", escaped(note))?;
        }
    }
    Ok(page)
}

fn write_table(page: &mut String, rows: &Rows) -> Result<()> {
    if rows.len() < 2 {
        return Ok(());
    }
    page.push_str("<table>\n");
    for (index, row) in rows.iter().enumerate() {
        let cell = if index == 0 { "th" } else { "td" };
        page.push_str("<tr>");
        for text in row {
            write!(page, "<{cell}>{}</{cell}>", escaped(text))?;
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</table>\n");
    Ok(())
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped() {
        assert_eq!(escaped("a < b & c > d"), "a &lt; b &amp; c &gt; d");
    }
}
