//! Plots of a scenario, as SVG.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use super::{Measurement, Scenario, table::PROCESSES};
use crate::numbers::Spread;

const SIZE: (u32, u32) = (560, 320);
static COLOURS: [RGBColor; 8] = [
    RGBColor(31, 119, 180),
    RGBColor(255, 127, 14),
    RGBColor(44, 160, 44),
    RGBColor(214, 39, 40),
    RGBColor(148, 103, 189),
    RGBColor(140, 86, 75),
    RGBColor(227, 119, 194),
    RGBColor(127, 127, 127),
];

/// A named line of points.
type Line = (String, Vec<(f64, f64)>);

/// Returns the plots that have at least one point.
pub(super) fn of(scenario: &Scenario) -> Result<Vec<String>> {
    let mut plots = Vec::new();
    let latency = latency_by_rate(scenario);
    if !latency.is_empty() {
        plots.push(lines("Latency by rate, open model", "operations/s", "ms", &latency)?);
    }
    let throughput = throughput_by_connections(scenario);
    if throughput.iter().any(|(_, points)| points.len() > 1) {
        plots.push(lines("Throughput by connections", "connections", "per second", &throughput)?);
    }
    let cpu = cpu_by_process(scenario);
    if !cpu.is_empty() {
        plots.push(bars("CPU time of an operation by process", &cpu)?);
    }
    Ok(plots)
}

fn median(measurements: &[&Measurement], value: impl Fn(&Measurement) -> f64) -> f64 {
    let values: Vec<f64> = measurements.iter().map(|it| value(it)).collect();
    Spread::of(&values).unwrap_or_default().median
}

fn latency_by_rate(scenario: &Scenario) -> Vec<Line> {
    let mut by_rate: Vec<(f64, Vec<&Measurement>)> = Vec::new();
    for (_, measurements) in scenario.cases() {
        if let Some(rate) = measurements[0].offered {
            by_rate.push((rate, measurements));
        }
    }
    by_rate.sort_by(|one, other| one.0.total_cmp(&other.0));
    if by_rate.is_empty() {
        return Vec::new();
    }
    let line = |name: &str, value: fn(&Measurement) -> f64| {
        let points = by_rate.iter().map(|(rate, of_rate)| (*rate, median(of_rate, value)));
        (name.to_owned(), points.collect())
    };
    vec![
        line("p50", |it| it.latency.p50),
        line("p99", |it| it.latency.p99),
        line("p99.9", |it| it.latency.p999),
    ]
}

fn throughput_by_connections(scenario: &Scenario) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for (_, measurements) in scenario.cases() {
        let first = measurements[0];
        if first.offered.is_some() {
            continue;
        }
        let point = (first.connections as f64, median(&measurements, |it| it.rate));
        match lines.iter_mut().find(|(name, _)| *name == first.case) {
            Some((_, points)) => points.push(point),
            None => lines.push((first.case.clone(), vec![point])),
        }
    }
    for (_, points) in &mut lines {
        points.sort_by(|one, other| one.0.total_cmp(&other.0));
    }
    lines
}

/// Returns each case with its processes and their CPU times in microseconds.
fn cpu_by_process(scenario: &Scenario) -> Vec<(String, BTreeMap<&'static str, f64>)> {
    let mut cases = Vec::new();
    for (key, measurements) in scenario.cases() {
        let of =
            |process: &'static str| (process, median(&measurements, |it| it.cpu_of(&[process])));
        let cpu: BTreeMap<_, _> =
            PROCESSES.into_iter().map(of).filter(|(_, cpu)| *cpu > 0.0).collect();
        if !cpu.is_empty() {
            cases.push((key, cpu));
        }
    }
    cases
}

fn failed(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("a plot cannot be drawn: {error}")
}

