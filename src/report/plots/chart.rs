//! A chart as data, and its drawing: title, legend, bands, axes, then lines and bars. Nothing is drawn over the data.

use plotters::coord::Shift;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::ticks::Axis;
use crate::report::{OutputError, words};

/// Width and height, in pixels.
const SIZE: (u32, u32) = (900, 420);
const MARGIN: i32 = 16;
/// Plotters draws text at this size divided by 1.24, which is 12.1 px.
const TEXT_SIZE: i32 = 15;
const TITLE_SIZE: i32 = 20;
/// Height of a line of text, and about the width of a letter, in pixels.
const LINE_PX: i32 = 18;
const LETTER_PX: f64 = 6.8;
/// Length of the sample of a line in the legend.
const SAMPLE_PX: i32 = 24;
/// A name longer than this is cut.
const LABEL_CHARS: usize = 34;

pub(super) const PAPER: RGBColor = RGBColor(0xff, 0xff, 0xff);
pub(super) const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);
const GRID: RGBColor = RGBColor(0xdd, 0xdd, 0xdd);
const PHASE: RGBColor = RGBColor(0x88, 0x88, 0x88);
const FAULT: RGBColor = RGBColor(0xd5, 0x5e, 0x00);
/// Everything that has no colour of its own.
pub(super) const OTHERS: RGBColor = RGBColor(0x77, 0x77, 0x77);

/// Colours that people with any colour vision tell apart (Okabe and Ito, "Color Universal Design", 2008; its yellow,
/// too pale on white, and its black, which is the text's, are replaced by indigo and
/// wine of Paul Tol's palettes).
pub(super) const PALETTE: [RGBColor; 8] = [
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0xe6, 0x9f, 0x00),
    RGBColor(0x56, 0xb4, 0xe9),
    RGBColor(0x33, 0x22, 0x88),
    RGBColor(0x88, 0x22, 0x55),
];

/// The SVG backend has no dashes of its own. A line that shall be dashed is drawn with this opacity, and nothing else
/// is; the opacity is then replaced.
const DASHED_ALPHA: f64 = 0.99;
const DASHED_FROM: &str = "opacity=\"0.99\"";
const DASHED_TO: &str = "stroke-dasharray=\"5 3\"";

/// How a line is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    Solid,
    Dashed,
    /// A thin line for what is planned rather than measured.
    Thin,
}

/// One series: lines between which there are gaps, and its entry in the legend.
#[derive(Debug, Clone)]
pub(super) struct Series {
    pub(super) label: Option<String>,
    pub(super) colour: RGBColor,
    pub(super) look: Look,
    pub(super) lines: Vec<Vec<(f64, f64)>>,
}

/// A horizontal bar from 0.
#[derive(Debug, Clone)]
pub(super) struct Bar {
    pub(super) from_y: f64,
    pub(super) to_y: f64,
    pub(super) length: f64,
    pub(super) colour: RGBColor,
    pub(super) text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BandKind {
    Phase,
    Fault,
}

/// A time of the run that is not like the others.
#[derive(Debug, Clone)]
pub(super) struct Band {
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) label: String,
    pub(super) kind: BandKind,
}

/// What a plot shows.
#[derive(Debug, Clone)]
pub(super) struct Chart {
    pub(super) file: &'static str,
    pub(super) title: String,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) bands: Vec<Band>,
    pub(super) series: Vec<Series>,
    pub(super) bars: Vec<Bar>,
    /// Entries of the legend that explain bars: colour and text.
    pub(super) keys: Vec<(RGBColor, String)>,
    /// Said instead of data where there are none.
    pub(super) if_empty: String,
}

type Failure = Box<dyn std::error::Error>;
type Root<'a> = DrawingArea<SVGBackend<'a>, Shift>;

