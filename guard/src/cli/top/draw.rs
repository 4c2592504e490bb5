//! How `guardctl top` looks: the model in, cells out.
//!
//! Invariant: it fits any size, and says the same without colour: what is wrong has a word
//! for it, the column that jails are sorted by an arrow.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph, Row, Sparkline, Table, Wrap};

use super::state::{Column, Rates, Top};
use crate::cli::{events, output};
use crate::control::event::What;
use crate::core::figures::{Figures, JailCounts};
use crate::daemon::report::local;

/// Widths of the columns, by [`Column::ALL`]; the first takes what is left.
const WIDTHS: [u16; 7] = [12, 9, 10, 8, 8, 9, 12];

/// What can be pressed, and what that does.
const KEYS: [(&str, &str); 6] = [
    ("q", "quit"),
    ("←→", "sort by"),
    ("r", "reverse"),
    ("↑↓", "scroll"),
    ("p", "pause"),
    ("h", "help"),
];

/// Draws the model; `colour` is whether colours may be used.
pub(crate) fn draw(frame: &mut Frame<'_>, top: &Top, colour: bool) {
    let paint = Paint { colour };
    let jails = u16::try_from(top.figures.as_ref().map_or(1, |figures| figures.jails.len()));
    // Half of what is left at most: the newest events need room too.
    let room = frame.area().height.saturating_sub(8);
    let jails = jails.unwrap_or(u16::MAX).saturating_add(1).min((room / 2).max(2));
    let [head, warning, drops, failures, bans, table, list, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(jails),
        Constraint::Min(1),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(Paragraph::new(headline(top)).style(paint.bold()), head);
    frame.render_widget(warnings(top, paint), warning);
    match &top.drops {
        Some(rates) => sparkline(frame, drops, "dropped", rates, paint.with(Color::Red)),
        None => frame.render_widget(" dropped/s   not counted here", drops),
    }
    sparkline(frame, failures, "failures", &top.failures, paint.with(Color::Yellow));
    sparkline(frame, bans, "bans", &top.bans, paint.with(Color::Magenta));
    frame.render_widget(jail_table(top, paint), table);
    event_list(frame, list, top, paint);
    frame.render_widget(Paragraph::new(key_line(paint)), keys);
    if top.help {
        help(frame, paint);
    }
}

/// What may be used to draw attention.
#[derive(Clone, Copy, Debug)]
struct Paint {
    colour: bool,
}

impl Paint {
    fn with(self, colour: Color) -> Style {
        if self.colour { Style::new().fg(colour) } else { Style::new() }
    }

    fn bold(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    fn header(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }
}

fn headline(top: &Top) -> String {
    let Some(figures) = &top.figures else { return " guard".to_owned() };
    let held: u64 = figures.jails.iter().map(|jail| jail.held).sum();
    let failing: u64 = figures.jails.iter().map(|jail| jail.failing).sum();
    let bare = figures.interfaces.iter().filter(|one| one.means == "none").count();
    let guarded = figures.interfaces.len() - bare;
    format!(
        " guard {}  {}  up {}  {held} bans  {failing} failing  {guarded} of {} interfaces guarded",
        figures.version,
        figures.backend,
        figures.time - figures.started,
        figures.interfaces.len(),
    )
}

fn warnings(top: &Top, paint: Paint) -> Paragraph<'static> {
    let alarm = paint.with(Color::Red).add_modifier(Modifier::BOLD);
    let words = match (&top.gone, &top.figures) {
        (Some(why), _) => format!(" NO ANSWER: {}", output::visible(why)),
        (None, None) => return Paragraph::new(" asking the agent"),
        (None, Some(figures)) => match problems(figures).as_slice() {
            [] => return Paragraph::new(" no problems").style(paint.with(Color::Green)),
            [one] => format!(" PROBLEM: {}", output::visible(one)),
            [first, more @ ..] => {
                format!(" PROBLEM (and {} more): {}", more.len(), output::visible(first))
            }
        },
    };
    Paragraph::new(words).style(alarm)
}

/// What `guardctl status` warns of.
fn problems(figures: &Figures) -> Vec<String> {
    let bare = figures.interfaces.iter().filter(|one| one.means == "none");
    let missing = |jail: &JailCounts| {
        let (bans, name) = (jail.not_enforced, &jail.name);
        (bans > 0).then(|| format!("{bans} bans of {name} are not in the kernel"))
    };
    let mut problems: Vec<String> = figures.jails.iter().filter_map(missing).collect();
    problems.extend(figures.problems.iter().cloned());
    problems.extend(bare.map(output::uncovered));
    problems
}

fn sparkline(frame: &mut Frame<'_>, area: Rect, what: &str, rates: &Rates, style: Style) {
    let [label, line] =
        Layout::horizontal([Constraint::Length(24), Constraint::Min(0)]).areas(area);
    let now = rates.now().map_or("-".to_owned(), |rate| rate.to_string());
    frame.render_widget(format!(" {:<10} {now:>11}", format!("{what}/s")), label);
    frame.render_widget(
        Sparkline::default().data(rates.newest(line.width.into())).style(style),
        line,
    );
}

fn jail_table(top: &Top, paint: Paint) -> Table<'static> {
    let titles = ["JAIL", "FAILING", "FAILURES", "BANS", "MADE", "MISSING", "DROPPED"];
    let header = Column::ALL.iter().zip(titles).map(|(column, title)| {
        let arrow = match (*column == top.column, top.reversed) {
            (false, _) => "",
            (true, false) => "▼",
            (true, true) => "▲",
        };
        if *column == Column::Name { format!(" {title}{arrow}") } else { format!("{title}{arrow}") }
    });
    let rows = top.jails().into_iter().map(|jail| {
        let dropped = jail.dropped_packets.map_or("-".to_owned(), |packets| packets.to_string());
        let cells = [
            format!(" {}", jail.name),
            jail.failing.to_string(),
            jail.failures.to_string(),
            jail.held.to_string(),
            jail.bans_made.to_string(),
            jail.not_enforced.to_string(),
            dropped,
        ];
        let style = if jail.not_enforced > 0 { paint.with(Color::Red) } else { Style::new() };
        Row::new(cells).style(style)
    });
    let widths = WIDTHS.iter().enumerate().map(|(column, width)| match column {
        0 => Constraint::Min(*width),
        _ => Constraint::Length(*width),
    });
    Table::new(rows, widths).header(Row::new(header).style(paint.header())).column_spacing(1)
}