fn lines(title: &str, x: &str, y: &str, lines: &[Line]) -> Result<String> {
    let points = lines.iter().flat_map(|(_, points)| points);
    let (end, top) =
        points.fold((1.0, 0.001), |(end, top), (x, y)| (f64::max(end, *x), f64::max(top, *y)));
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(title, ("sans-serif", 16))
            .margin(8)
            .x_label_area_size(36)
            .y_label_area_size(64)
            .build_cartesian_2d(0.0..end * 1.05, 0.0..top * 1.1)
            .map_err(failed)?;
        chart.configure_mesh().x_desc(x).y_desc(y).draw().map_err(failed)?;
        for ((name, points), colour) in lines.iter().zip(COLOURS.iter().cycle()) {
            let points = || points.iter().copied();
            chart
                .draw_series(LineSeries::new(points(), colour))
                .map_err(failed)?
                .label(name)
                .legend(move |(x, y)| {
                    Rectangle::new([(x, y - 4), (x + 8, y + 4)], colour.filled())
                });
            chart
                .draw_series(points().map(|point| Circle::new(point, 3, colour.filled())))
                .map_err(failed)?;
        }
        legend(&mut chart, SeriesLabelPosition::UpperLeft)?;
        area.present().map_err(failed)?;
    }
    Ok(svg)
}

fn bars(title: &str, cases: &[(String, BTreeMap<&'static str, f64>)]) -> Result<String> {
    let top = cases.iter().map(|(_, cpu)| cpu.values().sum::<f64>()).fold(1.0, f64::max);
    let height = 90 + 26 * u32::try_from(cases.len())?;
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (SIZE.0 * 2, height)).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(title, ("sans-serif", 16))
            .margin(8)
            .x_label_area_size(36)
            .y_label_area_size(260)
            .build_cartesian_2d(0.0..top * 1.2, 0.0..cases.len() as f64)
            .map_err(failed)?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .disable_y_axis()
            .x_desc("µs")
            .y_labels(0)
            .draw()
            .map_err(failed)?;
        for (process, colour) in PROCESSES.iter().zip(&COLOURS) {
            let boxes = cases.iter().enumerate().filter_map(|(index, (_, cpu))| {
                let from: f64 = PROCESSES
                    .iter()
                    .take_while(|it| *it != process)
                    .filter_map(|it| cpu.get(it))
                    .sum();
                let bottom = (cases.len() - 1 - index) as f64;
                let to = from + cpu.get(process)?;
                Some(Rectangle::new([(from, bottom + 0.15), (to, bottom + 0.85)], colour.filled()))
            });
            let boxes: Vec<_> = boxes.collect();
            if boxes.is_empty() {
                continue;
            }
            chart.draw_series(boxes).map_err(failed)?.label(*process).legend(move |(x, y)| {
                Rectangle::new([(x, y - 4), (x + 8, y + 4)], colour.filled())
            });
        }
        let names = cases.iter().enumerate().map(|(index, (name, _))| {
            let row = (cases.len() - 1 - index) as f64 + 0.65;
            let (x, y) = chart.backend_coord(&(0.0, row));
            Text::new(name.clone(), (x - 255, y), ("sans-serif", 12))
        });
        for name in names.collect::<Vec<_>>() {
            area.draw(&name).map_err(failed)?;
        }
        legend(&mut chart, SeriesLabelPosition::UpperRight)?;
        area.present().map_err(failed)?;
    }
    Ok(svg)
}

fn legend<'a, X, Y>(
    chart: &mut ChartContext<'a, SVGBackend<'a>, Cartesian2d<X, Y>>,
    position: SeriesLabelPosition,
) -> Result<()>
where
    X: Ranged<ValueType = f64>,
    Y: Ranged<ValueType = f64>,
{
    chart
        .configure_series_labels()
        .position(position)
        .background_style(WHITE.mix(0.8))
        .draw()
        .map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::{super::tests::measurement, *};

    #[test]
    fn plots_show_rates_connections_and_processes() {
        let mut scenario = Scenario::default();
        for connections in [1, 64] {
            let mut closed = measurement("store", connections, 0, 100.0 * connections as f64);
            closed.cpu.insert("api".to_owned(), 20.0);
            closed.cpu.insert("db".to_owned(), 30.0);
            scenario.measurements.push(closed);
        }
        for rate in [50.0, 100.0] {
            let open = Measurement { offered: Some(rate), ..measurement("store", 64, 0, rate) };
            scenario.measurements.push(open);
        }
        let plots = of(&scenario).unwrap();
        assert_eq!(plots.len(), 3);
        assert!(plots[0].contains("Latency by rate"));
        assert!(plots[1].contains("Throughput by connections"));
        assert!(plots[2].contains("store @64") && plots[2].contains("db"), "{}", plots[2]);
        assert!(of(&Scenario::default()).unwrap().is_empty());
    }
}
