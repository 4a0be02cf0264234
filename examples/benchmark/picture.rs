//! Draws requests and time over the number of mappings, for agira-worker and for the baseline.

use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::scenarios::{all_closed, baseline};
use crate::services::Services;
use crate::table::Cost;

/// One line of the picture: name, color, and the cost for each number of mappings.
struct Line {
    name: &'static str,
    colour: RGBColor,
    points: Vec<(f64, Cost)>,
}

/// Measures and draws the picture.
pub fn draw(path: &Path) {
    let lines = [
        Line {
            name: "per-mapping design, every run",
            colour: RGBColor(200, 60, 40),
            points: measured(&[10, 30, 100, 300], |mappings| {
                let services = all_closed(mappings);
                services.latency(std::time::Duration::ZERO);
                baseline(&services);
                services.latency(crate::services::LATENCY);
                baseline(&services)
            }),
        },
        Line {
            name: "agira-worker, first run, all closed",
            colour: RGBColor(40, 90, 180),
            points: measured(&[10, 30, 100, 300, 1_000, 3_000], |mappings| {
                all_closed(mappings)
                    .measure(&["--limit", &mappings.to_string(), "--time-budget", "1h"])
                    .0
            }),
        },
        Line {
            name: "agira-worker, nothing changed",
            colour: RGBColor(30, 140, 70),
            points: measured(&[10, 100, 1_000, 10_000, 100_000], |mappings| {
                let services = Services::with(10, mappings);
                services.pretend_settled();
                services.measure(&[]).0
            }),
        },
    ];
    let root = SVGBackend::new(path, (960, 420)).into_drawing_area();
    root.fill(&WHITE).expect("the picture's ground");
    let (left, right) = root.split_horizontally(480);
    chart(
        &left,
        "Requests to GitHub and Weaviate",
        1e4,
        &lines,
        |cost| (cost.github + cost.weaviate) as f64,
    );
    chart(
        &right,
        "Seconds, with 80 ms for every answer",
        1e3,
        &lines,
        |cost| cost.elapsed.as_secs_f64(),
    );
    root.present().expect("the picture is written");
}

fn measured(sizes: &[i32], measure: impl Fn(i32) -> Cost) -> Vec<(f64, Cost)> {
    let point = |size: &i32| {
        eprintln!("measuring {size} mappings");
        (f64::from(*size), measure(*size))
    };
    sizes.iter().map(point).collect()
}

/// Both axes are logarithmic.
fn chart(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    title: &str,
    most: f64,
    lines: &[Line],
    value: impl Fn(&Cost) -> f64,
) {
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 18))
        .margin(12)
        .margin_right(28)
        .x_label_area_size(40)
        .y_label_area_size(56)
        .build_cartesian_2d((10f64..1e5).log_scale(), (0.1f64..most).log_scale())
        .expect("axes");
    chart
        .configure_mesh()
        .x_desc("mappings")
        .light_line_style(TRANSPARENT)
        .x_label_formatter(&|mappings| mappings.to_string())
        .y_label_formatter(&|value| value.to_string())
        .draw()
        .expect("a mesh");
    for Line {
        name,
        colour,
        points,
    } in lines
    {
        let points = || {
            points
                .iter()
                .map(|(mappings, cost)| (*mappings, value(cost)))
        };
        let colour = *colour;
        chart
            .draw_series(LineSeries::new(points(), colour.stroke_width(2)).point_size(3))
            .expect("a line")
            .label(*name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .label_font(("sans-serif", 12))
        .draw()
        .expect("a legend");
}