impl Chart {
    /// The plot as SVG.
    pub(super) fn draw(&self) -> Result<String, OutputError> {
        let mut svg = String::new();
        self.draw_into(&mut svg).map_err(|error| OutputError::Plot { file: self.file, message: error.to_string() })?;
        let described = format!("<svg role=\"img\" aria-label=\"{}\" ", attribute(&self.title));
        Ok(svg.replacen("<svg ", &described, 1).replace(DASHED_FROM, DASHED_TO))
    }

    fn is_empty(&self) -> bool {
        self.bars.is_empty() && self.series.iter().all(|series| series.lines.is_empty())
    }

    fn draw_into(&self, svg: &mut String) -> Result<(), Failure> {
        let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
        root.fill(&PAPER)?;
        let title = FontDesc::new(FontFamily::SansSerif, f64::from(TITLE_SIZE), FontStyle::Bold).color(&INK);
        root.draw(&Text::new(self.title.clone(), (MARGIN, 12), title))?;
        let legend_bottom = self.draw_legend(&root, 12 + 28)?;
        let labelled = !self.bands.is_empty();
        let top = legend_bottom + if labelled { LINE_PX + 2 } else { 6 };
        self.draw_plot(&root, top)?;
        root.present()?;
        Ok(())
    }

    /// Draws the legend in as many lines as it takes, and returns where it ends.
    fn draw_legend(&self, root: &Root<'_>, top: i32) -> Result<i32, Failure> {
        let (mut x, mut y) = (MARGIN, top);
        let lines = self.series.iter().filter_map(|series| Some((stroke(series), series.label.as_ref()?)));
        let bars = self.keys.iter().map(|(colour, label)| (colour.stroke_width(10), label));
        for (style, label) in lines.chain(bars) {
            let label = shortened(label);
            let width = SAMPLE_PX + 6 + width_px(&label) + 14;
            if x > MARGIN && x + width > SIZE.0 as i32 - MARGIN {
                (x, y) = (MARGIN, y + LINE_PX);
            }
            let middle = y + LINE_PX / 2;
            root.draw(&PathElement::new(vec![(x, middle), (x + SAMPLE_PX, middle)], style))?;
            root.draw(&Text::new(label, (x + SAMPLE_PX + 6, middle), text(HPos::Left)))?;
            x += width;
        }
        Ok(y + LINE_PX)
    }

    fn draw_plot(&self, root: &Root<'_>, top: i32) -> Result<(), Failure> {
        let is_bars = !self.bars.is_empty();
        let widest = self.y.ticks.iter().map(|(_, text)| width_px(text)).max().unwrap_or(0);
        let mut chart = ChartBuilder::on(root)
            .margin_top(top)
            .margin_right(if is_bars { 90 } else { MARGIN + 8 })
            .margin_left(4)
            .margin_bottom(6)
            .x_label_area_size(42)
            .y_label_area_size(widest + 40)
            .build_cartesian_2d(self.x.clone(), self.y.clone())?;
        let pixel = |x: f64, y: f64| chart.backend_coord(&(x, y));
        for band in &self.bands {
            let ((left, upper), (right, lower)) = (pixel(band.from, self.y.to), pixel(band.to, self.y.from));
            // A band shorter than a pixel is a line.
            let corners = [(left, upper), (right.max(left + 1), lower)];
            root.draw(&Rectangle::new(corners, band.colour().filled()))?;
        }
        self.label_bands(root, top, (pixel(self.x.from, self.y.from).0, pixel(self.x.to, self.y.from).0), &pixel)?;
        let mut mesh = chart.configure_mesh();
        mesh.bold_line_style(GRID).light_line_style(TRANSPARENT).axis_style(INK).label_style(text(HPos::Left));
        mesh.x_desc(self.x.name.clone()).y_desc(self.y.name.clone()).axis_desc_style(text(HPos::Center));
        if is_bars {
            mesh.disable_y_mesh();
        }
        mesh.draw()?;
        for series in &self.series {
            for line in &series.lines {
                match line.as_slice() {
                    [point] => drop(chart.draw_series([Circle::new(*point, 2, series.colour.filled())])?),
                    line => drop(chart.draw_series([PathElement::new(line.to_vec(), stroke(series))])?),
                }
            }
        }
        for bar in &self.bars {
            chart.draw_series([Rectangle::new([(0.0, bar.from_y), (bar.length, bar.to_y)], bar.colour.filled())])?;
            let (x, y) = chart.backend_coord(&(bar.length, (bar.from_y + bar.to_y) / 2.0));
            root.draw(&Text::new(bar.text.clone(), (x + 6, y), text(HPos::Left)))?;
        }
        if self.is_empty() {
            let middle = chart.backend_coord(&((self.x.from + self.x.to) / 2.0, (self.y.from + self.y.to) / 2.0));
            root.draw(&Text::new(self.if_empty.clone(), middle, text(HPos::Center)))?;
        }
        Ok(())
    }