fn event_list(frame: &mut Frame<'_>, area: Rect, top: &Top, paint: Paint) {
    let mut title = " NEWEST".to_owned();
    if top.paused {
        title.push_str(" (paused)");
    }
    if top.scrolled > 0 {
        title.push_str(&format!(" (from {} on)", top.scrolled + 1));
    }
    if top.missed > 0 {
        title.push_str(&format!(" ({} missed)", top.missed));
    }
    let [head, list] = Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(area);
    frame.render_widget(Paragraph::new(title).style(paint.header()), head);
    let shown = top.events.iter().skip(top.scrolled).take(list.height.into());
    let lines: Vec<Line<'_>> = shown
        .map(|event| {
            let style = match &event.what {
                What::Banned(_) | What::Prolonged(_) => paint.with(Color::Magenta),
                What::Found { .. } => paint.with(Color::Yellow),
                What::Unbanned { .. } | What::EnforcedAgain { .. } => paint.with(Color::Green),
                What::Full { .. }
                | What::Repaired { .. }
                | What::NotEnforced { .. }
                | What::ReloadRefused { .. }
                | What::Missed { .. } => paint.with(Color::Red),
                _ => Style::new(),
            };
            let time = local(event.time);
            // The day is known to who looks.
            let time = time.get(11..).unwrap_or(&time).to_owned();
            Line::from(vec![
                Span::raw(format!(" {time} ")),
                Span::styled(format!("{:<9} ", events::word(&event.what)), style),
                Span::raw(events::about(&event.what)),
            ])
        })
        .collect();
    frame.render_widget(Paragraph::new(lines), list);
}

fn key_line(paint: Paint) -> Line<'static> {
    let mut spans = Vec::new();
    for (key, meaning) in KEYS {
        spans.push(Span::styled(format!(" {key} "), paint.header()));
        spans.push(Span::raw(format!(" {meaning} ")));
    }
    Line::from(spans)
}

fn help(frame: &mut Frame<'_>, paint: Paint) {
    let text = "q, Ctrl-C   quit\n\
                ← →         sort jails by another column\n\
                r           the other way round\n\
                ↑ ↓         scroll the list of events\n\
                p           hold the list; events wait\n\
                h, ?        this; Esc closes it, and then quits\n\n\
                FAILING     sources with a failure within findtime\n\
                FAILURES    found since the jail first started\n\
                BANS        that the kernel holds\n\
                MADE        bans since the jail first started\n\
                MISSING     bans that the kernel should hold and does not\n\
                DROPPED     packets of the sources that are banned now";
    let [across] = Layout::horizontal([Constraint::Max(66)])
        .flex(ratatui::layout::Flex::Center)
        .areas(frame.area());
    let [area] =
        Layout::vertical([Constraint::Max(15)]).flex(ratatui::layout::Flex::Center).areas(across);
    let block = Block::bordered().title(" guardctl top ").style(paint.with(Color::Cyan));
    frame.render_widget(Clear, area);
    frame.render_widget(Paragraph::new(text).block(block).wrap(Wrap { trim: false }), area);
}
