//! The curves, as SVG: events a second over the number of filters, both logarithmic.

use std::fmt::Write as _;

use serde_json::Value;

use crate::workload::{Kind, Matches, grouped};

const WIDTH: f64 = 460.0;
const HEIGHT: f64 = 380.0;
const LEFT: f64 = 70.0;
const TOP: f64 = 50.0;
const PLOT_WIDTH: f64 = WIDTH - LEFT - 20.0;
const PLOT_HEIGHT: f64 = HEIGHT - TOP - 110.0;
/// Powers of ten.
const FILTERS: f64 = 6.0;
const RATES: std::ops::Range<f64> = 0.0..7.0;
const COLOURS: [&str; 4] = ["#1b6ca8", "#c8553d", "#3a7d44", "#7b4fa3"];

fn x(filters: f64) -> f64 {
    LEFT + filters.log10() / FILTERS * PLOT_WIDTH
}

fn y(rate: f64) -> f64 {
    let power = rate.log10().clamp(RATES.start, RATES.end);
    TOP + (RATES.end - power) / (RATES.end - RATES.start) * PLOT_HEIGHT
}

/// Two plots beside each other: one match, and 1% matches.
pub(crate) fn svg(cases: &[Value]) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n",
        WIDTH * 2.0,
    );
    for (at, matches) in Matches::ALL.into_iter().enumerate() {
        let _ = writeln!(svg, "<g transform=\"translate({} 0)\">", WIDTH * at as f64);
        axes(&mut svg, matches);
        for (kind, colour) in Kind::ALL.into_iter().zip(COLOURS) {
            let of_kind: Vec<&Value> = cases
                .iter()
                .filter(|case| case["kind"] == kind.name() && case["matches"] == matches.name())
                .collect();
            curve(&mut svg, &of_kind, "events_per_second", colour, "");
            let dashed = " stroke-dasharray=\"5 4\"";
            curve(&mut svg, &of_kind, "scan_events_per_second", colour, dashed);
        }
        svg.push_str("</g>\n");
    }
    legend(&mut svg);
    svg.push_str("</svg>\n");
    svg
}

fn axes(svg: &mut String, matches: Matches) {
    let (right, bottom) = (LEFT + PLOT_WIDTH, TOP + PLOT_HEIGHT);
    let _ = writeln!(
        svg,
        "<text x=\"{LEFT}\" y=\"24\" font-size=\"14\">{}</text>\n\
         <text x=\"{LEFT}\" y=\"42\" fill=\"#555\">events a second on one core</text>",
        matches.title().trim_end_matches(':'),
    );
    for power in 0..=6 {
        let at = x(10_f64.powi(power));
        let _ = writeln!(
            svg,
            "<line x1=\"{at:.1}\" y1=\"{TOP}\" x2=\"{at:.1}\" y2=\"{bottom}\" stroke=\"#eee\"/>\n\
             <text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            bottom + 16.0,
            grouped(10_f64.powi(power)),
        );
    }
    for power in 0..=7 {
        let at = y(10_f64.powi(power));
        let _ = writeln!(
            svg,
            "<line x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{right}\" y2=\"{at:.1}\" stroke=\"#eee\"/>\n\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 6.0,
            at + 4.0,
            grouped(10_f64.powi(power)),
        );
    }
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\" fill=\"#555\">filters</text>",
        LEFT + PLOT_WIDTH / 2.0,
        bottom + 34.0,
    );
}

fn curve(svg: &mut String, cases: &[&Value], field: &str, colour: &str, style: &str) {
    let mut points = String::new();
    for case in cases {
        let (filters, rate) = (case["filters"].as_f64(), case[field].as_f64());
        if let (Some(filters), Some(rate)) = (filters, rate) {
            let _ = write!(points, "{:.1},{:.1} ", x(filters), y(rate));
        }
    }
    let _ = writeln!(
        svg,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{style}/>",
        points.trim_end(),
    );
}

fn legend(svg: &mut String) {
    let mut at = LEFT;
    let y = HEIGHT - 24.0;
    for (kind, colour) in Kind::ALL.into_iter().zip(COLOURS) {
        let _ = writeln!(
            svg,
            "<line x1=\"{at}\" y1=\"{y}\" x2=\"{}\" y2=\"{y}\" stroke=\"{colour}\" \
             stroke-width=\"2\"/>\n<text x=\"{}\" y=\"{}\">{}</text>",
            at + 24.0,
            at + 30.0,
            y + 4.0,
            kind.name(),
        );
        at += 100.0;
    }
    let _ = writeln!(
        svg,
        "<text x=\"{at}\" y=\"{}\" fill=\"#555\">solid: index, dashed: linear scan</text>",
        y + 4.0,
    );
}