    /// Names the bands above the plot; a name that would stand on another is left out; faults come first, then what
    /// lasts longest.
    fn label_bands(
        &self,
        root: &Root<'_>,
        top: i32,
        (leftmost, rightmost): (i32, i32),
        pixel: &dyn Fn(f64, f64) -> (i32, i32),
    ) -> Result<(), Failure> {
        let mut taken: Vec<(i32, i32)> = Vec::new();
        let mut bands: Vec<&Band> = self.bands.iter().collect();
        bands.sort_by(|a, b| {
            let width = |band: &Band| band.to - band.from;
            (b.kind == BandKind::Fault).cmp(&(a.kind == BandKind::Fault)).then(width(b).total_cmp(&width(a)))
        });
        for band in bands {
            let label = shortened(&band.label);
            let half = width_px(&label) / 2;
            let middle = (pixel(band.from, self.y.from).0 + pixel(band.to, self.y.from).0) / 2;
            let middle = middle.clamp(leftmost + half.min(middle), (rightmost - half).max(leftmost + half));
            if taken.iter().any(|(from, to)| middle - half < *to && middle + half > *from) {
                continue;
            }
            taken.push((middle - half - 6, middle + half + 6));
            root.draw(&Text::new(label, (middle, top - LINE_PX / 2), text(HPos::Center)))?;
        }
        Ok(())
    }
}

impl Band {
    fn colour(&self) -> RGBAColor {
        match self.kind {
            BandKind::Phase => PHASE.mix(0.16),
            BandKind::Fault => FAULT.mix(0.22),
        }
    }
}

fn stroke(series: &Series) -> ShapeStyle {
    match series.look {
        Look::Solid => series.colour.stroke_width(2),
        Look::Dashed => series.colour.mix(DASHED_ALPHA).stroke_width(2),
        Look::Thin => series.colour.stroke_width(1),
    }
}

fn text(anchor: HPos) -> TextStyle<'static> {
    ("sans-serif", TEXT_SIZE).into_font().color(&INK).pos(Pos::new(anchor, VPos::Center))
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (first, last): (i32, i32)) -> i32 {
        let share = (value - self.from) / (self.to - self.from);
        first + (share * f64::from(last - first)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        let is_light = hint.weight().allow_light_points();
        if is_light { Vec::new() } else { self.ticks.iter().map(|(position, _)| *position).collect() }
    }

    fn range(&self) -> std::ops::Range<f64> {
        self.from..self.to
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, position: &f64) -> String {
        let found = self.ticks.iter().find(|(tick, _)| tick == position);
        found.map(|(_, text)| text.clone()).unwrap_or_default()
    }
}

fn width_px(text: &str) -> i32 {
    (text.chars().count() as f64 * LETTER_PX) as i32
}

/// `name` without what XML forbids, cut to what fits a plot.
pub(super) fn shortened(name: &str) -> String {
    let is_long = name.chars().count() > LABEL_CHARS;
    let mut label: String =
        words::printable(name).chars().take(if is_long { LABEL_CHARS - 1 } else { LABEL_CHARS }).collect();
    if is_long {
        label.push('…');
    }
    label
}

fn attribute(text: &str) -> String {
    text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;").replace('>', "&gt;")
}
