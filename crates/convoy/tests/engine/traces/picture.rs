//! A trace as a picture: a bar for each span, below that of its parent.

use std::collections::HashMap;
use std::fmt::Write;

use opentelemetry_proto::tonic::trace::v1::Span;

const ROW: usize = 26;
const NAMES: usize = 340;
const WIDTH: usize = 560;

/// The trace as SVG. Times are those of the spans.
pub(crate) fn draw(spans: &[Span]) -> String {
    let begin = spans.iter().map(|span| span.start_time_unix_nano).min().unwrap_or_default();
    let end = spans.iter().map(|span| span.end_time_unix_nano).max().unwrap_or_default();
    let scale = WIDTH as f64 / (end - begin).max(1) as f64;
    let rows = in_order(spans);
    let (width, height) = (NAMES + WIDTH + 90, ROW * rows.len() + 16);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"system-ui, sans-serif\" \
         font-size=\"13\">\n<title>A trace, one bar for each span</title>\n<rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    for (at, (depth, span)) in rows.iter().enumerate() {
        let from = (span.start_time_unix_nano - begin) as f64;
        let time = (span.end_time_unix_nano - span.start_time_unix_nano) as f64;
        let (y, x) = (8 + at * ROW, NAMES as f64 + from * scale);
        let (text_y, text_x) = (y + 17, 8 + depth * 16);
        let bar = (time * scale).max(2.0);
        // Writing to a string cannot fail.
        let _ = writeln!(
            svg,
            "<text x=\"{text_x}\" y=\"{text_y}\" fill=\"#1c1917\">{}</text>\n<rect x=\"{x:.1}\" y=\"{}\" width=\"{bar:.1}\" \
             height=\"14\" rx=\"2\" fill=\"{}\"/>\n<text x=\"{:.1}\" y=\"{text_y}\" fill=\"#57534e\" font-size=\"11\">{:.2} \
             ms</text>",
            span.name.replace('&', "&amp;").replace('<', "&lt;"),
            y + 6,
            colour(&span.name),
            x + bar + 5.0,
            time / 1e6,
        );
    }
    svg + "</svg>\n"
}

fn colour(name: &str) -> &'static str {
    match name.split(' ').next().unwrap_or_default() {
        "POST" | "mutation" => "#2563eb",
        "run" => "#7c3aed",
        "live" | "frame" => "#16a34a",
        "commit" => "#ea580c",
        _ => "#a8a29e",
    }
}

/// Each span after its parent, with its depth; siblings by their beginning.
fn in_order(spans: &[Span]) -> Vec<(usize, &Span)> {
    let mut children: HashMap<&[u8], Vec<&Span>> = HashMap::new();
    let is_here = |id: &[u8]| spans.iter().any(|span| span.span_id == id);
    for span in spans {
        let parent: &[u8] = if is_here(&span.parent_span_id) { &span.parent_span_id } else { &[] };
        children.entry(parent).or_default().push(span);
    }
    let mut rows = Vec::new();
    let mut open: Vec<(usize, &[u8])> = vec![(0, &[])];
    while let Some((depth, parent)) = open.pop() {
        let mut below = children.remove(parent).unwrap_or_default();
        below.sort_by_key(|span| std::cmp::Reverse(span.start_time_unix_nano));
        if let Some(next) = below.pop() {
            rows.push((depth, next));
            children.insert(parent, below);
            open.push((depth, parent));
            open.push((depth + 1, &next.span_id));
        }
    }
    rows
}
