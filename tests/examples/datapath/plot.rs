//! A plot of bars as SVG, readable on light and on dark ground.

/// One bar: its words, its length, and whether it is guard's.
pub(crate) struct Bar {
    pub(crate) words: String,
    pub(crate) value: f64,
    pub(crate) own: bool,
}

/// Height of a bar with the room around it, in pixels.
const ROW: usize = 22;
/// Room for the words, for the longest bar, and for its number, in pixels.
const WIDTHS: (usize, f64, usize) = (300, 380.0, 70);

/// The bars below each other, the longest as wide as there is room.
pub(crate) fn svg(bars: &[Bar]) -> String {
    let (label, longest, number) = WIDTHS;
    let most = bars.iter().map(|bar| bar.value).fold(f64::MIN_POSITIVE, f64::max);
    let height = ROW * (bars.len() + 2);
    let width = label as f64 + longest + number as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         width=\"{width}\" height=\"{height}\" role=\"img\" \
         aria-label=\"Million frames a second that each receiver got rid of\">\n\
         <style>text {{ font: 13px sans-serif; fill: #1a1a1a }} .own {{ fill: #1f6feb }} \
         .other {{ fill: #8c959f }} @media (prefers-color-scheme: dark) \
         {{ text {{ fill: #e6edf3 }} .own {{ fill: #58a6ff }} .other {{ fill: #6e7681 }} }}</style>\n\
         <text x=\"4\" y=\"16\">Frames from banned sources, million a second on one core</text>\n"
    );
    for (place, bar) in bars.iter().enumerate() {
        let top = ROW * (place + 1) + 4;
        let length = longest * bar.value / most;
        let class = if bar.own { "own" } else { "other" };
        let words = bar.words.replace('&', "&amp;").replace('<', "&lt;");
        svg.push_str(&format!(
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{words}</text>\
             <rect class=\"{class}\" x=\"{label}\" y=\"{top}\" width=\"{length:.1}\" height=\"{}\"/>\
             <text x=\"{:.1}\" y=\"{}\">{:.2}</text>\n",
            label - 8,
            top + 13,
            ROW - 6,
            label as f64 + length + 6.0,
            top + 13,
            bar.value,
        ));
    }
    svg.push_str("</svg>\n");
    svg
}
